"""Agreement: slices by attractors, what the data must name, and the real set."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from gru_bench.data.rows import Rows
from gru_bench.data.slices import coded
from gru_bench.errors import UserError
from gru_bench.tasks.base import Goal
from gru_bench.tasks.text.agreement import Agreement

pytestmark = pytest.mark.usefixtures("own_caches")


def make(source: Any, **columns: Any) -> Agreement:
    where = {"path": source} if isinstance(source, str) else {}
    data = Rows(*([] if where else [source]), **where, **({"text": "text", "label": "label"} | columns))
    goal = Goal(margin=0.01, beats_trivial_by=0.3, ceiling=0.995)
    limits: dict[str, Any] = {"max_length": None, "max_vocab_size": 10_000, "min_count": 2}
    return Agreement(
        data, test_selection="made", tokenizer="whitespace", lowercase=False, batch_size=32, goal=goal, **limits
    )


class AlwaysFirst(nn.Module):
    """Says class 0, whatever it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
        return self.weight * torch.tensor([[1.0, 0.0]]).expand(tokens_TB.shape[1], 2)


def test_values_of_a_column_are_numbered_in_their_order() -> None:
    codes_R, names = coded([10, 2, None, 2])
    assert (codes_R.tolist(), names) == ([1, 0, 2, 0], ["2", "10", "none"])


def test_accuracy_by_number_of_attractors() -> None:
    def rows(*pairs: tuple[int, int]) -> list[dict[str, Any]]:
        return [
            {"text": f"the keys {i} {'x ' * (7 - i)}", "label": label, "n": n} for i, (label, n) in enumerate(pairs)
        ]

    test = rows((1, 10), (0, 2), (0, 2), (1, 2), (0, 2), (1, -1))
    task = make({"train": rows((0, -1), (1, -1), (0, -1)), "valid": rows((0, -1)), "test": test}, slice="n")
    task.load()
    with torch.no_grad():
        scores = task.score(AlwaysFirst(), "test")
        assert task.score(AlwaysFirst(), "valid").slices == []
    assert scores.metrics["accuracy"] == 0.5 == task.trivial()["accuracy"]
    assert [(part.slice, part.slice_value, part.value, part.n) for part in scores.slices] == [
        ("attractors", "2", 0.75, 4),
        ("attractors", "10", 0.0, 1),
    ]
    # always plural is right with ten attractors, whatever training has most
    assert [part.value for part in task.trivial_slices()] == [0.75, 1.0]


def test_the_column_of_attractors_must_be_named() -> None:
    with pytest.raises(UserError, match=r"data\.slice: which column"):
        make([{"text": "a", "label": 0}] * 3)


def test_the_real_set(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    whole = pd.read_parquet(shared_data / "linzen_numpred" / "test.parquet")
    few = whole.groupby("n_attractors").head(40)
    few.to_parquet(folder / "test.parquet", index=False)
    for split, count in (("train", 400), ("validation", 50)):
        rows = pd.read_parquet(shared_data / "linzen_numpred" / f"{split}.parquet").head(count)
        rows.to_parquet(folder / f"{split}.parquet", index=False)
    task = make(str(folder), slice="n_attractors")
    task.load()
    assert task.facts["train_rows"] == 400
    with torch.no_grad():
        scores = task.score(AlwaysFirst(), "test")
    singular = few.groupby("n_attractors").label.apply(lambda labels: float((labels == 0).mean()))
    assert {part.slice_value: part.value for part in scores.slices} == pytest.approx(
        {str(n): share for n, share in singular.items()}
    )
    assert len(scores.slices) == 5


def test_the_guess_on_the_real_set(shared_data: Path) -> None:
    task = make(str(shared_data / "linzen_numpred"), slice="n_attractors")
    task.load()
    trivial = task.trivial()
    assert (trivial["accuracy"], trivial["balanced_accuracy"]) == (pytest.approx(40_216 / 64_750), pytest.approx(0.5))
    parts = {part.slice_value: (round(part.value, 3), part.n) for part in task.trivial_slices()}
    assert parts["4"] == (0.932, 561)
    assert [n for _, n in parts.values()] == [52_599, 9_380, 2_051, 561, 159]
