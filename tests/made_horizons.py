"""Runs of a search for the longest lag, and gradients by lag, made by hand."""

import math
from typing import Any

import frames
import pandas as pd

from gru_bench.store.read import Results

GOAL = {"margin": 0.01, "beats_trivial_by": 0.1, "ceiling": 0.001}
Rows = tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]
"""Runs, values and curves."""


def attempts(
    cell: str,
    lag: int,
    solved: int,
    num: int,
    *,
    role: str = "horizon",
    budget: str = "hidden",
    task: str = "adding",
    first_step: int = 100,
    last_step: int = 900,
    rates: tuple[float, ...] = (0.01,),
    **facts: Any,
) -> Rows:
    """Runs of one cell at one lag: the first ones solve it at ``first_step`` and every 100 steps later.

    Trials have the rates in turn, all on one seed. The lag is in the slice of the test data alone.
    """
    runs, values, curves = [], [], []
    for seed in range(num):
        rate = rates[seed % len(rates)]
        key = f"{task}-{cell}-{budget}-{lag}-{role}{rate if role == 'trial' else ''}"
        own = {"role": role, "budget": budget, "group_key": key, "run_id": f"{key}-{seed}", "learning_rate": rate}
        run = frames.run_row(cell, 100 if role == "trial" else seed, task, **(GOAL | own | facts))
        at = first_step + 100 * seed if seed < solved else None
        score = 0.0005 if at else 0.15
        runs.append(run)
        values += [
            frames.value_row(run["run_id"], "test", "mse", score),
            frames.value_row(run["run_id"], "test", "mse", score, slice="length", slice_value=str(lag)),
            frames.value_row(run["run_id"], "valid", "mse", score),
            frames.value_row(run["run_id"], "train", "steps", at or last_step, unit="steps"),
        ]
        curves += frames.curve_rows(run["run_id"], "valid/mse", {50: 0.16, at or last_step: score})
    return runs, values, curves


def results(*parts: Rows) -> Results:
    """All of them."""
    runs, values, curves = ([row for part in parts for row in part[i]] for i in range(3))
    return frames.make_results(runs, values, curves)


def search(cell: str, outcome: dict[int, tuple[int, int]], trials: int = 4, **options: Any) -> list[Rows]:
    """By lag how many seeds of how many solved it, each with its trials; of no seeds, trials that all failed."""
    rates = (0.002, 0.008, 0.032, 0.128)[:trials]
    found = []
    for lag, (solved, num) in outcome.items():
        found.append(attempts(cell, lag, min(1, num), trials, role="trial", rates=rates, **options))
        found.append(attempts(cell, lag, solved, num, **options))
    return found


def long_range(budgets: tuple[str, ...] = ("parameters", "state")) -> Results:
    """A search of many cells that looks real."""
    found = []
    for place, budget in enumerate(budgets):
        more = {"budget": budget}
        found += search("rnn", {100: (0, 0), 25: (6, 10), 10: (10, 10)}, **more)
        found += search("rnn_relu", {100: (1, 3), 25: (9, 10), 50: (0, 2)}, family="rnn", **more)
        found += search("irnn", {100: (9, 10), 200: (5, 8), 150: (10, 10)}, family="rnn", **more)
        found += search("lstm", {100: (10, 10), 400: (0, 0), 200: (3, 6)}, first_step=400, last_step=2000, **more)
        chrono = {100: (10, 10), 400: (10, 10), 600: (8, 10)}
        found += search("lstm_chrono", chrono, family="lstm", first_step=200, last_step=2000, **more)
        found += search("gru", {100: (10, 10), 400: (10, 10), 600: (10 - place, 10)}, last_step=2000, **more)
        found += search("gru_no_reset", {100: (10, 10), 400: (4, 8), 200: (9, 10)}, family="gru", **more)
        found += search("mgu", {100: (10, 10), 400: (9, 10), 600: (1, 4)}, family="gru", **more)
        found += search("mingru", {100: (0, 0), 25: (0, 0), 10: (0, 0)}, family="gru", **more)
    return results(*found)


