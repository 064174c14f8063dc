"""What ``gru-bench data`` prints: rows, classes and lengths by split, what was decided, remarks, and simple scores."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gru_bench.data.findings import Findings, short
from gru_bench.tasks.base import SPLIT_SEEDS, Task

SPLITS = tuple(SPLIT_SEEDS)
MOST_CLASSES = 20
"""Rows of the table of classes; of more, the most frequent ones."""
WORD_TAG = "baseline_word_tag_"
"""Begins the facts of what each word's own most frequent tag scores."""


def about(task: Task, name: str) -> list[str]:
    """What the data is, line by line.

    Args:
        task: Loaded.
        name: Of its yaml.
    """
    lines = [f"task {name}: {first_sentence(task)}", f"data: {task.source_id()}, fingerprint {task.fingerprint()}"]
    if task.generated:
        lines.append("a generator makes the data: the same for all cells, and no row of it is anybody's")
    found = {key: value for key, value in task.findings.items() if key in Findings.__dataclass_fields__}
    rows, single = counted(task)
    if any(found.get("repeated", {}).values()):
        rows.append(["repeat another row of the split", *(f"{found['repeated'].get(split, 0):,}" for split in SPLITS)])
    lines += ["", *aligned([["", *SPLITS], *rows])]
    for what in ("classes", "tags"):
        lines += by_class(what, found.get(what, {}))
    for what, by_split in found.get("lengths", {}).items():
        names = ("median", "percentile_95", "longest")
        listed = [
            [text, *(f"{by_split[split][key]:,}" if split in by_split else "-" for split in SPLITS)]
            for text, key in zip(("median", "95 % at most", "longest"), names, strict=True)
        ]
        lines += ["", *aligned([[what, *SPLITS], *listed])]
    told = set(Findings(**found).notes())
    notes = [*getattr(task.data, "notes", []), *task.notes]
    if rest := [note for note in notes if note not in told]:
        lines += ["", *(f"- {note}" for note in rest)]
    if single:
        lines += ["", *(f"{what}: {value}" for what, value in single)]
    remarks = found.get("remarks", [])
    lines += ["", *(f"remark: {remark}" for remark in remarks)] if remarks else []
    return [printable(line) for line in lines]


def scores(
    task: Task, trivial: Mapping[str, float], valid: Mapping[str, float] | None, test: Mapping[str, float] | None
) -> list[str]:
    """A table of what simple answers score, and what follows for a recurrent network."""
    by_word = {
        name.removeprefix(WORD_TAG): float(value) for name, value in task.facts.items() if name.startswith(WORD_TAG)
    }
    columns: list[tuple[str, Mapping[str, float]]] = [("trivial guess", trivial)]
    columns += [("each word's most frequent tag", by_word)] if by_word else []
    if valid is not None and test is not None:
        columns += [("bag of words (validation)", valid), ("bag of words", test)]
    rows = [
        [f"{metric.name} ({metric.unit}, {'higher' if metric.higher_is_better else 'lower'} is better)"]
        + [f"{of[metric.name]:.4f}" if metric.name in of else "-" for _, of in columns]
        for metric in task.metrics
    ]
    table = aligned([["score on the test rows", *(title for title, _ in columns)], *rows])
    sign = 1 if task.primary_metric.higher_is_better else -1
    bars = {title: of[task.primary] for title, of in columns if of is not valid and task.primary in of}
    title = max(bars, key=lambda one: sign * bars[one])
    name = title if title.startswith("each") else f"the {title}" if title.startswith("trivial") else f"a {title}"
    said = (
        f"A recurrent network is worth its training where it beats {name}: {task.primary} {bars[title]:.4f} on the "
        "test rows."
    )
    return [printable(line) for line in ["", *table, "", said]]


def first_sentence(task: Task) -> str:
    """Of the class's docstring."""
    text = inspect.getdoc(type(task)) or ""
    return " ".join(text.split("\n\n")[0].split())


def counted(task: Task) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Rows of counts by split, those that are 0 everywhere left out; and what is counted once, with its name."""
    by_split: dict[str, dict[str, str]] = {}
    single = []
    for name, value in task.facts.items():
        split, _, what = name.partition("_")
        text = f"{value:,}" if isinstance(value, int) else str(value)
        if split in SPLITS and what:
            by_split.setdefault(what.replace("_", " "), {})[split] = text
        elif not name.startswith(WORD_TAG):
            single.append((name.replace("_", " "), text))
    if not by_split:
        by_split["sequences"] = sequences(task)
    shown = {what: of for what, of in by_split.items() if what == "rows" or set(of.values()) != {"0"}}
    return [[what, *(of.get(split, "-") for split in SPLITS)] for what, of in shown.items()], single


def sequences(task: Task) -> dict[str, str]:
    """How many sequences each split of generated data has."""
    found = {"train": "endless"} if task.endless else {}
    for split in SPLITS:
        if split not in found:
            generator = torch.Generator().manual_seed(0) if split == "train" else None
            found[split] = f"{sum(batch.counts().examples for batch in task.batches(split, generator)):,}"
    return found


def by_class(what: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A table of classes, or of tags, by split, the most frequent in training first."""
    train = counts.get("train", {})
    if not train:
        return []
    names = [*train, *(name for split in SPLITS[1:] for name in counts.get(split, {}) if name not in train)]
    names = list(dict.fromkeys(names))
    rows = [
        [short(name), *(f"{counts.get(split, {}).get(name, 0):,}" for split in SPLITS)] for name in names[:MOST_CLASSES]
    ]
    total = sum(train.values())
    share = [f"{train.get(name, 0) / total:.1%}" for name in names[:MOST_CLASSES]]
    rows = [[*row, part] for row, part in zip(rows, share, strict=True)]
    title = f"{len(names):,} {what}"
    more = [f"... and {len(names) - MOST_CLASSES:,} more"] if len(names) > MOST_CLASSES else []
    return ["", *aligned([[title, *SPLITS, "of train"], *rows]), *more]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as text: the first column flush left, the others flush right."""
    clean = [[printable(text) for text in row] for row in rows]
    widths = [max(len(row[place]) for row in clean) for place in range(len(clean[0]))]
    return [
        "  ".join(text.ljust(width) if place == 0 else text.rjust(width)
                  for place, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in clean
    ]  # fmt: skip


def printable(text: Any) -> str:
    """A text in one line, in which no character steers a terminal: such ones are told by their codes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))
