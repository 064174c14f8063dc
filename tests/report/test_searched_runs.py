"""Runs that a search made: all in the results, none in a table, a verdict or a figure of the ordinary sections."""

import frames
import pandas as pd
import pytest
from rendering import NAMES, cell, node, render

from gru_bench.report.header import Made, header
from gru_bench.report.view import View
from gru_bench.store.read import Results

FAR_BACK = {"how_far_back", "memory_horizons", "gradient_reach"}
"""Sections that such runs are for."""
ORDINARY = ("cost", "learning_curves", "limits", "summary", "verdict")
"""Sections that would show such runs if the view did not keep them apart."""
WORSE = 99.0


def with_search(results: Results) -> Results:
    """The same, and for each run one of a search with absurd values."""
    runs, values, curves = [results.runs], [results.values], [results.curves]
    for role in ("trial", "horizon"):
        runs.append(renamed(results.runs.dropna(subset=["job"]).assign(role=role, group_key=role), role))
        values.append(renamed(results.values.assign(value=WORSE), role))
        curves.append(renamed(results.curves.assign(value=WORSE), role))
    whole = [pd.concat(parts, ignore_index=True) for parts in (runs, values, curves)]
    return Results(runs=whole[0], values=whole[1], curves=whole[2])


def renamed(frame: pd.DataFrame, role: str) -> pd.DataFrame:
    """The rows of another run each."""
    return frame.assign(run_id=[f"{role}-{run}" if run else run for run in frame["run_id"]])


@pytest.mark.parametrize("name", ORDINARY)
def test_the_ordinary_sections_are_as_without_them(name: str) -> None:
    results = frames.small()
    assert render(name, with_search(results)).markdown == render(name, results).markdown


def test_the_view_keeps_them_apart_and_loses_none() -> None:
    results = with_search(frames.small())
    view = View(results)
    assert sorted(view.all_runs["run_id"]) == sorted(results.runs["run_id"])
    assert set(view.searched["role"]) == {"trial", "horizon"}
    assert set(view.runs["role"]) == {""}
    assert len(view.runs) + len(view.searched) == len(results.runs)


def test_head_and_coverage_say_how_many() -> None:
    results = with_search(frames.small())
    head = header(View(results), Made({"experiment": "quick", "sweep": None}))
    assert "15 runs: 9 finished, 3 failed, 3 missing; 3 seeds; cpu. In no comparison of scores: 5" in head
    assert "5 that look for the longest lag and 5 that try a learning rate" in head
    row = cell(render("coverage", results).markdown, "runs of a search", "how it is")
    assert row == (
        "5 runs with the role horizon; 5 runs with the role trial (gru on adding, rnn on adding); 6 finished; "
        "2 failed, 2 missing: gru on adding"
    )
    assert "search" not in render("coverage", frames.small()).markdown


def test_runs_of_a_search_that_failed_are_named_with_their_reason() -> None:
    without, text = (render("faults", results).markdown for results in (frames.small(), with_search(frames.small())))
    assert text.startswith("6 of 15 planned runs did not finish")
    for run in ("horizon-addi", "trial-adding"):
        assert run in text
        assert run not in without
    assert text.count("Diverged") == 3


def test_a_job_of_a_search_that_left_no_run_is_no_missing_run_of_a_comparison() -> None:
    runs = [frames.run_row("gru", seed, role="horizon") for seed in range(3)]
    missing = {"task": "adding", "cell": "rnn", "seed": 7, "status": "missing", "sweep": runs[0]["sweep"]}
    other = missing | {"sweep": "another"}
    view = View(frames.make_results([*runs, missing, other], []))
    assert list(view.runs["sweep"]) == ["another"]
    row = cell(render("coverage", frames.make_results([*runs, missing], [])).markdown, "runs of a search", "how it is")
    assert row.startswith("3 runs with the role horizon; 1 planned and not run (")


def test_a_report_of_a_search_alone() -> None:
    whole = with_search(frames.small())
    results = Results(runs=whole.runs[whole.runs["role"] != ""], values=whole.values, curves=whole.curves)
    head = header(View(results), Made({"experiment": "quick", "sweep": None}))
    assert "How far back do rnn and gru see on adding?" in head
    for name in NAMES:
        section = render(name, results)
        if node(name)["page"] == "report" and name not in FAR_BACK | {"coverage", "trust"}:
            assert section.markdown == ""
    assert "of a search" in render("environment", results).markdown