def gradients(run_id: str, decays: dict[str, float], lags: int = 60) -> list[dict[str, Any]]:
    """What the probe of gradients finds of a run whose gradient shrinks by a constant factor a step, by moment."""
    found = []
    for moment, decay in decays.items():
        facts: dict[str, Any] = {"unit": "1", "higher_is_better": None}
        for lag in range(lags):
            at = {"slice": "lag", "slice_value": str(lag)}
            found.append(frames.value_row(run_id, "probe", f"gradient_{moment}", decay**lag, **(facts | at)))
        numbers = {
            "half_life_steps": math.inf if decay >= 1 else math.log(2) / -math.log(decay),
            "horizon_steps": math.inf if decay ** (lags - 1) >= 0.01 else math.floor(math.log(0.01) / math.log(decay)),
            "longest_lag_steps": lags - 1.0,
        }
        found += [frames.value_row(run_id, "probe", f"{k}_{moment}", v, **facts) for k, v in numbers.items()]
    return found


def probed(decays: dict[str, dict[str, float]], num_seeds: int = 6, **facts: Any) -> Results:
    """Ordinary runs of some cells on the adding problem, with gradients that decay at a rate which varies a little."""
    runs, values = [], []
    for cell, of_cell in decays.items():
        for seed in range(num_seeds):
            run = frames.run_row(cell, seed, **(GOAL | facts))
            runs.append(run)
            values.append(frames.value_row(run["run_id"], "test", "mse", 0.1))
            values.append(frames.value_row(run["run_id"], "test", "trivial_mse", 1 / 6))
            varied = {moment: min(1.0, decay ** (1 + 0.02 * seed)) for moment, decay in of_cell.items()}
            values += gradients(run["run_id"], varied)
    return frames.make_results(runs, values)


def languages(outcome: dict[str, dict[str, list[tuple[float, float]]]], **facts: Any) -> Results:
    """Ordinary runs by task and cell: for each seed its accuracy at the trained length 40, and at 100 and 500."""
    goal = {"primary_metric": "accuracy", "primary_unit": "share of answers", "primary_higher_is_better": True}
    goal |= {"margin": 0.02, "beats_trivial_by": 0.3, "ceiling": 0.99, "trained_to": 40}
    runs, values = [], []
    for task, cells in outcome.items():
        for cell, seeds in cells.items():
            for seed, (trained, beyond) in enumerate(seeds):
                run = frames.run_row(cell, seed, task, **(goal | facts))
                runs.append(run)
                values.append(frames.value_row(run["run_id"], "test", "accuracy", trained))
                values.append(frames.value_row(run["run_id"], "test", "trivial_accuracy", 0.5))
                for length, score in (("20", trained), ("40", trained), ("100", trained), ("500", beyond)):
                    at = {"slice": "length", "slice_value": length}
                    values.append(frames.value_row(run["run_id"], "test", "accuracy", score, **at))
    return frames.make_results(runs, values)


def whole() -> Results:
    """A search with gradients at lag 100, and formal languages: all that the sections on long dependencies show."""
    search_of = long_range(("parameters",))
    decays = {"rnn": 0.7, "lstm": 0.97, "gru": 0.99}
    values = []
    for run_id, family, cell, seed in zip(
        *(search_of.runs[name] for name in ("run_id", "family", "cell", "seed")), strict=True
    ):
        if "-100-" in run_id:
            decay = decays[family] - 0.01 * (len(cell) % 3) - 0.002 * (seed % 10)
            values += gradients(run_id, {"start": decay - 0.2, "end": decay}, 40)
    fine, short, never = [(1.0, 1.0)] * 7 + [(1.0, 0.8)] * 3, [(1.0, 0.6)] * 10, [(0.6, 0.5)] * 10
    of_languages = languages(
        {
            "parity": {"rnn": fine, "lstm": short, "gru": short, "mingru": never},
            "dyck1": {"rnn": never, "lstm": fine, "gru": short, "mingru": never},
            "anbn": {"rnn": never, "lstm": fine, "gru": short},
        }
    )
    counting = of_languages.runs[of_languages.runs["task"] == "anbn"]
    for run_id, cell, seed in zip(*(counting[name] for name in ("run_id", "cell", "seed")), strict=True):
        most = {"rnn": 3, "lstm": 200, "gru": 55}[cell] + seed
        for metric, n in (("n_star_exact", most), ("n_star_threshold", most - 2)):
            values.append(frames.value_row(run_id, "test", metric, n, unit="n", higher_is_better=True))
    return Results(
        runs=pd.concat([search_of.runs, of_languages.runs], ignore_index=True),
        values=pd.concat([search_of.values, of_languages.values, pd.DataFrame(values)], ignore_index=True),
        curves=search_of.curves,
    )
