"""Results made by hand, as the reader would give them: small ones with known answers, and one that looks real."""

import random
from collections.abc import Mapping
from typing import Any

import pandas as pd

from gru_bench.store.fact import NUMBER, TEXT, Fact
from gru_bench.store.read import Results
from gru_bench.store.schema import CURVE_COLUMNS, RUN_FACTS, VALUE_COLUMNS, environment_columns
from gru_bench.store.tables import frame

FAMILY = {"rnn": "rnn", "lstm": "lstm", "gru": "gru", "gru_reset_before": "gru"}
FAMILY |= {f"{family}_article": family for family in ("rnn", "lstm", "gru")}


def run_row(cell: str, seed: int, task: str = "adding", **facts: Any) -> dict[str, Any]:
    """One row of ``runs``: the schema's examples, but for what follows from cell, seed and task; facts replace them."""
    family = FAMILY.get(cell, cell)
    usual = {name: fact.example for name, fact in RUN_FACTS.items() if fact.example is not None}
    row: dict[str, Any] = {
        "run_id": f"{task}-{cell}-{seed}",
        "config_key": f"{task}/{cell}/{seed}",
        "group_key": f"{task}/{cell}",
        "task": task,
        "family": family,
        "cell": cell,
        "num_parameters": {"rnn": 4353, "lstm": 17217, "gru": 12993}.get(family, 5000),
        "seed": seed,
        "data_source": f"{task}/1",
        "data_fingerprint": f"{task}0123456789",
        "env_torch": "2.13.0",
        "env_python": "3.11.7",
        "env_cpu": "Some CPU",
        "env_cores": 2,
    }
    return usual | row | facts


def value_row(run_id: str, split: str, metric: str, value: float, **facts: Any) -> dict[str, Any]:
    """One row of ``values``."""
    row = {"run_id": run_id, "split": split, "metric": metric, "slice": "", "slice_value": "", "value": value}
    return row | {"unit": "squared error", "higher_is_better": False} | facts


def curve_rows(run_id: str, metric: str, points: dict[int, float]) -> list[dict[str, Any]]:
    """Rows of ``curves``."""
    return [{"run_id": run_id, "metric": metric, "step": step, "value": value} for step, value in points.items()]


def make_results(
    runs: list[dict[str, Any]], values: list[dict[str, Any]], curves: list[dict[str, Any]] | None = None
) -> Results:
    """Tables with the types that the reader gives them."""
    return Results(
        runs=typed(runs, RUN_FACTS | environment_columns(runs)),
        values=typed(values, VALUE_COLUMNS),
        curves=typed(curves or [], CURVE_COLUMNS),
    )


def typed(rows: list[dict[str, Any]], columns: Mapping[str, Fact]) -> pd.DataFrame:
    """Rows as a table; what a row lacks, or has as None, is empty text or missing."""

    def cell(row: dict[str, Any], name: str, kind: str) -> Any:
        value = row.get(name)
        if value is None:
            return "" if kind == TEXT else float("nan") if kind == NUMBER else pd.NA
        return str(value) if kind == TEXT else value

    return frame([{name: cell(row, name, fact.kind) for name, fact in columns.items()} for row in rows], columns)


def shuffled(results: Results, seed: int) -> Results:
    """The same rows in another order."""
    frames = [
        frame.sample(frac=1, random_state=seed).reset_index(drop=True)
        for frame in (results.runs, results.values, results.curves, results.bench, results.timings)
    ]
    return Results(*frames)


def small() -> Results:
    """Two cells on the adding problem, two and one finished seeds, one failed and one missing run."""
    runs = [
        run_row("rnn", 0),
        run_row("rnn", 1),
        run_row("gru", 0),
        run_row("gru", 1, status="failed", error="Diverged: loss is nan at step 12"),
        {"job": 4, "task": "adding", "cell": "gru", "seed": 2, "status": "missing", "experiment": "quick"},
    ]
    values, curves = [], []
    for run_id, mse in {"adding-rnn-0": 0.15, "adding-rnn-1": 0.17, "adding-gru-0": 0.002}.items():
        values += [
            value_row(run_id, "test", "mse", mse),
            value_row(run_id, "test", "trivial_mse", 1 / 6),
            value_row(run_id, "test", "mse", mse / 2, slice="length", slice_value="10"),
            value_row(run_id, "test", "mse", mse, slice="length", slice_value="50"),
            value_row(run_id, "test", "trivial_mse", 1 / 7, slice="length", slice_value="10"),
            value_row(run_id, "test", "trivial_mse", 1 / 6, slice="length", slice_value="50"),
            value_row(run_id, "speed", "train_tokens_per_s", 123456.0, unit="tokens/s", higher_is_better=True),
            value_row(run_id, "speed", "train_s", 2.5, unit="s"),
            value_row(run_id, "speed", "wall_s", 3.25, unit="s"),
            value_row(run_id, "memory", "peak_tensor_mib", 1.5, unit="MiB"),
            value_row(run_id, "train", "steps", 500, unit="steps", higher_is_better=None),
            value_row(run_id, "train", "best_step", 500, unit="step", higher_is_better=None),
        ]
        curves += curve_rows(run_id, "valid/mse", {100: 0.2, 300: 0.5 * (0.2 + mse), 500: mse})
    return make_results(runs, values, curves)


