"""Every task on disk with data: its own, or a small folder in its columns."""

from pathlib import Path
from typing import Any

import pandas as pd
from conftest import composed

from gru_bench.config.check import check
from gru_bench.run.build import make_task
from gru_bench.tasks.base import Task

NOUNS, VERBS = ("dog", "cat", "fish", "horse"), ("sees", "hears", "likes")


def row_of(i: int, columns: dict[str, str]) -> dict[str, Any]:
    """Row number ``i`` of a made data set, under the columns that a task reads, by role."""
    words = ["the", NOUNS[i % 4], VERBS[i % 3], "a", NOUNS[i // 4 % 4], f"w{i % 11}"]
    tags = ["B-NP", "I-NP", "B-VP", "B-NP", "I-NP", "O"]
    values: dict[str, Any] = {
        "text": " ".join(words),
        "tokens": words,
        "source": " ".join(words),
        "target": " ".join(reversed(words)),
        "label": i % 3 % 2,  # two of three are 0: the trivial guess has a class to choose
        "tags": tags,
        "slice": i % 4,
    }
    row: dict[str, Any] = {}
    for role, column in columns.items():
        outer, _, inner = column.partition(".")
        if inner:
            row.setdefault(outer, {})[inner] = values[role]
        else:
            row[outer] = values[role]
    return row


SMALL = {"num_eval": 16, "num_train": 96, "num_valid": 24, "num_test": 24}
"""Numbers of examples of generated tasks, where a test looks at no score."""


def loaded(name: str, folder: Path, *, small: bool = False) -> tuple[Task, Any]:
    """The task of a yaml with its data, and its config.

    Args:
        name: Of the yaml.
        folder: For its data.
        small: Whether a generator makes only a few examples.
    """
    overrides = [f"task={name}"]
    config = composed(*overrides)
    data = config.data
    overrides += [f"task.{key}={value}" for key, value in SMALL.items() if small and key in config.task]
    if data and "path" in data and name not in ("language_modeling", "language_modeling_char"):
        roles = ("text", "tokens", "source", "target", "label", "tags", "slice")
        columns = {role: str(data[role]) for role in roles if role in data and data[role] is not None}
        for split, start, count in (("train", 0, 120), ("validation", 200, 30), ("test", 300, 40)):
            rows = [row_of(i, columns or {"text": "text"}) for i in range(start, start + count)]
            pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet", index=False)
        overrides += [f"data.path={folder}", "data.name=null"]
        overrides += [f"data.{key}=null" for key in ("valid_split", "test_split", "revision") if key in data]
        overrides += ["task.batch_size=8"]
    _, node = check(composed("cell=gru", *overrides))
    task = make_task(node)
    task.load()
    return task, node
