"""What the MLflow UI shows of a run, a sweep and an experiment besides numbers; no reader takes anything from it."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from sqlalchemy import Engine, event
from stores import artifact, columns, copy_store, one_run, plan

from gru_bench.store import preview as preview_module
from gru_bench.store.notes import NOTE, code, escaped, of_run, placed
from gru_bench.store.preview import PREVIEW_FILE, preview
from gru_bench.store.read import read
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

FACTS = {
    "cell": "gru", "task": "adding", "seed": 1, "hidden_size": 8, "num_parameters": 273, "primary_metric": "mse",
    "data_source": "adding/1", "git_commit": "0123456789abcdef", "data.rows": 40,
}  # fmt: skip


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


def measured(run: Run) -> None:
    run.params(FACTS)
    run.flush()
    run.params({"data_fingerprint": "f" * 40})
    run.value("test", "trivial_mse", 1 / 6, unit="u", higher_is_better=False, charted=False)
    run.value(
        "test", "trivial_mse", 0.5, unit="u", higher_is_better=False, charted=False, slice="length", slice_value="4"
    )
    run.value("test", "mse", 0.125, unit="u", higher_is_better=False)
    run.value("train", "steps", 40, unit="steps", higher_is_better=None)


def described(store: Store, run_id: str) -> str:
    text: str = store.client.get_run(run_id).data.tags[NOTE]
    return text


def test_a_run_names_its_data_its_source_and_what_it_was(store: Store) -> None:
    run = store.client.get_run(one_run(store, "a", measured))
    assert run.inputs is not None
    given_data = run.inputs.dataset_inputs[0]
    assert (given_data.dataset.name, given_data.dataset.digest) == ("adding", "f" * 36)
    assert (given_data.dataset.source, given_data.dataset.profile) == ('{"uri": "adding/1"}', '{"rows": "40"}')
    assert [(tag.key, tag.value) for tag in given_data.tags] == [("mlflow.data.context", "train")]
    tags = run.data.tags
    assert tags["mlflow.source.git.commit"] == "0123456789abcdef"
    assert tags[NOTE] == (
        "**gru** on **adding**, seed 1 (8 units, 273 parameters). Test mse 0.125, the trivial guess 0.1667 (lower is "
        "better). 40 steps."
    )
    assert "mlflow.user" not in tags
    assert run.info.user_id in ("", "unknown", None)


def test_a_guess_is_no_chart_and_is_read_all_the_same(store: Store) -> None:
    run_id = one_run(store, "a", measured)
    data = store.client.get_run(run_id).data
    assert sorted(data.metrics) == ["test/mse", "train/steps"]
    assert float(data.params["data.guess.trivial_mse"]) == 1 / 6
    assert columns(artifact(store, run_id, "values.parquet"))["metric"].count("trivial_mse") == 2
    values = read(store.uri, experiment="quick").values
    assert list(values[values["metric"] == "trivial_mse"]["value"]) == [1 / 6, 0.5]


def test_a_run_that_failed_says_why_without_markup(store: Store) -> None:
    run_id = one_run(store, "a", error=ValueError("<script>*x*</script>\nmore"))
    text = described(store, run_id)
    assert "Failed: ValueError: &lt;script&gt;\\*x\\*&lt;/script&gt;" in text
    assert "<" not in text
    assert "<" not in of_run(
        {"cell": "<b>", "primary_metric": "<i>"}, {("test", "<i>", "", ""): (1.0, "", True)}, "", ""
    )


def test_nothing_private_in_descriptions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    given_keys = {"overrides": "data.path=/home/alice/x data.url=https://me:secret1@host/x"}
    sweep_id = store.open_sweep("quick", plan("gru"), given_keys)
    tags = store.client.get_run(sweep_id).data.tags
    for text in (tags[NOTE], tags["mlflow.source.name"]):
        assert "data.path=~/x data.url=https://***@host/x" in text


def test_a_server_that_keeps_no_datasets_costs_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise MlflowException("no such thing", error_code=INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(store.client, "log_inputs", refuse)
    run = store.client.get_run(one_run(store, "a", measured))
    assert (run.info.status, run.data.metrics["test/mse"]) == ("FINISHED", 0.125)
    assert run.inputs is not None
    assert not run.inputs.dataset_inputs


def test_two_runs_may_begin_to_use_their_data_at_the_same_moment(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[str] = []

    def other_is_first(_: Any, __: Any, statement: str, parameters: tuple[str, ...], *___: Any) -> None:
        if statement.startswith("INSERT INTO datasets") and not others:
            others.append("0" * 32)
            columns_of = statement.partition("(")[2].partition(")")[0].split(", ")
            row = dict(zip(columns_of, parameters, strict=True)) | {"dataset_uuid": others[0]}
            with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
                connection.execute(statement, [row[name] for name in columns_of])

    event.listen(Engine, "before_cursor_execute", other_is_first)
    try:
        run = store.client.get_run(one_run(store, "a", measured))
    finally:
        event.remove(Engine, "before_cursor_execute", other_is_first)
    assert others
    assert capsys.readouterr().err == ""  # no word of a store that does not answer
    assert run.info.status == "FINISHED"
    assert run.inputs is not None
    assert [one.dataset.digest for one in run.inputs.dataset_inputs] == ["f" * 36]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("SELECT dataset_uuid FROM datasets").fetchall() == [(others[0],)]


# sweeps and experiments


def test_a_sweep_says_what_it_runs_and_how_it_ended(store: Store) -> None:
    planned = plan("gru", "gru_article", seeds=2)
    sweep_id = store.open_sweep("quick", planned, {"overrides": "cell=gru,gru_article seed=0,1"})
    begins = (
        "**Sweep.** 4 jobs: cell gru, gru\\_article; task adding; seed 0, 1. Begun as "
        "`gru-bench train -m cell=gru,gru_article seed=0,1`. "
        f"Its report: `gru-bench report sweep={sweep_id}`."
    )
    assert described(store, sweep_id) == begins
    store.client.set_tag(sweep_id, NOTE, begins + "\n\nAlice's remark")
    one_run(store, "a", measured, sweep_id=sweep_id, job="0")
    for _ in range(2):
        store.close_sweep(sweep_id)
        assert described(store, sweep_id) == f"{begins} How they ended: 1 finished, 3 missing.\n\nAlice's remark"
    store.reopen_sweep(sweep_id, planned)
    assert described(store, sweep_id) == begins + "\n\nAlice's remark"
    experiment = store.client.get_experiment(store.experiment_id("quick"))
    assert experiment.tags[NOTE].startswith("**Experiment.** Compares cell gru, gru\\_article; task adding; 2 seeds")
    assert "`gru-bench report experiment=quick`" in experiment.tags[NOTE]


def test_a_long_plan_is_cut(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("gru", seeds=500), {"overrides": "x" * 9000})
    assert "10, 11 and 488 more" in described(store, sweep_id)
    assert len(described(store, sweep_id)) < 2000


TEXTS = st.text(st.sampled_from("ab *\n.`<"), max_size=12)


@given(before=TEXTS, first=TEXTS, second=TEXTS, at_front=st.booleans())
def test_our_paragraph_is_replaced_and_no_other(before: str, first: str, second: str, at_front: bool) -> None:
    once = placed(before, "**Ours.**", first, first=at_front)
    twice = placed(once, "**Ours.**", second, first=at_front)
    assert twice == placed(before, "**Ours.**", second, first=at_front)
    assert placed(twice, "**Ours.**", second, first=at_front) == twice
    others = [part for part in re.split("\n\n+", before.strip("\n")) if part]
    assert [part for part in twice.split("\n\n") if not part.startswith("**Ours.**")] == others


@given(st.text(max_size=40))
def test_text_is_one_line_without_markup(text: str) -> None:
    assert not set("<>\n") & set(escaped(text))
    assert re.search(r"(?<!\\)[|*`_\[\]~#]", escaped(text)) is None
    assert code(text).count("`") == 2


# the preview


def test_the_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "MOST_PARTS", 1)
    values = {
        ("train", "steps", "", ""): (40.0, "steps", None),
        ("test", "trivial_mse", "", ""): (1 / 6, "u", False),
        ("test", "mse", "", ""): (float("inf"), "u", False),
        ("test", "mse", "tag", "<unk> | x"): (0.5, "u", False),
        ("test", "mse", "tag", "b"): (0.5, "u", False),
    }
    assert preview(values, {"text": ["a|b\nc", "x" * 99], "n": [3, 4]}).splitlines() == [
        "For the eye: the first rows, rounded, as the run left them. All of it is in values.parquet.",
        "",
        "## Values",
        "",
        "| split | metric | value | unit |",
        "| --- | --- | --- | --- |",
        "| test | mse | inf | u |",
        "| test | trivial\\_mse | 0.166667 | u |",
        "| train | steps | 40 | steps |",
        "",
        "## Parts of the splits",
        "",
        "| split | metric | part | value | unit |",
        "| --- | --- | --- | --- | --- |",
        "| test | mse | tag &lt;unk&gt; \\| x | 0.5 | u |",
        "",
        "1 more are in values.parquet.",
        "",
        "## First rows of test\\_examples.parquet",
        "",
        "| text | n |",
        "| --- | --- |",
        "| a\\|b c | 3 |",
        f"| {'x' * 59}… | 4 |",
    ]


def test_a_run_leaves_a_preview_of_few_rows(store: Store) -> None:
    def inside(run: Run) -> None:
        measured(run)
        run.table("test_examples", {"length": list(range(5000))})

    text = artifact(store, one_run(store, "a", inside), PREVIEW_FILE).read_text()
    assert "| 19 |" in text
    assert "| 20 |" not in text
