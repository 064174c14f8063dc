"""What every section keeps to: its yaml, its options, no runs, the same bytes."""

import dataclasses
import importlib
from pathlib import Path

import frames
import pandas as pd
import pytest
from conftest import REPOSITORY
from rendering import NAMES, node, render, tick_labels

from gru_bench.config.check import check_node
from gru_bench.report import figures
from gru_bench.store.read import Results

NOT_SECTIONS = {"__init__"}


def empty() -> Results:
    return frames.make_results([], [])


def test_modules_and_yaml_match_one_to_one() -> None:
    modules = {path.stem for path in (REPOSITORY / "gru_bench" / "sections").glob("*.py")} - NOT_SECTIONS
    assert modules == set(NAMES)
    assert {node(name)["_target_"] for name in NAMES} == {f"gru_bench.sections.{name}.render" for name in NAMES}


def test_orders_are_distinct() -> None:
    orders = [node(name)["order"] for name in NAMES]
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_fits_its_function(name: str) -> None:
    options = node(name)
    assert options.pop("_partial_") is True
    del options["order"]
    options.pop("page", None)
    check_node(options, name)


@pytest.mark.parametrize("name", NAMES)
def test_first_line_of_yaml_describes_it(name: str) -> None:
    first = (REPOSITORY / "conf" / "section" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_which_question_is_answered(name: str) -> None:
    assert "Answer: " in (importlib.import_module(f"gru_bench.sections.{name}").render.__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_no_runs_nothing_to_say(name: str) -> None:
    section = render(name, empty())
    assert (section.markdown, section.figures) == ("", {})


@pytest.mark.parametrize("name", NAMES)
def test_runs_that_left_nothing_but_their_plan(name: str) -> None:
    planned = [{"job": 0, "task": "adding", "cell": "gru", "seed": 0, "status": "missing", "experiment": "quick"}]
    section = render(name, frames.make_results(planned, []))
    assert not section.figures
    if name in ("summary", "faults"):
        assert "adding" in section.markdown


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_which_nearly_nothing_is_known(name: str) -> None:
    """Plain frames without the reader's types and most of its columns."""
    runs = pd.DataFrame([{"run_id": "a", "task": "t", "cell": "c", "status": "failed"}, {"run_id": "b"}])
    values = pd.DataFrame({"run_id": [], "split": [], "metric": [], "value": []})
    curves = pd.DataFrame({"run_id": [], "metric": [], "step": [], "value": []})
    render(name, Results(runs=runs, values=values, curves=curves))


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_shown_and_every_shown_figure_is_there(name: str) -> None:
    section = render(name, frames.small())
    shown = {part.split(")")[0] for part in section.markdown.split("](figures/")[1:]}
    assert shown == {f"{figure}.png" for figure in section.figures}


@pytest.mark.parametrize("name", NAMES)
def test_no_tick_is_mathematics_which_figures_do_not_read(name: str) -> None:
    for figure in render(name, frames.small()).figures.values():
        assert not [text for text in tick_labels(figure) if "$" in text or "\\" in text]


@pytest.mark.parametrize("name", NAMES)
def test_order_of_rows_changes_no_byte_of_markdown(name: str) -> None:
    results = frames.realistic(2, ("lstm", "gru", "gru_article"))
    assert render(name, frames.shuffled(results, 1)).markdown == render(name, results).markdown


@pytest.mark.parametrize("name", NAMES)
def test_results_are_not_changed(name: str) -> None:
    results, before = frames.small(), frames.small()
    render(name, results)
    for field in dataclasses.fields(Results):
        now, then = getattr(results, field.name), getattr(before, field.name)
        if isinstance(then, pd.DataFrame):  # the others are a function, and lines that nobody could change
            pd.testing.assert_frame_equal(now, then)


def test_order_of_rows_changes_no_byte_of_a_figure(tmp_path: Path) -> None:
    for folder, results in {"a": frames.small(), "b": frames.shuffled(frames.small(), 3)}.items():
        (tmp_path / folder).mkdir()
        for name in ("summary", "learning_curves", "score_by_length"):
            for key, figure in render(name, results).figures.items():
                figures.save(figure, tmp_path / folder, key)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_generated_data_is_marked_wherever_scores_are_shown() -> None:
    for name in ("summary", "score_by_length"):
        assert "adding (generated data)" in render(name, frames.small()).markdown
    assert "adding is made by a generator" in render("limits", frames.small()).markdown
    real = frames.small()
    real.runs["generated"] = False
    for name in NAMES:
        assert "(generated data)" not in render(name, real).markdown
