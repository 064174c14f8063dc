"""``gru-bench probe`` for real: kept models, what is added to a run, and its messages."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from runs import STEPS, URI, stored

from gru_bench.run.rebuild import rebuild
from gru_bench.store.connect import absolute_uri
from gru_bench.store.read import Results
from gru_bench.store.source import open_source
from gru_bench.training.trainer import evaluate

PARITY = [
    "task=parity",
    "task.levels=[4]",
    "task.beyond=[6]",
    "task.num_eval=16",
    "hidden_size=5",
    "threads=1",
    "trainer.learning_rate=0.05",
    *STEPS,
]
HORIZON = ["probe=[measured_horizon]", "probes.measured_horizon.examples=16"]
NAMED = ["split", "metric", "slice", "slice_value"]


def by_name(results: Results) -> pd.DataFrame:
    table = results.values.set_index(NAMED).sort_index()
    assert table.index.is_unique
    return table


def test_probes_on_a_kept_model_are_added_to_its_run(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    # what it finds in training is what it finds afterwards
    assert gru_bench("train", *PARITY, *HORIZON) == 0
    before = stored()
    (run_id,) = before.runs["run_id"]
    source = open_source(absolute_uri(URI))
    folder = Path("mlartifacts", run_id, "artifacts")

    subject = rebuild(
        folder / "model" / "config.yaml",
        folder / "model" / "model.safetensors",
        hidden_size=5,
        fingerprint=before.runs["data_fingerprint"][0],
        device=None,
        threads=1,
    )
    tested = evaluate(subject.model, subject.task, "test").metrics
    for name, value in tested.items():
        assert by_name(before).loc[("test", name, "", ""), "value"] == value

    capsys.readouterr()
    assert gru_bench("probe", f"run={run_id}", "probe=[measured_horizon,occlusion]", *HORIZON[1:], "threads=1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"run {run_id}: gru parity seed 0"
    assert [line.split(":")[0] for line in lines[1:]] == ["measured_horizon", "occlusion"]

    # a command that asks for both is done
    again = [*PARITY, "save=best", "probe=[measured_horizon,occlusion]", *HORIZON[1:]]
    assert gru_bench("train", "-m", "seed=0", *again) == 0
    assert "1 of 1 runs are done; none to run" in capsys.readouterr().out

    old, new = by_name(before), by_name(stored())
    pd.testing.assert_frame_equal(new.loc[old.index], old, check_exact=True)
    added = new.drop(old.index)
    assert set(added.index.get_level_values("split")) == {"probe"}
    assert ("probe", "occlusion_reach_tokens", "", "") in added.index
    assert {"probe_measured_horizon_lags.parquet", "probe_occlusion_distances.parquet"} <= {
        file.name for file in folder.iterdir()
    }
    assert "probe/longest_occlusion_tokens" in source.history(run_id)
    pd.testing.assert_frame_equal(stored().runs.drop(columns="kept"), before.runs.drop(columns="kept"))
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def test_what_a_probe_cannot_answer_is_a_line(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "-m", "save=best,none", *PARITY) == 0
    runs = stored().runs
    # the same run twice, as to its key: the later one stands for both
    assert len(runs) == 1
    every = {
        run.run_id: Path("mlartifacts", run.run_id, "artifacts", "model").is_dir()
        for run in open_source(absolute_uri(URI)).runs(["1"], {"gru_bench.kind": "run"})
    }
    (kept,) = (run_id for run_id, is_kept in every.items() if is_kept)
    (lost,) = (run_id for run_id, is_kept in every.items() if not is_kept)
    horizon = "probe=[measured_horizon]"
    for arguments, words in (
        (["run=abc", horizon], ["run=abc: no such run", kept, "gru parity seed 0"]),
        ([f"run={lost}", horizon], ["its model was not kept", "save=best"]),
        ([f"run={kept}", "probe=[context]"], ["probe=context: needs a language model", "Parity"]),
        ([f"run={kept}", "probe=[predicted_horizon]"], ["GRU is not affine", "measured_horizon"]),
        ([f"run={kept}"], ["probe=[]: none is chosen", "context"]),
        ([horizon], ["run=null: which run?"]),
        ([f"run={kept}", horizon, "device=tpu"], ["device=tpu"]),
        ([f"run={kept}", horizon, "tracking.uri=sqlite:///absent.db"], ["absent.db", "no such file"]),
    ):
        capsys.readouterr()
        assert gru_bench("probe", *arguments) == 2
        error = capsys.readouterr().err.strip()
        assert len(error.splitlines()) == 1
        assert error.startswith("gru-bench probe: ")
        for word in words:
            assert word in error
    assert not Path("absent.db").exists()
