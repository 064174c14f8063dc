"""Which rows are compared, in which direction, and what the verdict is."""

from typing import Any

import numpy as np
import pytest
from made_scores import noisy, results, runs_of, view

from gru_bench.compare.compared import counted, primary, secondary, sentence
from gru_bench.compare.pairs import unpaired
from gru_bench.compare.wording import change, flips, verdict_text
from gru_bench.errors import UserError
from gru_bench.report.view import View
from gru_bench.statistics.crossed import seeds_only

BETTER = {"gru": noisy(0.80, 8, 0.004, 1), "lstm": noisy(0.70, 8, 0.004, 2)}
SAME = {"gru": noisy(0.80, 8, 0.004, 1), "lstm": noisy(0.801, 8, 0.004, 2)}
OPEN = {"gru": noisy(0.80, 8, 0.05, 1), "lstm": noisy(0.78, 8, 0.05, 2)}


def test_the_four_verdicts_and_the_sentence() -> None:
    worse = {"gru": BETTER["lstm"], "lstm": BETTER["gru"]}
    made = view(*(runs_of(task, scores) for task, scores in zip("abcd", (BETTER, SAME, OPEN, worse), strict=True)))
    assert [one.answer for one in primary(made)] == ["GRU", "equivalent", "undecided", "LSTM"]
    assert sentence(made) == ("On 4 tasks at equal hidden size: GRU on 1, LSTM on 1, equivalent on 1, undecided on 1.")
    first, same, unclear, _ = primary(made)
    assert first.estimate.value == pytest.approx(0.1)
    assert verdict_text(first) == "GRU, by more than the margin"
    assert change(first).startswith("a margin above 0.1")
    assert change(same).startswith("a margin below 0.00")
    assert "seeds" in change(unclear)
    assert primary(made)[0] is first  # computed once


def test_lower_is_better_turns_the_sign_and_perplexity_is_compared_by_its_logarithm() -> None:
    facts = {"primary_metric": "mse", "primary_higher_is_better": False}
    (one,) = primary(view(runs_of("a", BETTER, **facts)))
    assert one.answer == "LSTM"
    assert one.estimate.value == pytest.approx(-0.1)
    scores = {"gru": [50.0] * 5 + [55.0], "lstm": [60.0] * 5 + [66.0]}
    (one,) = primary(
        view(
            runs_of(
                "a",
                scores,
                **facts | {"primary_metric": "perplexity", "margin": 1.0, "ceiling": 10.0, "trivial": 400.0},
            )
        )
    )
    level = float(np.exp(np.log([*scores["gru"], *scores["lstm"]]).mean()))
    assert one.by_seed == pytest.approx([level * np.log(1.2)] * 6)


def test_seeds_are_paired_and_those_without_a_partner_are_named() -> None:
    (one,) = primary(view(runs_of("a", {"gru": noisy(0.8, 7, 0.01, 1), "lstm": noisy(0.7, 5, 0.01, 2)})))
    assert one.seeds == [0, 1, 2, 3, 4]
    assert one.notes[0] == "seeds of gru without a partner: 5, 6"
    runs, values = runs_of("a", {"gru": [0.8] * 3, "lstm": [0.7] * 3})
    for run in runs[3:]:
        run["seed"] += 10
    (one,) = primary(view((runs, values)))
    assert (one.answer, one.seeds, one.notes[0]) == ("undecided", [], "no seed in common")
    assert change(one) == "seeds that both cells ran"


def test_fewer_than_five_seeds_are_undecided_however_clear() -> None:
    made = view(runs_of("a", {"gru": [0.9, 0.91, 0.9, 0.92], "lstm": [0.6, 0.61, 0.6, 0.6]}))
    assert sentence(made) == "On a at equal hidden size: undecided (fewer than 5 seeds)."


@pytest.mark.parametrize("setting", ["backend", "dtype", "batch_size", "data_fingerprint", "optimizer"])
def test_rows_that_differ_in_a_setting_are_not_compared(setting: str) -> None:
    values: dict[str, Any] = {"gru": 8, "lstm": 16} if setting == "batch_size" else {"gru": "x", "lstm": "y"}
    made = view(runs_of("a", BETTER, **{setting: values}))
    assert primary(made) == []
    (why,) = unpaired(made, "gru", "lstm")
    assert why.why == f"not paired: they differ in {'data' if setting == 'data_fingerprint' else setting}"
    assert "not compared" in sentence(made)


@pytest.mark.parametrize("setting", ["learning_rate", "hidden_size"])
def test_rows_that_differ_in_rate_or_size_are_compared(setting: str) -> None:
    assert len(primary(view(runs_of("a", BETTER, **{setting: {"gru": 1, "lstm": 2}})))) == 1


def test_each_budget_has_its_sentence_and_flips_are_said() -> None:
    parts = [runs_of("a", BETTER, budget="hidden"), runs_of("a", SAME, budget="parameters")]
    made = view(*parts)
    assert sentence(made) == ("On a at equal hidden size: GRU. On a at equal number of parameters: equivalent.")
    assert [one.pair.where for one in primary(made)] == ["budget hidden", "budget parameters"]
    assert flips(primary(made)) == (
        "The answer depends on what is held equal on a (GRU at equal hidden size, equivalent at equal number of "
        "parameters)."
    )
    assert flips(primary(view(runs_of("a", BETTER)))) == ""


def test_another_backend_is_a_repetition_not_a_second_primary_comparison() -> None:
    made = view(runs_of("a", BETTER), runs_of("b", BETTER), runs_of("a", SAME, backend="vendor"))
    assert [(one.task, one.pair.backend) for one in primary(made)] == [("a", "loop"), ("b", "loop")]
    assert [(one.task, one.pair.backend) for one in secondary(made)] == [("a", "vendor")]


