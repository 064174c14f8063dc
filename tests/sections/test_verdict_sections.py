"""Verdict, robustness, coverage, trust, comparisons and variance: what they say of made-up results."""

import json
from pathlib import Path
from typing import Any

import frames
import made_timings
import pytest
from made_scores import noisy, results, runs_of
from rendering import cell, render

from gru_bench.store.read import Results

BETTER = {"gru": noisy(0.80, 8, 0.004, 1), "lstm": noisy(0.70, 8, 0.004, 2)}
SAME = {"gru": noisy(0.80, 8, 0.004, 3), "lstm": noisy(0.801, 8, 0.004, 4)}
OPEN = {"gru": noisy(0.80, 8, 0.05, 5), "lstm": noisy(0.78, 8, 0.05, 6)}


def three(**facts: Any) -> Results:
    return results(*(runs_of(task, scores, **facts) for task, scores in zip("abc", (BETTER, SAME, OPEN), strict=True)))


def test_the_verdict_card() -> None:
    section = render("verdict", three())
    text = section.markdown
    assert text.startswith("**On 3 tasks at equal hidden size: GRU on 1, equivalent on 1, undecided on 1.**")
    assert cell(text, "a", "verdict") == "GRU, by more than the margin"
    assert cell(text, "a", "GRU better by (interval)").startswith("+0.1000 (+0.0970")
    assert cell(text, "a", "n") == "8 seeds"
    assert cell(text, "b", "LSTM / neither / GRU") == "0 / 100 / 0 %"
    assert cell(text, "c", "what would change it").startswith("about ")
    assert list(section.figures) == ["verdict"]
    assert "p-value" not in text


