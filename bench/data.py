"""The data path against a torch DataLoader over the same ``datasets`` table: one epoch of batches, no model.

    python bench/data.py --path ../shared/data/sst2 --text sentence --label label

Three questions, each with its measurement:

- How long does one epoch's batching take? Ours, and a DataLoader with a padding collate over a ``datasets`` table
  of the same ids, read as torch tensors and as Python lists: the way that tutorials show, without worker processes.
  Rounds go A B C C B A, and the ratio is taken against the faster of the two.
- How much memory does the prepared data take, in terms of the bytes of its ids?
- How long does a task take to load its data, in a fresh process: the first time, and the second time?

Prints a table, then one line of JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data.rows import Rows
from gru_bench.tasks.base import Goal
from gru_bench.tasks.text.text_classification import TextClassification

BATCH_SIZE = 32


def make_task(options: argparse.Namespace) -> TextClassification:
    """The task as ``conf/task/sst2.yaml`` has it, on the data that was asked for."""
    return TextClassification(
        Rows(path=options.path, text=options.text, label=options.label),
        tokenizer="whitespace",
        lowercase=True,
        max_length=None,
        max_vocab_size=None,
        min_count=2,
        batch_size=BATCH_SIZE,
        goal=Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99),
    )


def make_table(task: TextClassification) -> Any:
    """The same ids and labels as a ``datasets`` table."""
    import datasets

    texts = task.texts["train"]
    labels = task.prepared.arrays["train.label"].tolist()
    return datasets.Dataset.from_dict(
        {"input_ids": [texts[row].tolist() for row in range(len(texts))], "label": labels}
    )


def collate_tensors(rows: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad rows that come as tensors."""
    ids = [row["input_ids"] for row in rows]
    return pad_sequence(ids), torch.tensor([len(row) for row in ids]), torch.stack([row["label"] for row in rows])


def collate_lists(rows: list[dict[str, Any]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad rows that come as Python lists."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    return pad_sequence(ids), torch.tensor([len(row) for row in ids]), torch.tensor([row["label"] for row in rows])


def loader(table: Any, collate: Callable[[list[Any]], Any], seed: int) -> Iterable[Any]:
    """A DataLoader as tutorials make it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.utils.data.DataLoader(
        table, batch_size=BATCH_SIZE, shuffle=True, collate_fn=collate, generator=generator
    )


def seconds(make_epoch: Callable[[int], Iterable[Any]], seed: int) -> float:
    """Seconds to make all batches of one epoch."""
    start = time.perf_counter()
    for _ in make_epoch(seed):
        pass
    return time.perf_counter() - start


def load_in_a_fresh_process(arguments: list[str], cache: str) -> dict[str, float]:
    """What ``--load-only`` prints in a process of its own, with that cache."""
    environment = os.environ | {"GRU_BENCH_CACHE": cache, "HF_DATASETS_CACHE": os.path.join(cache, "datasets")}
    command = [sys.executable, __file__, "--load-only", *arguments]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default="../shared/data/sst2")
    parser.add_argument("--text", default="sentence")
    parser.add_argument("--label", default="label")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--load-only", action="store_true", help="print the seconds of one load and end")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = make_task(options)
    start = time.perf_counter()
    task.load()
    loaded = time.perf_counter() - start
    if options.load_only:
        next(task.batches("train", torch.Generator().manual_seed(0)))
        print(json.dumps({"load_s": loaded, "first_batch_s": time.perf_counter() - start}))
        return
    table = make_table(task)
    as_tensors = table.with_format("torch")

    arms: dict[str, Callable[[int], Iterable[Any]]] = {
        "gru_bench": lambda seed: task.batches("train", torch.Generator().manual_seed(seed)),
        "DataLoader, torch format": lambda seed: loader(as_tensors, collate_tensors, seed),
        "DataLoader, Python lists": lambda seed: loader(table, collate_lists, seed),
    }
    names = list(arms)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(options.rounds + 1):
        for name in [*names, *reversed(names)]:  # A B C C B A
            spent = seconds(arms[name], round_number)
            if round_number > 0:  # the first round warms up
                taken[name].append(spent)
    best = min(names[1:], key=lambda name: statistics.median(taken[name]))
    # one ratio a round, from both of its turns
    ratios = [sum(taken[best][i : i + 2]) / sum(taken[names[0]][i : i + 2]) for i in range(0, 2 * options.rounds, 2)]
    ids = sum(task.texts[split].values.nbytes for split in task.texts)
    arguments = ["--path", options.path, "--text", options.text, "--label", options.label]
    with tempfile.TemporaryDirectory() as cache:
        first, second = (load_in_a_fresh_process(arguments, cache) for _ in range(2))

    rows = len(task.texts["train"])
    print(f"{rows:,} training rows, batches of {BATCH_SIZE}, {options.threads} thread(s), {options.rounds} rounds")
    print(f"{'one epoch of batches':<28} {'median ms':>10} {'min':>9} {'max':>9}")
    for name in names:
        low, middle, high = min(taken[name]), statistics.median(taken[name]), max(taken[name])
        print(f"{name:<28} {1000 * middle:>10.1f} {1000 * low:>9.1f} {1000 * high:>9.1f}")
    print(f"ratio to the faster DataLoader ({best}): {statistics.median(ratios):.1f}", end="")
    print(f" ({min(ratios):.1f}..{max(ratios):.1f})")
    print(f"padding, ours: {task.facts['padding_share']:.1%} of all steps")
    print(
        f"prepared data: {task.prepared.num_bytes:,} bytes, {task.prepared.num_bytes / ids:.2f} times those of its ids"
    )
    print(f"load in a fresh process: first {first['load_s']:.2f} s, second {second['load_s']:.3f} s")
    figures = {
        "rows": rows,
        "batch_size": BATCH_SIZE,
        "threads": options.threads,
        "rounds": options.rounds,
        "median_ms": {name: round(1000 * statistics.median(taken[name]), 2) for name in names},
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "padding_share": task.facts["padding_share"],
        "memory_ratio": round(task.prepared.num_bytes / ids, 4),
        "first_load_s": round(first["load_s"], 4),
        "second_load_s": round(second["load_s"], 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
