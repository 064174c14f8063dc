"""Which rows a table of runs keeps: one per run key, one for each planned job that left no run, in a fixed order."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from gru_bench.errors import UserError
from gru_bench.store.find import run_status, standing
from gru_bench.store.schema import FAMILIES, NAMED_BY_CONFIG, RUN_FACTS
from gru_bench.store.source import StoredRun
from gru_bench.store.tables import typed


def check_fingerprints(rows: Iterable[dict[str, Any]]) -> None:
    """The same config must have seen the same data."""
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["config_key"] or not row["data_fingerprint"]:
            continue
        first = seen.setdefault(row["config_key"], row)
        if first["data_fingerprint"] != row["data_fingerprint"]:
            raise UserError(
                f"config_key={row['config_key']}: the data changed under the same config: run {first['run_id']} saw "
                f"{first['data_fingerprint']}, run {row['run_id']} saw {row['data_fingerprint']}; delete one of them"
            )


def latest_by_key(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per run key: the latest that finished, or else the latest result, or else the latest."""
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (standing(row["status"], row["error"]), row["started"], row["run_id"])):
        best[row["config_key"] or row["run_id"]] = row
    return list(best.values())


def not_superseded(rows: list[dict[str, Any]], planned: dict[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    """Drop runs that did not finish, where another run of the very same command and job did.

    Their keys may differ: data that could not be used has another source than the data that replaced it. A run that
    ended before it had a key, as one does that was killed early, is dropped wherever the same job ran again.
    """
    choices = {(sweep, job["job"]): choices_of(job) for sweep, jobs in planned.items() for job in jobs}
    best: dict[frozenset[tuple[str, str]], tuple[bool, bool, int, str]] = {}

    def place(row: dict[str, Any]) -> tuple[bool, bool, int, str]:
        return row["status"] == "finished", bool(row["config_key"]), row["started"], row["run_id"]

    def kept(row: dict[str, Any]) -> bool:
        chosen = choices.get((row["sweep"], str(row["job"])))
        if chosen is None or row["status"] == "finished":
            return True
        finished = best[chosen][0]
        return not finished and (bool(row["config_key"]) or best[chosen] == place(row))

    for row in rows:
        chosen = choices.get((row["sweep"], str(row["job"])))
        if chosen is not None:
            best[chosen] = max(best.get(chosen, place(row)), place(row))
    return [row for row in rows if kept(row)]


def choices_of(job: dict[str, str]) -> frozenset[tuple[str, str]]:
    """What a planned job is, wherever it is planned and whichever run stands for it."""
    return frozenset((name, value) for name, value in job.items() if name not in ("job", "run"))


def missing_rows(
    sweeps: list[StoredRun],
    planned: dict[str, list[dict[str, str]]],
    rows: list[dict[str, Any]],
    names: dict[str, str],
) -> list[dict[str, Any]]:
    """A row for each planned job that left no run, unless another sweep ran the same choices."""
    ran = {(row["sweep"], str(row["job"])) for row in rows}
    ids = {row["run_id"] for row in rows}
    done: set[frozenset[tuple[str, str]]] = set()
    missing: dict[frozenset[tuple[str, str]], dict[str, Any]] = {}
    for parent in sweeps:
        sweep = parent.run_id
        for job in planned[sweep]:
            choices = choices_of(job)
            if (sweep, job["job"]) in ran or job.get("run") in ids:
                done.add(choices)
                continue
            row = planned_row(job) | {"sweep": sweep, "experiment": names[parent.experiment_id]}
            row["error"] = "planned, but not run" + (" yet" if run_status(parent) == "running" else "")
            missing[choices] = row
    return [row for choices, row in missing.items() if choices not in done]


def planned_row(job: dict[str, str]) -> dict[str, Any]:
    """What the plan alone knows about a run."""
    facts = {NAMED_BY_CONFIG[name].name: value for name, value in job.items() if name in NAMED_BY_CONFIG}
    facts["job"] = job["job"]
    row: dict[str, Any] = {}
    for name, fact in RUN_FACTS.items():
        try:
            row[name] = typed(facts.get(name, ""), fact, "")
        except UserError:  # such as threads=auto, which only the run itself resolves
            row[name] = typed("", fact, "")
    return row | {"status": "missing", "started": 0}


def run_order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Sort key of a run: first by what it is, then by when it ran."""
    family = FAMILIES.index(row["family"]) if row["family"] in FAMILIES else len(FAMILIES)

    def number(name: str) -> float:
        return -1 if pd.isna(row[name]) else row[name]

    names = (row["experiment"], row["task"], family, row["family"], row["cell"] != row["family"], row["cell"])
    settings = (row["backend"], row["budget"], number("hidden_size_asked"), number("num_layers"), number("seed"))
    return (*names, *settings, row["config_key"], number("job"), row["started"], row["run_id"])