def test_the_figure_says_verdict_and_n_in_words() -> None:
    figure = render("verdict", three()).figures["verdict"]
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["GRU  n = 8", "equivalent  n = 8", "undecided  n = 8"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    low, high = ax.get_xlim()
    assert low == -high
    assert high > 5 > 1  # the largest effect is 5 margins, and the margin itself is in sight


def test_an_effect_of_many_margins_ends_in_an_arrow_at_the_edge() -> None:
    figure = render("verdict", three(), most_margins=3).figures["verdict"]
    (ax,) = figure.axes
    assert ax.get_xlim() == (-3, 3)
    assert ">" in {line.get_marker() for line in ax.lines}


@pytest.mark.parametrize("cells", [("gru",), ("rnn", "lstm"), ("gru_article", "lstm_article")])
def test_without_gru_and_lstm_it_says_what_was_compared(cells: tuple[str, ...]) -> None:
    scores = {name: noisy(0.8 - 0.1 * i, 6, 0.01, i) for i, name in enumerate(cells)}
    text = render("verdict", results(runs_of("a", scores))).markdown
    assert "GRU and LSTM are not compared" in text
    assert ("| task" in text) == (len(cells) == 2)
    assert render("robustness", results(runs_of("a", scores))).markdown == ""


def test_robustness_without_a_seed_and_without_a_task() -> None:
    outlier = {"gru": [0.80, 0.81, 0.80, 0.81, 0.80, 0.81], "lstm": [0.79, 0.79, 0.78, 0.78, 0.79, 0.50]}
    text = render("robustness", three()).markdown
    assert cell(text, "without one seed", "what then") == "2 of 2 verdicts stand without any one of its seeds"
    assert "(without a)" in cell(text, "without one task", "what then")
    assert "3 tasks. The tasks were chosen and are no random sample" in text
    assert "at least 3 tasks" in render("robustness", results(runs_of("a", outlier))).markdown
    assert cell(text, "another budget", "what then") == "not run: all at equal hidden size"
    assert cell(text, "another backend", "what then") == "not run: all on loop"


def test_robustness_names_the_verdict_that_hangs_on_one_seed() -> None:
    gains = [0.03, 0.05, 0.07, 0.02, 0.01]
    hanging = {"gru": [0.8 + gain for gain in gains], "lstm": [0.8] * 5}
    text = render("robustness", results(runs_of("a", hanging))).markdown
    without = cell(text, "without one seed", "what then")
    assert without.startswith("0 of 1 verdict stands without any one of its seeds; not: a (undecided without seed ")


def test_robustness_at_another_backend_and_budget() -> None:
    made = results(
        runs_of("a", BETTER),
        runs_of("b", SAME),
        runs_of("a", SAME, backend="vendor"),
        runs_of("a", SAME, budget="state"),
    )
    text = render("robustness", made).markdown
    assert "the same answer in 0 of 1 repetitions; not: a (GRU, on vendor equivalent)" in text
    assert "a (GRU at equal hidden size, equivalent at equal size of state)" in text


def timed(gru_ms: float, shared: bool = False) -> Results:
    """Both learn alike by steps; the first takes so many milliseconds a step, the second 1."""
    scores = {"gru": noisy(0.9, 6, 0.002, 1), "lstm": noisy(0.9, 6, 0.002, 2)}
    runs, values = runs_of("a", scores, shared=shared)
    curves = []
    for run in runs:
        step_ms = gru_ms if run["cell"] == "gru" else 1.0
        values.append(frames.value_row(run["run_id"], "speed", "step_time_ms", step_ms))
        last = next(row["value"] for row in values if row["run_id"] == run["run_id"] and row["metric"] == "accuracy")
        curves += frames.curve_rows(run["run_id"], "valid/accuracy", {100: last - 0.3, 200: last - 0.2, 400: last})
    return frames.make_results(runs, values, curves)


@pytest.mark.parametrize(
    ("gru_ms", "answer"),
    [
        (1.0, "the same answer by validation score on 1 of 1 comparison"),
        (2.0, "not: a (equivalent, at equal seconds LSTM) (GRU took 2.0 times"),
    ],
)
def test_equal_seconds_of_training(gru_ms: float, answer: str) -> None:
    assert answer in cell(
        render("robustness", timed(gru_ms)).markdown, "equal seconds of training, not equal steps", "what then"
    )


def test_seconds_of_runs_that_shared_the_machine_compare_nothing() -> None:
    where = ("equal seconds of training, not equal steps", "what then")
    assert cell(render("robustness", timed(2.0, shared=True)).markdown, *where).startswith("not known")
    pair = made_timings.timing(("gru", "loop"), ("lstm", "loop"), ratio=0.5, task="a", batch=32)
    paired = made_timings.with_timings(timed(9.0, shared=True), [pair])
    text = cell(render("robustness", paired).markdown, *where)
    assert "at equal seconds LSTM) (GRU took 2.0 times the seconds of LSTM; seconds from paired timings)" in text
    forced = made_timings.with_timings(timed(9.0, shared=True), [pair | {"forced": True}])
    assert cell(render("robustness", forced).markdown, *where).startswith("not known")


def test_coverage_lists_only_what_there_is() -> None:
    text = render("coverage", three(learning_rate_from="trials")).markdown
    assert cell(text, "planned runs", "how it is") == "all 48 finished"
    for absent in ("code", "machines", "margins", "learning rates", "not compared"):
        assert f"| {absent} " not in text
    assert cell(text, "test examples", "how it is") == "not used in 3 of 3 comparisons"


def test_coverage_says_what_is_missing_and_mixed() -> None:
    mixed = {"git_commit": {"gru": "abcdef0123", "lstm": "1234567890"}, "machine": {"gru": "m1", "lstm": "m2"}}
    runs, values = runs_of("a", BETTER, **mixed, learning_rate_from={"gru": "trials", "lstm": "task"})
    runs += [{"job": 99, "task": "a", "cell": "gru", "seed": 9, "status": "missing", "experiment": "quick"}]
    text = render("coverage", frames.make_results(runs, values)).markdown
    assert cell(text, "planned runs", "how it is") == "16 of 17 finished; 1 missing: gru on a"
    assert cell(text, "code", "how it is") == "1234567, abcdef0"
    assert cell(text, "code", "what it costs the claim").startswith("1 comparison of mixed code (a)")
    assert "speeds may not" in cell(text, "machines", "what it costs the claim")
    assert cell(text, "learning rates", "how it is") == "of 2 rows: 1 the task's one rate for all cells"
    unpaired = results(runs_of("a", BETTER, dtype={"gru": "float32", "lstm": "float64"}))
    assert "GRU and LSTM on a (not paired: they differ in dtype)" in render("coverage", unpaired).markdown


def calibration(tmp_path: Path, within: bool) -> str:
    row = {"what": "t interval", "nominal": 0.95, "simulations": 100, "promised": True}
    rows = [
        row | {"scores": "normal", "n": 5, "measured": 0.951, "within": True},
        row | {"scores": "skewed", "n": 30, "measured": 0.921, "within": within},
        row | {"what": "BCa", "scores": "skewed", "n": 5, "measured": 0.8, "within": False, "promised": False},
    ]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"simulations": 100, "note": "", "rows": rows}), encoding="utf-8")
    return str(path)


def test_trust_shows_promises_and_those_that_are_not_kept(tmp_path: Path) -> None:
    text = render("trust", three(), calibration=calibration(tmp_path, False)).markdown
    assert cell(text, "t interval", "measured") == "92.1 to 95.1 %"
    assert cell(text, "t interval", "kept") == "1 of 2"
    assert "Not kept: t interval, skewed, 30 seeds." in text
    assert "BCa" not in text
    assert "was fixed before the runs" in text
    assert "Not kept" not in render("trust", three(), calibration=calibration(tmp_path, True)).markdown


def test_trust_says_how_looking_again_is_paid_for(tmp_path: Path) -> None:
    text = render("trust", three(looks=4), calibration=calibration(tmp_path, True)).markdown
    assert "at most 4 looks planned: each look is held to" in text
    assert "4 looks at growing results included" in render("verdict", three(looks=4)).markdown


def test_the_shipped_calibration_fits_the_section() -> None:
    text = render("trust", three()).markdown
    assert "were not calibrated" not in text
    assert text.count(" %") > 10


def test_comparisons_have_p_and_variance_has_shares() -> None:
    text = render("comparisons", three()).markdown
    assert float(cell(text, "a", "adjusted p")) < 0.001
    assert float(cell(text, "c", "adjusted p")) > 0.05
    shares = render("variance", three()).markdown
    assert int(cell(shares, "a", "cell").removesuffix(" %")) > 95
    assert cell(shares, "a", "cell larger than noise") == "yes"
    assert cell(shares, "c", "cell larger than noise") == "no"
