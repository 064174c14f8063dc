"""The section on limits: sentences that are computed, and claims only where they are true."""

import frames
import pytest
from rendering import render, with_facts

DISCLOSURE = "Sizes, steps and learning rates of the shipped tasks, those with trials and those without, were chosen"


def test_limits_are_computed() -> None:
    few = render("limits", frames.small()).markdown
    assert "n is 1 to 2 seeds per row. Below 5 no difference" in few
    assert "adding 4,353 to 12,993" in few
    assert "3 of 3 runs were still improving at the last evaluation" in few
    assert "gru on adding" in few
    one = render(
        "limits",
        frames.make_results([frames.run_row("rnn", 0)], [frames.value_row("adding-rnn-0", "test", "mse", 0.1)]),
    )
    assert "n is 1 seed per row. Below 5" in one.markdown
    many = render("limits", frames.realistic(5, ("rnn", "gru"))).markdown
    assert "n is 5 seeds per row. Only the verdict and the comparisons test differences" in many
    assert "On 7 of 7 tasks" in many


@pytest.mark.parametrize("source", ["trials", "family", "task", None])
def test_that_settings_were_chosen_by_looking_at_these_cells_is_always_stated(source: str | None) -> None:
    assert DISCLOSURE in render("limits", with_facts(frames.small(), learning_rate_from=source)).markdown


def test_limits_count_where_rates_come_from() -> None:
    results = frames.realistic(2, ("rnn", "gru"))
    adding = results.runs["task"] == "adding"
    gru = results.runs["cell"] == "gru"
    sources = [("family" if a and g else "trials" if a else "task") for a, g in zip(adding, gru, strict=True)]
    text = render("limits", with_facts(results, learning_rate_from=sources)).markdown
    assert "Learning rates of 14 rows: the best of the row's own trials at these settings (1), its family's" in text
    assert "not tuned for the cell (1), the task's one rate for all cells (12)." in text
    assert "On adding the rates were not chosen alike for all rows" in text
    assert "On copy_memory, event_order, language_modeling" in text
    trials = [5 if g else 4 for g in gru]
    text = render("limits", with_facts(results, learning_rate_from="trials", learning_rate_trials=trials)).markdown
    assert "language_modeling, language_modeling_char, sentiment, translation the rates were not chosen alike" in text
    assert "share one rate" not in text


def test_limits_claim_nothing_of_rates_whose_origin_is_not_recorded() -> None:
    text = render("limits", with_facts(frames.small(), learning_rate_trials=5)).markdown
    assert "Learning rates of 2 rows: of no recorded origin (2)." in text
    for claim in ("best", "share one rate", "chosen alike"):
        assert claim not in text.split("of 2 rows")[1].split("Sizes")[0]


@pytest.mark.parametrize(
    ("sizes", "sentence", "other"),
    [
        ({"adding": (64, 64)}, "Every cell got the same hidden size; but equal", "differ in hidden size"),
        ({"adding": (32, 64)}, "Rows of one task differ in hidden size (adding 32, 64)", "got the same hidden size"),
        ({"adding": (32, 32), "b": (64, 64)}, "got the same hidden size on each task;", "differ in hidden size"),
        ({"adding": (32, 32), "b": (32, 64)}, "differ in hidden size (b 32, 64)", "got the same hidden size"),
    ],
)
def test_one_hidden_size_is_claimed_only_where_it_is_true(
    sizes: dict[str, tuple[int, int]], sentence: str, other: str
) -> None:
    rows = [
        frames.run_row(name, 0, task, hidden_size=size, hidden_size_asked=size)
        for task, both in sizes.items()
        for name, size in zip(("rnn", "gru"), both, strict=True)
    ]
    text = render("limits", frames.make_results(rows, [])).markdown
    assert sentence in text
    assert other not in text


def test_it_says_on_which_machines_the_scores_come_out_the_same() -> None:
    here = "Repeated on the same kind of CPU the scores come out the same. Another kind of CPU"
    assert here in render("limits", frames.small()).markdown
    text = render("limits", with_facts(frames.small(), device="cuda")).markdown
    assert "Another kind of GPU" in text
    assert "come out the same" not in text
