"""Results of several machines."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from frames import curve_rows, make_results, run_row, small, value_row

from gru_bench.errors import UserError
from gru_bench.report.view import View
from gru_bench.sections import cost
from gru_bench.store.merge import merge
from gru_bench.store.read import Results


def of(machine: str, **runs: dict[str, Any]) -> Results:
    """A store of one machine with GRUs on the adding problem: facts by run id."""
    rows, values, curves = [], [], []
    for seed, (run_id, facts) in enumerate(runs.items()):
        rows.append(
            run_row("gru", facts.pop("seed", seed)) | {"run_id": run_id, "machine": machine, "shared": False} | facts
        )
        values.append(value_row(run_id, "test", "mse", float(len(run_id))))
        values.append(value_row(run_id, "speed", "wall_s", 10.0 if machine == "a" else 90.0, unit="s"))
        curves += curve_rows(run_id, "valid/mse", {1: 0.5, 2: 0.25})
    return make_results(rows, values, curves)


def merged(*results: Results) -> tuple[Results, list[str]]:
    said: list[str] = []
    return merge(results, said.append), said


def test_seeds_of_two_machines_are_one_row_of_scores() -> None:
    both, said = merged(of("a", x={}, xx={}), of("b", xxx={"seed": 2}))
    assert not said
    assert list(both.runs["run_id"]) == ["x", "xx", "xxx"]
    assert list(both.values["run_id"]) == ["x", "x", "xx", "xx", "xxx", "xxx"]
    assert list(both.curves["step"]) == [1, 2] * 3
    (task,) = View(both).tasks
    (group,) = task.groups
    assert View(both).seed_values(group, "mse").to_dict() == {0: 1.0, 1: 2.0, 2: 3.0}


def test_frames_keep_their_types() -> None:
    first, second = of("a", x={}), of("b", xxx={"seed": 2, "env_gpu": "none"})
    both, _ = merged(first, second)
    for name in ("values", "curves", "bench"):
        assert list(getattr(both, name).dtypes) == list(getattr(first, name).dtypes), name
    assert list(both.runs["env_gpu"]) == ["", "none"]
    shared = [column for column in first.runs if column in both.runs]
    assert list(both.runs[shared].dtypes) == list(first.runs[shared].dtypes)


def test_one_store_alone_is_itself() -> None:
    alone = small()
    assert merge([alone]) is alone


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ("finished", "finished", "y"),
        ("finished", "failed", "x"),
        ("failed", "finished", "y"),
        ("failed", "killed", "y"),
    ],
)
def test_the_same_run_twice(first: str, second: str, counts: str) -> None:
    both, said = merged(of("a", x={"status": first}), of("a", y={"status": second}))
    assert list(both.runs["run_id"]) == [counts]
    assert set(both.values["run_id"]) == {counts}
    assert len(said) == 1
    assert f"run {counts} counts" in said[0]
    assert "adding, gru, seed 0 ran twice on machine a" in said[0]


def test_a_copied_store_adds_nothing() -> None:
    both, said = merged(of("a", x={}), of("a", x={}))
    assert not said
    pd.testing.assert_frame_equal(both.values, of("a", x={}).values)
    pd.testing.assert_frame_equal(both.runs, of("a", x={}).runs)


def test_other_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"task=adding, cell=gru: .* run x saw adding0123456789, run y saw other"):
        merged(of("a", x={}), of("b", y={"seed": 1, "data_fingerprint": "other"}))


def test_a_job_that_another_machine_ran_is_not_missing() -> None:
    gap = {"job": 1, "task": "adding", "cell": "gru", "status": "missing", "experiment": "quick"}
    rows = [gap | {"seed": seed} for seed in (1, 2)]
    both, _ = merged(of("a", x={}), make_results(rows, []), of("b", y={"seed": 1}))
    assert list(both.runs["status"]) == ["finished", "finished", "missing"]
    assert list(both.runs["seed"]) == [0, 1, 2]


def test_speeds_of_two_machines_are_two_rows() -> None:
    both, _ = merged(of("a", x={}), of("b", xxx={}))
    section = cost.render(View(both), columns={"speed/wall_s": "seconds"})
    rows = [line for line in section.markdown.splitlines() if line.startswith("| adding")]
    assert len(rows) == 2
    assert "10.0" in rows[0]
    assert "machine a" in rows[0]
    assert "90.0" in rows[1]
    assert "50" not in "".join(rows)


def test_examples_come_from_the_store_of_the_run() -> None:
    def reader(value: float) -> Any:
        def read(run_id: str) -> Mapping[str, np.ndarray]:
            return {run_id: np.array([value])}

        return read

    first, second = of("a", x={}), of("b", y={"seed": 1})
    stores = [Results(one.runs, one.values, one.curves, examples=reader(i)) for i, one in enumerate((first, second))]
    both, _ = merged(*stores)
    assert both.examples("y") == {"y": np.array([1.0])}
    assert both.examples("z") is None
