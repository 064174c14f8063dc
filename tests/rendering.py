"""How tests render sections and whole reports: each section with the options of its yaml."""

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import frames
import pandas as pd
import yaml
from conftest import REPOSITORY, yaml_names
from matplotlib.figure import Figure

from gru_bench.report import figures, files
from gru_bench.report.given import given
from gru_bench.report.header import Made
from gru_bench.report.markdown import Section
from gru_bench.report.pages import DETAILS, PAGES
from gru_bench.report.view import View
from gru_bench.store.read import Results

NAMES = yaml_names("section")
SELECT: dict[str, str | None] = {"experiment": "quick", "sweep": None}


def node(name: str) -> dict[str, Any]:
    """The yaml of a section."""
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "conf" / "section" / f"{name}.yaml").read_text())
    return loaded


def render(name: str, results: Results, **changed: Any) -> Section:
    """The section as its yaml makes it."""
    options = {
        key: value for key, value in node(name).items() if not key.startswith("_") and key not in ("order", "page")
    }
    module, function = node(name)["_target_"].rsplit(".", 1)
    section: Section = getattr(importlib.import_module(module), function)(View(results), **(options | changed))
    return section


def write(folder: Path, results: Results, only: Sequence[str] | None = None) -> None:
    """A whole report, as the command writes it, or one of some sections."""
    names, seen = sorted(NAMES if only is None else only, key=lambda name: node(name)["order"]), given(results)
    placed: dict[str, list[Section]] = {page: [] for page in PAGES}
    for name in names:
        placed[node(name).get("page", DETAILS)].append(render(name, seen))
    files.write(folder, results, View(seen), Made(SELECT), placed)


def with_facts(results: Results, **facts: Any) -> Results:
    """The results with facts of their runs replaced: one value for all runs, or one a run."""
    return dataclasses.replace(results, runs=results.runs.assign(**facts))


def with_values(results: Results, *rows: dict[str, Any]) -> Results:
    """The results with more values, such as :func:`frames.value_row` makes."""
    return dataclasses.replace(results, values=pd.concat([results.values, pd.DataFrame(list(rows))], ignore_index=True))


def part_size(run_id: str, slice: str, value: str, n: int) -> dict[str, Any]:
    """A row of values: how many test examples a part has."""
    facts = {"slice": slice, "slice_value": value, "unit": "examples", "higher_is_better": None}
    return frames.value_row(run_id, "test", "n", n, **facts)


def cell(table: str, row: str, column: str) -> str:
    """One cell of a markdown table."""
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    header = next(line for line in lines if any(f"{name} ".startswith(f"{column} ") for name in line))
    at = next(i for i, name in enumerate(header) if f"{name} ".startswith(f"{column} "))
    return next(line for line in lines if row in line)[at]


def scored(runs: list[dict[str, Any]], scores: list[float]) -> Results:
    values = [frames.value_row(run["run_id"], "test", "mse", s) for run, s in zip(runs, scores, strict=True)]
    return frames.make_results(runs, values)


def tick_labels(figure: Figure) -> list[str]:
    """What stands at the ticks of a figure that is drawn as it is saved."""
    with figures.style():
        figure.draw_without_rendering()
        axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
        return [label.get_text() for axis in axes for label in axis.get_ticklabels(which="both")]