TASKS: dict[str, tuple[str, str, bool, bool, float, float, float, int, dict[str, float]]] = {
    "adding": ("mse", "squared error", False, True, 0.1, 0.001, 1 / 6, 500,
               {"rnn": 0.16, "lstm": 0.09, "gru": 0.002, "gru_article": 0.165}),
    "copy_memory": ("recall", "share of symbols", True, True, 0.1, 0.99, 0.125, 1500,
                    {"rnn": 0.31, "lstm": 0.97, "gru": 0.92, "gru_article": 0.2}),
    "language_modeling": ("perplexity", "perplexity", False, False, 50, 10, 420, 400,
                          {"rnn": 190, "lstm": 172, "gru": 165, "gru_article": 215}),
    "language_modeling_char": ("bits_per_char", "bits/char", False, False, 1, 1, 4.4, 400,
                               {"rnn": 2.61, "lstm": 2.48, "gru": 2.35, "gru_article": 2.9}),
    "sentiment": ("accuracy", "share of sentences", True, True, 0.1, 0.99, 0.51, 600,
                  {"rnn": 0.72, "lstm": 0.89, "gru": 0.88, "gru_article": 0.7}),
    "translation": ("exact_match", "share of numbers", True, True, 0.3, 0.98, 0.0, 500,
                    {"rnn": 0.41, "lstm": 0.8, "gru": 0.86, "gru_article": 0.35}),
    "event_order": ("accuracy", "share of sequences", True, True, 0.1, 0.99, 0.26, 800,
                    {"rnn": 0.5, "lstm": 0.93, "gru": 0.95, "gru_article": 0.45}),
}  # fmt: skip
"""Made-up scores of a plausible sweep: metric, unit, direction, generated, margin, ceiling, trivial, steps, means."""


def realistic(num_seeds: int = 3, cells: tuple[str, ...] = ("rnn", "lstm", "gru", "gru_article")) -> Results:
    """A sweep over all tasks, with a little noise."""
    noise = random.Random(7)
    runs, values, curves = [], [], []
    for task, (metric, unit, higher, generated, beats, ceiling, trivial, steps, means) in TASKS.items():
        for cell in cells:
            for seed in range(num_seeds):
                facts = {"primary_metric": metric, "primary_unit": unit, "primary_higher_is_better": higher}
                facts |= {"beats_trivial_by": beats, "ceiling": ceiling, "generated": generated}
                row = run_row(cell, seed, task, **facts)
                row["run_id"] = f"{noise.getrandbits(128):032x}"
                row["job"] = len(runs)
                if task == "adding" and cell == "gru_article" and seed == 2:
                    row |= {"status": "failed", "error": "Diverged: the loss is nan at step 231"}
                runs.append(row)
                mean = means.get(cell, means["gru"])
                score = mean * (1 + noise.gauss(0, 0.03))
                score = min(score, 1.0) if higher else score
                values.append(value_row(row["run_id"], "test", f"trivial_{metric}", trivial, unit=unit))
                if row["status"] != "finished":
                    continue
                rate = noise.gauss(60000, 9000)
                facts = {"unit": unit, "higher_is_better": higher}
                values += [
                    value_row(row["run_id"], "test", metric, score, **facts),
                    value_row(row["run_id"], "test", "loss", noise.uniform(0.1, 1), unit="nats"),
                    value_row(row["run_id"], "test", "trivial_loss", 1.39, unit="nats"),
                    value_row(row["run_id"], "speed", "train_tokens_per_s", rate, unit="tokens/s"),
                    value_row(row["run_id"], "speed", "train_s", steps * 1600 / rate, unit="s"),
                    value_row(row["run_id"], "speed", "wall_s", steps * 1600 / rate + 1.5, unit="s"),
                    value_row(row["run_id"], "memory", "peak_tensor_mib", noise.uniform(4, 9), unit="MiB"),
                    value_row(row["run_id"], "train", "steps", steps, unit="steps"),
                    value_row(row["run_id"], "train", "best_step", steps - 100 * (seed == 1), unit="step"),
                ]
                start = trivial * 1.4 if not higher else trivial
                points = {}
                for step in range(steps // 5, steps + 1, steps // 5):
                    done = (step / steps) ** 0.5
                    points[step] = start * (score / start) ** done if not higher else start + (score - start) * done
                curves += curve_rows(row["run_id"], f"valid/{metric}", points)
                lengths = {"adding": (10, 25, 50, 75, 100), "copy_memory": (5, 10, 20, 40, 100)}.get(task, ())
                for at in lengths:
                    toward = (at / lengths[2]) ** 0.7 if at <= lengths[2] else 1 + (at / lengths[2] - 1) * 0.3
                    part = score * toward if not higher else trivial + (score - trivial) / max(toward, 0.9)
                    part = score if at == lengths[2] else min(part, 1.0)
                    values += [
                        value_row(row["run_id"], "test", m, score_of, slice="length", slice_value=str(at), **facts)
                        for m, score_of in ((metric, part), (f"trivial_{metric}", trivial))
                    ]
    return make_results(runs, values, curves)
