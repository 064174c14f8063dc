"""The tuning ledger: what counts as a trial, and what the text says of the answer along the curve."""

import frames
import pytest
from rendering import cell, render

from gru_bench.store.read import Results


def trials(scores: dict[str, list[float | None]], rates: int | None = None) -> Results:
    """One run a trial, each with a rate of its own; None: it failed."""
    runs, values = [], []
    for name, found in scores.items():
        for i, score in enumerate(found):
            run = frames.run_row(name, 200 + i, learning_rate=0.001 * (1 + i % (rates or len(found))))
            run["group_key"] += str(i)
            runs.append(run | ({"status": "failed"} if score is None else {}))
            if score is not None:
                values.append(frames.value_row(run["run_id"], "valid", "mse", score))
                values.append(frames.value_row(run["run_id"], "test", "mse", 9.0 - score))
    return frames.make_results(runs, values)


def test_known_answer_of_four_trials_by_validation_alone() -> None:
    text = render("tuning_ledger", trials({"gru": [4.0, 3.0, 2.0, 1.0], "lstm": [4.0, 3.0, 2.0, 2.0]})).markdown
    assert cell(text, "gru", "best of 1").startswith("2.50 (")
    # of 16 pairs 7 find 1, 5 find 2, 3 find 3 and 1 finds 4
    assert cell(text, "gru", "best of 2").startswith("1.88 (")
    assert "Each cell had 4 trials." in text


def test_a_failed_trial_counts_as_the_worst() -> None:
    text = render("tuning_ledger", trials({"gru": [None, 1.0, 1.0, 1.0], "rnn": [5.0, 5.0, 5.0, 1.0]})).markdown
    assert cell(text, "gru", "failed") == "1"
    assert cell(text, "gru", "best of 1").startswith("2.00 (")


def test_an_answer_that_flips_is_said_to() -> None:
    # the GRU's trials are all alike; the LSTM's are mostly far worse, and its best ones better
    steady, risky = [0.5] * 40, [5.0, 5.0, 5.0, 0.001] * 10
    flips = render("tuning_ledger", trials({"gru": list(steady), "lstm": list(risky)})).markdown
    assert "GRU against LSTM by validation score: GRU at 1" in flips
    assert "The answer flips along the curve." in flips
    same = render("tuning_ledger", trials({"gru": list(steady), "lstm": [5.0] * 40})).markdown
    assert "GRU at 1 to 40 trials. The answer does not flip" in same


@pytest.mark.parametrize("rates", [1, 3])
def test_runs_at_few_rates_are_no_trials(rates: int) -> None:
    assert render("tuning_ledger", trials({"gru": [1.0] * 6, "lstm": [2.0] * 6}, rates)).markdown == ""


def test_unequal_numbers_of_trials_are_told() -> None:
    text = render("tuning_ledger", trials({"gru": [1.0, 2.0, 3.0, 4.0, 5.0], "lstm": [2.0, 3.0, 4.0, 5.0]})).markdown
    assert "different numbers of trials (lstm 4, gru 5)" in text
