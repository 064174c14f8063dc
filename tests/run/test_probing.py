"""Probes in a run: chosen by a group, recorded as values of their own, and refused in a line."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import Command, yaml_names
from runs import STEPS, TINY, stored

ALL = "probe=[gates,gradient_reach,jacobian,measured_horizon]"
"""All that have an answer for an LSTM on numbers."""


def test_findings_are_stored_for_each_moment_and_change_no_result(gru_bench: Command) -> None:
    # dropout draws from torch's own generator, which probes must leave alone
    arguments = (*TINY, *STEPS, "cell=lstm", "model.dropout=0.3", "task.lengths=[12]")
    assert gru_bench("train", *arguments, "tracking.uri=sqlite:///without.db") == 0
    assert gru_bench("train", *arguments, ALL) == 0
    from gru_bench.store import read as results

    without, found = results.read("sqlite:///without.db", experiment="adhoc"), stored()
    assert list(without.runs["config_key"]) == list(found.runs["config_key"])
    same = ["split", "metric", "slice", "slice_value", "value"]
    scores = [one.values[one.values["split"].isin(["train", "valid", "test"])][same] for one in (without, found)]
    pd.testing.assert_frame_equal(*(frame.sort_values(same).reset_index(drop=True) for frame in scores))
    assert without.curves["value"].tolist() == found.curves["value"].tolist()
    probed = found.values[found.values["split"] == "probe"]
    names = set(probed["metric"])
    for moment in ("start", "middle", "end"):
        assert {f"gradient_{moment}", f"horizon_steps_{moment}", f"timescale_steps_{moment}"} <= names
        assert {f"saturation_{moment}", f"direct_share_{moment}", f"gradient_c_{moment}"} <= names
        lags = probed[(probed["metric"] == f"gradient_{moment}") & (probed["slice"] == "lag")]
        (path,) = Path("mlartifacts").rglob(f"probe_gradient_reach_{moment}.parquet")
        table = pd.read_parquet(path).set_index("lag")["gradient"]
        assert list(table.index) == list(range(12))
        assert {int(lag): value for lag, value in zip(lags["slice_value"], lags["value"], strict=True)} == {
            lag: table[lag] for lag in (*range(9), 10, 11)
        }
    assert probed.set_index("metric")["value"]["probe_s"] > 0
    configs = [path.read_text() for path in Path("mlartifacts").glob("*/*/artifacts/config.yaml")]
    assert sorted("gradient_reach" in text for text in configs) == [False, True]


def test_a_probe_without_an_answer_is_refused_before_training(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("probe=[gradient_reach,gates]", *TINY, *STEPS)
    assert gru_bench("train", "cell=rnn", *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "gru-bench train: probe=gates: RNN has no gates; valid: a cell that has some, such as gru or lstm"
    assert gru_bench("train", "-m", "cell=rnn,gru", *arguments) == 1
    found = stored()
    runs = found.runs.set_index("cell")
    assert runs["status"].to_dict() == {"rnn": "failed", "gru": "finished"}
    assert runs["error"]["rnn"].startswith("probe=gates: RNN has no gates")
    assert set(found.values[found.values["run_id"] == runs["run_id"]["rnn"]]["split"]) <= {"test"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["probe=[nope]"], "probe=nope: no such choice; valid: " + ", ".join(yaml_names("probe"))),
        (["+probes.gates=1"], "probes.gates: no such probe is chosen; choose probes with probe=[NAME]"),
        (["+probes=1"], "probes=1: choose probes with probe=[NAME]"),
        (["probe=[gates]", "probes.gates.examples=0"], "probes.gates.examples=0: must be greater than 0"),
        (["probe=[gates]", "probes.gates.many=1"], "probes.gates.many: no such key"),
    ],
)
def test_a_wrong_choice_is_one_line(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert gru_bench("train", *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert reason in line
