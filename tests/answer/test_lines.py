"""The answer in three lines, of made-up results; and the plan in words."""

from dataclasses import replace

import numpy as np
import pytest
from made_scores import noisy, results, runs_of, view
from made_timings import of_tasks, with_timings

from gru_bench.answer.asked import ask
from gru_bench.answer.lines import best_runs, first_of_all, is_open, is_short_of_examples, three_lines
from gru_bench.answer.plan_text import plan_lines
from gru_bench.answer.record import Chosen, Record
from gru_bench.answer.sizing import sized
from gru_bench.commands.answer_told import at_an_edge
from gru_bench.report.view import View
from gru_bench.sections.verdict import render

BETTER = {"gru": noisy(0.80, 8, 0.004, 1), "lstm": noisy(0.70, 8, 0.004, 2), "rnn": noisy(0.6, 8, 0.004, 3)}
OPEN = {"gru": noisy(0.80, 8, 0.05, 5), "lstm": noisy(0.78, 8, 0.05, 6)}


def test_a_winner() -> None:
    seen = view(runs_of("a", BETTER))
    which, guess, costs = three_lines(seen)
    assert which.startswith("1. GRU or LSTM: GRU, by more than the margin on a. GRU better by +0.10")
    assert "; margin 0.0" in which
    others = "GRU against RNN: GRU, by more than the margin; LSTM against RNN: LSTM, by more than the margin"
    assert which.endswith(f"8 seeds. Other cells: {others}.")
    assert "RNN 0.6" in guess
    assert "LSTM 0.7" in guess
    assert "bag of words" not in guess
    assert costs.startswith("3. Training speed: not measured; ")
    assert "what would change the verdict: a margin above 0.1" in costs
    assert not is_open(seen)
    assert first_of_all(seen) == ""


def test_what_is_open_says_what_would_decide_it() -> None:
    seen = view(runs_of("a", OPEN))
    which, _, costs = three_lines(seen)
    assert which.startswith("1. GRU or LSTM: undecided on a. ")
    assert "what would change the verdict: about " in costs
    assert is_open(seen)


def test_what_no_number_of_seeds_decides_asks_for_test_examples() -> None:
    """Both cells answer each of forty examples alike: that does not exclude a difference of a margin of 0.01."""
    rows, values = runs_of("a", {"gru": [0.8] * 6, "lstm": [0.8] * 6}, margin=0.01)
    alike = {str(row["run_id"]): {"correct": np.repeat([1, 0], [32, 8])} for row in rows}
    seen = View(results((rows, values), tables=alike))
    which, guess, costs = three_lines(seen, by_word=0.6589)
    assert which.startswith("1. GRU or LSTM: undecided on a. ")
    assert "6 seeds; 40 examples" in which
    assert "each word's most frequent tag 0.659" in guess
    assert "what would change the verdict: more test examples are needed" in costs
    assert not is_open(seen)
    assert is_short_of_examples(seen)


@pytest.mark.parametrize(("best", "told"), [(0.9, False), (0.53, True)])
def test_that_no_cell_beats_a_guess_is_told_first(best: float, told: bool) -> None:
    runs = runs_of("a", {"gru": [best] * 5, "lstm": [0.5] * 5}, trivial=0.5, beats_trivial_by=0.05)
    seen = view(runs)
    assert first_of_all(seen).startswith("On a no cell is clearly better than a guess") is told
    assert (", which no cell beats by the 0.05 that a useful model does" in three_lines(seen)[1]) is told
    assert render(seen, most_margins=100).markdown.startswith("**On a no cell is clearly better") is told


def test_of_a_plan_that_goes_on_only_what_is_left_is_told() -> None:
    keys = ask([], ["max_hours=0.08"]).keys
    whole = sized({"lstm": 10, "gru": 10}, 1, 9999)
    text = "\n".join(plan_lines(record(), replace(whole, seconds=600.0), keys, 0))
    assert "at most 10 min less what is done, of which this call has 5 min" in text


def test_nothing_finished_is_no_answer() -> None:
    seen = view(runs_of("a", {"gru": [0.8]}))
    assert three_lines(seen)[0] == "1. GRU or LSTM: GRU and LSTM are not compared: only GRU finished."
    assert is_open(seen)


def test_speed_is_that_of_the_report() -> None:
    timed = with_timings(results(runs_of("adding", OPEN)), of_tasks(["adding"]))
    assert "training speed: not measured" not in three_lines(View(timed))[2].lower()


def test_the_best_run_of_each_cell_is_chosen_by_validation() -> None:
    """Validation scores decide, and not those of the test."""
    from frames import value_row

    rows, values = runs_of("a", {"gru": [0.9, 0.5], "lstm": [0.7, 0.8]})
    metric = next(row["metric"] for row in values if row["split"] == "test")
    runs = [str(row["run_id"]) for row in rows]
    valid = dict(zip(runs, (0.1, 0.2, 0.4, 0.3), strict=True))
    values = [*values, *(value_row(run, "valid", metric, score) for run, score in valid.items())]
    found = {cell: run for cell, run, _ in best_runs(view((rows, values)))}
    by_cell = {str(row["run_id"]): row["cell"] for row in rows}
    best = {cell: max((run for run in runs if by_cell[run] == cell), key=valid.__getitem__) for cell in ("gru", "lstm")}
    assert found == best


def record(**changed: object) -> Record:
    made: dict[str, object] = {"name": "mine", "question": [], "source_id": "", "backend": "bptt"}
    made |= {"run_s": {"lstm": [1, 2, 10], "gru": [1, 2, 10]}, "rates": [1.0], "trial_seeds": []}
    return Record(**(made | changed))  # type: ignore[arg-type]


def test_a_plan_that_does_not_fit_says_what_would() -> None:
    keys = ask([], ["max_hours=0.01"]).keys
    text = "\n".join(plan_lines(record(), sized({"lstm": 10, "gru": 10}, 1, 30), keys, 6))
    assert "max_hours=0.01 does not hold even the least that can decide (5 seeds for each cell)" in text
    assert "max_hours=0.038 would" in text  # 128 s, and the 6 that are gone
    assert "none is tried" in text
    assert "not timed" in text


def test_a_plan_that_was_cut_says_what_was() -> None:
    keys = ask([], ["max_hours=0.08"]).keys
    tried = record(rates=[0.5, 1.0, 2.0], trial_seeds=[100])
    text = "\n".join(plan_lines(tried, sized({"lstm": 10, "gru": 10}, 1, 288), keys, 0))
    assert "0.5, 1, 2, each on 1 seed, the same for every cell; validation data choose" in text
    assert (
        "cut to fit: 3 trials of learning rates for each cell instead of 10, 5 seeds to begin with instead of 8" in text
    )
    fullest = sized({"lstm": 10, "gru": 10}, 1, 9999)
    assert "cut" not in "\n".join(plan_lines(tried, fullest, keys, 0))


@pytest.mark.parametrize(
    ("rate", "scores", "said"),
    [
        (0.5, [3.0, 2.0, 1.0], "a smaller one"),
        (0.5, [3.0, 3.0, 3.0], ""),  # of equal ones the smallest is chosen
        (1.0, [1.0, 3.0, 1.0], ""),
        (2.0, [None, 1.0, 3.0], "a larger one"),
        (None, [None, None, None], ""),
    ],
)
def test_the_edge_of_the_grid_is_told(rate: float | None, scores: list[float | None], said: str) -> None:
    found = at_an_edge(record(rates=[0.5, 1.0, 2.0], chosen={"gru": Chosen(rate, scores, "")}))
    assert (said in " ".join(found)) if said else not found
