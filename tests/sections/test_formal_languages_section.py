"""Formal languages: known answers from scores made by hand."""

import frames
import pandas as pd
import pytest
from made_horizons import languages
from rendering import cell, render, with_facts, with_values

SEEDS = [(1.0, 0.995)] * 3 + [(1.0, 0.98)] * 4 + [(0.7, 0.5)] * 3


def test_a_seed_generalises_that_is_right_at_every_level_beyond() -> None:
    found = languages({"parity": {"gru": SEEDS, "lstm": [(1.0, 1.0)] * 10}, "dyck1": {"gru": [(1.0, 0.9)] * 10}})
    section = render("formal_languages", found).markdown
    assert cell(section, "gru", "parity") == "3 of 10 (11 to 60 %), learned 7"
    assert cell(section, "lstm", "parity") == "10 of 10 (72 to 100 %), learned 10"
    assert cell(section, "lstm", "dyck1") == "not run"
    assert cell(section, "gru", "dyck1") == "0 of 10 (0 to 28 %), learned 10"
    assert "parity: trained to 40, tested at 100, 500." in section


def test_lower_scores_may_be_the_better_ones() -> None:
    found = languages({"parity": {"gru": [(0.001, 0.001), (0.001, 0.2)]}}, primary_higher_is_better=False, ceiling=0.01)
    assert cell(render("formal_languages", found).markdown, "gru", "parity").startswith("1 of 2")


def test_a_seed_that_diverged_did_not_learn_and_one_that_broke_is_no_seed() -> None:
    found = languages({"parity": {"gru": [(1.0, 1.0)] * 4}})
    failed = {"status": ["finished", "finished", "failed", "failed"], "error": ["", "", "Diverged: nan", "OSError"]}
    found = with_facts(found, **failed)
    assert cell(render("formal_languages", found).markdown, "gru", "parity").startswith("2 of 3")


def test_without_the_level_of_training_nothing_is_said() -> None:
    found = languages({"parity": {"gru": SEEDS}})
    assert render("formal_languages", with_facts(found, trained_to=pd.NA)).markdown == ""
    assert render("formal_languages", with_facts(found, trained_to=500)).markdown == ""  # no level beyond


@pytest.mark.parametrize("role", ["trial", "horizon"])
def test_trials_are_no_seeds(role: str) -> None:
    found = languages({"parity": {"gru": SEEDS}})
    roles = [role if seed > 3 else "" for seed in found.runs["seed"]]
    assert cell(render("formal_languages", with_facts(found, role=roles)).markdown, "gru", "parity").startswith(
        "3 of 4"
    )


def test_two_budgets_are_two_rows() -> None:
    found = languages({"parity": {"gru": SEEDS}})
    budgets = ["state" if seed < 5 else "hidden" for seed in found.runs["seed"]]
    section = render("formal_languages", with_facts(found, budget=budgets, group_key=budgets)).markdown
    assert cell(section, "gru, state", "parity").startswith("3 of 5")
    assert cell(section, "gru, hidden", "parity").startswith("0 of 5")


def test_the_largest_n_by_seed_under_both_rules() -> None:
    found = languages({"anbn": {"gru": [(1.0, 0.0)] * 3}})
    values = [
        frames.value_row(run, "test", metric, n)
        for metric, of_seed in (("n_star_exact", (57, 500, 12)), ("n_star_threshold", (60, 60, 60)))
        for run, n in zip(found.runs["run_id"], of_seed, strict=True)
    ]
    section = render("formal_languages", with_values(found, *values)).markdown.split("### Counting")[1]
    assert cell(section, "gru", "exact: median") == "57.0 (12 .. 500)"
    assert cell(section, "gru", "exact: each seed") == "12, 57, 500"
    assert cell(section, "gru", "threshold: median") == "60.0 (60 .. 60)"
