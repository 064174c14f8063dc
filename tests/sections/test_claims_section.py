"""Claims and choices: known answers from results made by hand."""

from typing import Any

import frames
import pytest
from rendering import render

from gru_bench.sections.choose import choice
from gru_bench.store.read import Results

SEEDS = range(8)
VERDICT, EVIDENCE = -1, -2
"""Columns of the claims; of the choices the last one is what to take."""
GOAL = {"margin": 0.01, "beats_trivial_by": 0.1, "ceiling": 0.001}


def cell(table: str, row: str, column: int = VERDICT) -> str:
    """One cell of the only row whose first cell holds these words."""
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|") and row in line.split("|")[1]]
    assert len(rows) == 1
    return rows[0][column].strip().strip("*")


def results(scores: dict[str, float], lengths: dict[str, tuple[float, ...]] | None = None, **facts: Any) -> Results:
    """One run a seed of each cell on adding, with a little noise; by cell also scores at lengths 10, 20, 40."""
    runs, values = [], []
    for name, score in scores.items():
        for seed in SEEDS:
            run = frames.run_row(name, seed, **(GOAL | facts))
            runs.append(run)
            noise = 1e-5 * ((seed * 7 + len(name)) % 5)
            values.append(frames.value_row(run["run_id"], "test", "mse", score + noise))
            values.append(frames.value_row(run["run_id"], "test", "trivial_mse", 1 / 6))
            values.append(frames.value_row(run["run_id"], "memory", "peak_tensor_mib", 4.0 if name == "lstm" else 3.0))
            for at, part in zip(("10", "20", "40"), (lengths or {}).get(name, ()), strict=False):
                for metric, value in (("mse", part + noise * int(at)), ("trivial_mse", 1 / 6)):
                    facts_of = {"slice": "length", "slice_value": at}
                    values.append(frames.value_row(run["run_id"], "test", metric, value, **facts_of))
    return frames.make_results(runs, values)


def verdict(found: Results, row: str, column: int = VERDICT) -> str:
    return cell(render("claims", found).markdown, row, column)


@pytest.mark.parametrize(
    ("rnn", "gru", "rnns_fail", "gates_solve"),
    [(0.16, 0.0005, "supported", "supported"), (0.0005, 0.0005, "contradicted", "supported"),
     (0.16, 0.15, "supported", "depends on the task")],
)  # fmt: skip
def test_whether_seeds_learn(rnn: float, gru: float, rnns_fail: str, gates_solve: str) -> None:
    found = results({"rnn": rnn, "lstm": 0.0005, "gru": gru})
    assert verdict(found, "Plain RNNs") == rnns_fail
    assert verdict(found, "Gates solve") == gates_solve
    assert "RNN" not in verdict(found, "Gates solve", EVIDENCE)


def test_too_few_seeds_decide_nothing() -> None:
    whole = results({"rnn": 0.16, "lstm": 0.0005, "gru": 0.0005})
    few = Results(runs=whole.runs[whole.runs["seed"] < 4], values=whole.values, curves=whole.curves)
    assert verdict(few, "Plain RNNs") == "undecided"
    assert verdict(few, "Gates solve") == "undecided"
    assert "0 of 4" in verdict(few, "Plain RNNs", EVIDENCE)


def test_a_task_at_half_way_but_not_useful_is_not_learned() -> None:
    # half of the way is 0.0838; a useful model beats the guess by 0.1, which takes 0.0667
    found = results({"rnn": 0.08, "gru": 0.0005})
    assert "0 of 8" in verdict(found, "Plain RNNs", EVIDENCE)


@pytest.mark.parametrize(
    ("gru", "without", "answer"),
    [(0.05, 0.001, "supported"), (0.001, 0.05, "contradicted"), (0.001, 0.001, "contradicted")],
)
def test_the_reset_gate_harms_where_the_gru_without_it_is_better(gru: float, without: float, answer: str) -> None:
    found = results({"gru": gru, "gru_no_reset": without}, family="gru")
    assert verdict(found, "The reset gate") == answer


@pytest.mark.parametrize(("printed", "answer"), [(0.04, "contradicted"), (0.001, "supported")])
def test_the_printed_gru_is_a_gru_where_it_scores_the_same(printed: float, answer: str) -> None:
    assert verdict(results({"gru": 0.001, "gru_article": printed}), "The GRU is as printed") == answer


@pytest.mark.parametrize(
    ("gru_40", "lstm_40", "answer", "take"),
    [(0.05, 0.01, "supported", "LSTM for long ones"), (0.01, 0.05, "contradicted", "GRU for long ones")],
)
def test_the_slope_over_the_length(gru_40: float, lstm_40: float, answer: str, take: str) -> None:
    lengths: dict[str, tuple[float, ...]] = {
        "gru": (0.01, (0.01 + gru_40) / 2, gru_40),
        "lstm": (0.01, (0.01 + lstm_40) / 2, lstm_40),
    }
    found = results({"gru": 0.01, "lstm": 0.01}, lengths)
    assert verdict(found, "Long → LSTM") == answer
    # 0.04 over two doublings
    assert f"{'-' if gru_40 > lstm_40 else '+'}0.020 (" in verdict(found, "Long → LSTM", EVIDENCE)
    assert cell(render("choose", found).markdown, "long sequences") == take


@pytest.mark.parametrize(
    ("gru", "lstm", "weaker", "take"),
    [
        (0.05, 0.001, "supported", "LSTM"),
        (0.001, 0.05, "contradicted", "GRU"),
        (0.001, 0.001, "contradicted", "either"),
    ],
)
def test_simpler_weaker_and_what_to_take(gru: float, lstm: float, weaker: str, take: str) -> None:
    found = results({"gru": gru, "lstm": lstm})
    assert verdict(found, "The GRU is the simpler") == "supported"
    assert "0.75 times" in verdict(found, "The GRU is the simpler", EVIDENCE)
    assert verdict(found, "… and sometimes weaker") == weaker
    chosen = render("choose", found).markdown
    assert cell(chosen, "equal hidden size") == take
    assert cell(chosen, "memory") == "GRU"
    for row in ("little data", "equal size of state", "training speed", "latency"):
        assert cell(chosen, row) == "not measured"


def test_gradients_are_never_claimed_and_the_table_has_few_rows() -> None:
    found = results({"rnn": 0.16, "lstm": 0.0005, "gru": 0.0005})
    assert verdict(found, "… because their gradients vanish") == "not tested"
    assert verdict(found, "The reset gate") == "not tested"
    lines = render("choose", found).markdown.splitlines()
    assert sum(line.startswith("|") for line in lines) <= 2 + 8


@pytest.mark.parametrize(
    ("answers", "take"),
    [
        (["first"], "GRU"),
        (["first", "second"], "depends on the task"),
        (["first", "undecided", "undecided"], "undecided"),
        (["second", "second", "undecided"], "LSTM (undecided on some tasks)"),
        (["equivalent", "equivalent", "first"], "either (GRU on some tasks)"),
        (["equivalent"], "either"),
        (["equivalent", "undecided"], "undecided"),
    ],
)
def test_a_cell_is_named_only_where_it_wins_on_most_tasks(answers: list[str], take: str) -> None:
    assert choice(answers) == take
