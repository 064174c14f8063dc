"""Claims on long dependencies: verdicts from horizons and gradients made by hand."""

import made_horizons
import pytest
from made_horizons import results, search
from rendering import render

from gru_bench.store.read import Results

Outcome = dict[int, tuple[int, int]]
SHORT: Outcome = {100: (0, 2), 10: (10, 10)}
LONG: Outcome = {100: (10, 10), 400: (0, 2)}
END: Outcome = {100: (10, 10), 400: (10, 10)}
NEVER: Outcome = {100: (0, 2), 10: (0, 2)}


def cell(found: Results, claim: str, column: int = -1) -> str:
    markdown = render("claims", found).markdown
    rows = [line.split("|")[1:-1] for line in markdown.splitlines() if line.startswith(f"| {claim}")]
    assert len(rows) == 1
    return rows[0][column].strip().strip("*")


def horizons(**cells: Outcome) -> Results:
    family = {"gru_no_reset": "gru"}
    return results(*(part for name, o in cells.items() for part in search(name, o, family=family.get(name, name))))


@pytest.mark.parametrize(
    ("rnn", "lstm", "gru", "plain_fails", "gates", "lstm_for_long"),
    [
        (SHORT, LONG, END, "supported", "supported", "contradicted"),
        (SHORT, END, LONG, "supported", "supported", "supported"),
        (END, LONG, LONG, "contradicted", "contradicted", "undecided"),
        (END, END, END, "contradicted", "supported", "undecided"),  # all solve the longest lag of the grid
        (SHORT, NEVER, END, "supported", "depends on the task, budget or cell", "contradicted"),
        (NEVER, NEVER, NEVER, "undecided", "contradicted", "undecided"),
    ],
)
def test_horizons_decide(
    rnn: Outcome, lstm: Outcome, gru: Outcome, plain_fails: str, gates: str, lstm_for_long: str
) -> None:
    full: Outcome = {5: (10, 10)}  # of another cell, so that ten seeds are known to be planned
    found = horizons(rnn=rnn, lstm=lstm, gru=gru, other=full)
    assert cell(found, "Plain RNNs") == plain_fails
    assert cell(found, "Gates solve") == gates
    assert cell(found, "Long → LSTM") == lstm_for_long
    assert cell(found, "… because") == "not tested"
    take = {"supported": "LSTM for long ones", "contradicted": "GRU for long ones", "undecided": "undecided"}
    row = next(line for line in render("choose", found).markdown.splitlines() if line.startswith("| long sequences"))
    assert f"**{take[lstm_for_long]}**" in row
    assert "longest lag that enough seeds solve in their steps: adding, budget hidden: LSTM" in row


def test_horizons_of_the_gru_without_reset_gate() -> None:
    assert cell(horizons(gru=LONG, gru_no_reset=END), "The reset gate") == "supported"
    found = horizons(gru=END, gru_no_reset=LONG)
    assert cell(found, "The reset gate") == "contradicted"
    assert cell(found, "The reset gate", -2) == (
        "adding, budget hidden: GRU at least 400 (10 of 10), gru_no_reset 100 (10 of 10; 400: 0 of 2)"
    )
    assert "Boschloo" in render("claims", found).markdown


FAST, SLOW = {"start": 0.5, "end": 0.6}, {"start": 0.9, "end": 0.99}


@pytest.mark.parametrize(
    ("rnn", "gated", "seeds", "answer"),
    [
        (FAST, SLOW, 6, "supported"),
        (SLOW, FAST, 6, "contradicted"),
        (FAST, SLOW, 2, "undecided"),
        (FAST, SLOW, 4, "undecided"),
        (FAST, FAST, 6, "undecided"),
        (FAST, {"start": 0.65, "end": 0.7}, 6, "undecided"),  # longer, but not twice as long
        ({"start": 0.99, "end": 0.99}, {"start": 0.999, "end": 1.0}, 6, "undecided"),  # all beyond the longest lag
        ({"start": 0.9, "end": 0.6}, {"start": 0.5, "end": 1.0}, 6, "contradicted at the start, supported at the end"),
    ],
)
def test_gradients_decide(rnn: dict[str, float], gated: dict[str, float], seeds: int, answer: str) -> None:
    found = made_horizons.probed({"rnn": rnn, "lstm": gated, "gru": gated}, seeds)
    assert cell(found, "… because") == answer
    assert f"(n = {seeds})" in cell(found, "… because", -2)


def test_half_lives_are_medians_and_end_at_the_longest_lag() -> None:
    found = made_horizons.probed({"rnn": FAST, "gru": {"start": 1.0, "end": 1.0}}, 5)
    # decay 0.5 ** (1 + 0.02 seed): half-lives of 1 / (1 + 0.02 seed) steps, in the middle 1 / 1.04
    start, end = cell(found, "… because", -2).split("; ")
    assert start == "adding, budget hidden, start: RNN 0.96, GRU > 59 (n = 5)"
    assert end == "adding, budget hidden, end: RNN 1.3, GRU > 59 (n = 5)"