def test_of_several_rates_the_best_on_validation_data_is_compared() -> None:
    import frames

    parts = [runs_of("a", BETTER, learning_rate=0.1), runs_of("a", {"gru": [0.95] * 8}, learning_rate=0.2)]
    runs, values = ([row for part in parts for row in part[i]] for i in (0, 1))
    values += [frames.value_row(r["run_id"], "valid", "accuracy", 0.9 - r["learning_rate"]) for r in runs]
    (one,) = primary(view((runs, values)))
    assert one.pair.first.fact("learning_rate") == 0.1  # although the other's test scores are higher
    assert one.notes[0] == "of 2 rows of gru the best on validation data"


def test_of_several_rows_the_one_with_most_seeds_is_compared() -> None:
    parts = [runs_of("a", BETTER, learning_rate=0.1), runs_of("a", {"gru": [0.95] * 6}, learning_rate=0.2)]
    runs, values = ([row for part in parts for row in part[i]] for i in (0, 1))
    (one,) = primary(view((runs, values)))
    assert one.pair.first.fact("learning_rate") == 0.1
    assert one.notes[0] == "of 2 rows of gru the one with most seeds"


def test_seeds_that_split_are_compared_by_the_share_that_solves_the_task() -> None:
    scores = {"gru": [1.0] * 8, "lstm": [1.0, 0.99, 0.52, 0.5, 0.51, 0.5, 0.52, 0.5]}
    (one,) = primary(view(runs_of("a", scores)))
    assert one.kind == "share solved"
    assert one.estimate.value == pytest.approx(0.75)
    assert one.margin == 0.1
    assert one.answer == "GRU"
    assert one.without_seed(0).estimate.value == pytest.approx(6 / 7)


def test_secondary_comparisons() -> None:
    cells = {cell: noisy(0.8, 5, 0.01, i) for i, cell in enumerate(("gru", "lstm", "rnn", "gru_article"))}
    made = view(runs_of("a", cells))
    assert {one.pair.cells for one in secondary(made)} == {("gru", "rnn"), ("gru", "gru_article"), ("lstm", "rnn")}
    only = view(runs_of("a", {"lstm": cells["lstm"], "rnn": noisy(0.6, 5, 0.01, 9)}))
    assert sentence(only) == ("GRU and LSTM are not compared here. LSTM against RNN: on a at equal hidden size: LSTM.")
    assert sentence(view(runs_of("a", {"gru": cells["gru"]}))) == "GRU and LSTM are not compared: only GRU finished."


def test_bad_input_is_refused_in_one_line() -> None:
    mixed = runs_of("a", BETTER, margin={"gru": 0.01, "lstm": 0.02})
    with pytest.raises(UserError, match=r"a: its runs have different margins \(0.01, 0.02\)"):
        primary(view(mixed))
    (one,) = primary(view(mixed, accept=frozenset({"margins"})))
    assert (one.margin, one.marks) == (0.01, ["margins changed between runs"])
    assert "margins changed between runs" in counted([one])
    with pytest.raises(UserError, match="a: whether a higher accuracy is better is not recorded"):
        primary(view(runs_of("a", BETTER, primary_higher_is_better=None)))


@pytest.mark.parametrize(
    ("facts", "mark"),
    [
        ({"git_commit": {"gru": "a", "lstm": "b"}}, "runs of mixed code"),
        ({"dirty": {"gru": True, "lstm": True}}, "uncommitted code"),
        ({"machine": {"gru": "a", "lstm": "b"}}, "runs of mixed machines"),
    ],
)
def test_mixed_runs_are_marked_in_the_sentence(facts: dict[str, Any], mark: str) -> None:
    assert sentence(view(runs_of("a", BETTER, **facts))) == f"On a at equal hidden size: GRU ({mark})."


def with_examples(own: float, seeds: int = 6, N: int = 200) -> View:
    """Each seed of the gru is right where the lstm is, but for a share of the examples that is its own."""
    noise = np.random.default_rng(0)
    tables, scores = {}, {"gru": [], "lstm": []}  # type: ignore[var-annotated]
    lstm_N = noise.random(N) < 0.5
    for seed in range(seeds):
        flipped_N = noise.random(N) < own
        for cell, right_N in (("gru", lstm_N | flipped_N), ("lstm", lstm_N)):
            scores[cell].append(float(right_N.mean()))
            tables[cell, seed] = {"correct": right_N.astype(int)}
    part = runs_of("a", scores)
    names = {run["run_id"]: tables[run["cell"], run["seed"]] for run in part[0]}
    return View(results(part, tables=names))


def test_test_examples_widen_the_interval() -> None:
    (one,) = primary(with_examples(0.1))
    assert one.num_examples == 200
    assert one.differences.shape == (6, 200)
    assert one.estimate.value == pytest.approx(float(np.mean(one.scores[0] - one.scores[1])))
    assert one.estimate.example_se > 0
    assert one.estimate.se > seeds_only(one.differences.mean(axis=1)).se
    assert one.without_seed(2).differences.shape == (5, 200)


def test_examples_that_do_not_give_the_score_are_not_used() -> None:
    part = runs_of("a", BETTER)
    tables = {run["run_id"]: {"correct": np.array([1, 0])} for run in part[0]}
    (one,) = primary(View(results(part, tables=tables)))
    assert one.num_examples is None
    assert any("noise of the seeds alone" in note for note in one.notes)


def test_looks_widen_the_interval() -> None:
    widths = []
    for looks in (1, 4):
        (one,) = primary(view(runs_of("a", OPEN, looks=looks)))
        widths.append(one.verdict.interval.high - one.verdict.interval.low)
    assert widths[1] > widths[0] * 1.1
