"""Runs of made-up scores, with test examples, for the tests of comparisons."""

import dataclasses
from typing import Any

import frames
import numpy as np

from gru_bench.report.view import View
from gru_bench.store.read import Results

Scores = dict[str, list[float]]
"""By cell, one score a seed."""
FACTS: dict[str, Any] = {
    "primary_metric": "accuracy",
    "primary_unit": "share of texts",
    "primary_higher_is_better": True,
    "margin": 0.02,
    "ceiling": 0.99,
}


def runs_of(task: str, scores: Scores, **facts: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs and values of one task. A fact may be one for all or one a cell."""
    runs, values = [], []
    facts = FACTS | facts
    trivial = float(facts.pop("trivial", 0.5))
    for cell, of_cell in scores.items():
        own = {name: value[cell] if isinstance(value, dict) else value for name, value in facts.items()}
        key = "/".join([task, cell, *(str(own[name]) for name in sorted(own))])
        for seed, score in enumerate(of_cell):
            run = frames.run_row(cell, seed, task, **{"run_id": f"{key}-{seed}", "group_key": key} | own)
            runs.append(run)
            rows: dict[str, float] = {
                str(own["primary_metric"]): score,
                f"trivial_{own['primary_metric']}": trivial,
            }
            values += [frames.value_row(run["run_id"], "test", name, value) for name, value in rows.items()]
    return runs, values


def results(*tasks: tuple[list[dict[str, Any]], list[dict[str, Any]]], tables: dict[str, Any] | None = None) -> Results:
    """All of them, with the test examples of some runs."""
    runs, values = ([row for part in parts for row in part] for parts in zip(*tasks, strict=True))
    found = frames.make_results(runs, values)
    return dataclasses.replace(found, examples=lambda run_id: (tables or {}).get(run_id))


def view(*tasks: tuple[list[dict[str, Any]], list[dict[str, Any]]], accept: frozenset[str] = frozenset()) -> View:
    """The same as a view."""
    return View(results(*tasks), accept)


def noisy(mean: float, seeds: int, spread: float, key: int) -> list[float]:
    """Scores around a mean, always the same."""
    noise = np.random.default_rng(key).standard_normal(seeds)
    return [float(value) for value in mean + spread * (noise - noise.mean()) / noise.std()]
