"""What drawing a batch costs against a training step, for every task that draws its training data without end.

    python bench/probes.py [--rounds 9] [--steps 128] [--threads 1] [--tasks adding,parity]

One process, each task with its own model and sizes, the GRU on ``backend=bptt``. A round draws so many batches, then
trains on them: forward, backward, clipping, Adam. Both times are of the same batches, so that their ratio does not
depend on which levels the seed drew. Seconds are CPU seconds of the process, since a draw is so short that the wall clock
would measure what else the machine does. Prints a table and then one line of JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import nn

from gru_bench.config.check import check, construct
from gru_bench.measure.threads import set_threads
from gru_bench.run.build import ModelBuilder, Place, data_seed, make_cell, make_task
from gru_bench.tasks.base import Batch, Task

CONF = Path(__file__).resolve().parent.parent / "conf"
MOST = 0.03
"""The share of a training step that drawing may take."""


def prepare(name: str) -> tuple[Task, nn.Module] | None:
    """A task and its model; None where its training data is not drawn without end."""
    _, node = check(compose("train", [f"task={name}", "cell=gru", "backend=bptt"]))
    if node["data"]:
        return None
    task = make_task(node)
    if not task.endless:
        return None
    task.load()
    builder = ModelBuilder(node, task.sizes(), Place(torch.device("cpu"), torch.float32))
    return task, builder.build(make_cell(node), construct(node["backend"]), node["hidden_size"], seed=0)


def time_round(task: Task, model: nn.Module, stream: Iterator[Batch], steps: int) -> tuple[float, float]:
    """CPU seconds of one drawn batch and of one training step."""
    start = time.process_time()
    batches = [next(stream) for _ in range(steps)]
    drawn = time.process_time()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for batch in batches:
        loss, _, _ = task.loss(model, batch, None)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return (drawn - start) / steps, (time.process_time() - drawn) / steps


def measure(name: str, task: Task, model: nn.Module, rounds: int, steps: int) -> dict[str, float | str]:
    """Medians over rounds; the first one warms up."""
    stream = iter(task.batches("train", torch.Generator().manual_seed(data_seed(0))))
    times = [time_round(task, model, stream, steps) for _ in range(rounds + 1)][1:]
    ratios = [draw / step for draw, step in times]
    return {
        "task": name,
        "draw_us": 1e6 * statistics.median(draw for draw, _ in times),
        "step_us": 1e6 * statistics.median(step for _, step in times),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def main() -> None:
    """Measure all tasks and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", default=None, help="comma-separated; default: all whose data is drawn without end")
    options = parser.parse_args()
    set_threads(options.threads)
    names = options.tasks.split(",") if options.tasks else sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
    rows = []
    print(f"{'task':<20} {'draw us':>8} {'step us':>8} {'ratio':>7}  (min..max of rounds)")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name in names:
            prepared = prepare(name)
            if prepared is None:
                continue
            row = measure(name, *prepared, options.rounds, options.steps)
            rows.append(row)
            span = f"({row['ratio_min']:.4f}..{row['ratio_max']:.4f})"
            too_much = "  above 3 %" if float(row["ratio"]) > MOST else ""
            print(
                f"{name:<20} {row['draw_us']:8.1f} {row['step_us']:8.1f} {row['ratio']:7.4f}  {span}{too_much}",
                flush=True,
            )
    print(json.dumps({"bench": "probes", "threads": options.threads, "most": MOST, "tasks": rows}))


if __name__ == "__main__":
    main()
