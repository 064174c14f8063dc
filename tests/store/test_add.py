"""What is added to a finished run: all that it had is still there."""

from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import copy_store, one_run, score

from gru_bench.errors import UserError
from gru_bench.store.add import NAMED, Value, add, finished_run, merged, replace
from gru_bench.store.read import read
from gru_bench.store.source import open_source
from gru_bench.store.tables import VALUES_SCHEMA

NUMBERS = st.floats(allow_nan=False)
NAMES = st.tuples(st.sampled_from(["test", "probe"]), st.sampled_from("ab"), st.sampled_from(["", "lag"]))
VALUES = st.dictionaries(NAMES, NUMBERS)


def values(numbers: dict[tuple[str, str, str], float]) -> list[Value]:
    return [Value(split, metric, value, "s", part, part and "1") for (split, metric, part), value in numbers.items()]


@given(VALUES, VALUES)
def test_a_metric_is_replaced_as_a_whole_and_all_others_stay(
    old: dict[tuple[str, str, str], float], new: dict[tuple[str, str, str], float]
) -> None:
    table = merged(merged(VALUES_SCHEMA.empty_table(), values(old)), values(new))
    found = {tuple(row[name] for name in NAMED[:3]): row["value"] for row in table.to_pylist()}
    assert table.num_rows == len(found)
    anew = {name[:2] for name in new}
    assert found == {name: number for name, number in old.items() if name[:2] not in anew} | new
    assert table.schema == VALUES_SCHEMA


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "values.parquet"
    pyarrow.parquet.write_table(merged(VALUES_SCHEMA.empty_table(), [Value("test", "a", 1.0, "")]), path)
    before = path.read_bytes()

    def fails(_: pyarrow.Table, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pyarrow.parquet, "write_table", fails)
    with pytest.raises(OSError, match="disk full"):
        replace(path, VALUES_SCHEMA.empty_table())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["values.parquet"]


def test_added_twice_the_last_counts(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    run_id = one_run(store, "a/0", score(0.25), cell="gru", task="adding", seed="0")
    failed = one_run(store, "b/0", score(0.5), error=ValueError("lost"), cell="rnn", task="adding", seed="0")
    source = open_source(store.uri)
    run = finished_run(source, run_id)
    for number in (1.0, float("inf")):
        add(source, run, [Value("probe", "horizon_steps", number, "steps")], {"probe_x": {"lag": [1]}})
    found = read(store.uri, experiment="quick").values
    found = found[found["run_id"] == run_id].set_index("metric")["value"].to_dict()
    assert found == {"mse": 0.25, "horizon_steps": float("inf")}
    with pytest.raises(UserError, match="is failed; only a finished run"):
        finished_run(source, failed)
    with pytest.raises(UserError, match=rf"no such run .* the latest are: {run_id} \(gru adding seed 0\)$"):
        finished_run(source, "abc")
