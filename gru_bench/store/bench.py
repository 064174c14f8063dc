"""The figures of ``bench/cells.py`` in the tracking store: its JSON checked, kept apart from all runs, and read again.

For each machine, the latest figures of each device, dtype and number of threads are read.
"""

import re
from typing import Annotated, Any, Literal, Self

import pyarrow
from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gru_bench.errors import UserError
from gru_bench.store.find import fetched
from gru_bench.store.schema import (
    BENCH_COLUMNS,
    BENCH_EXPERIMENT,
    BENCH_FACTS,
    BENCH_FILE,
    BENCH_KIND,
    BENCH_TABLE,
    ENVIRONMENT,
    KIND,
)
from gru_bench.store.source import Source, StoredRun
from gru_bench.store.tables import Rows, parquet_rows, typed
from gru_bench.store.write import Store

Text = Annotated[str, MinLen(1)]
Positive = Annotated[float, Gt(0), Field(allow_inf_nan=False)]

PLACE = ("machine", "device", "dtype", "threads")
"""Figures of one place are replaced by later ones; those of two places are two measurements."""
GRID_SHAPE = re.compile(r"(\d+)x(\d+)(?:x\d+)?x(\d+)")
"""T x B x H, or T x B x D x H."""


class Row(BaseModel):
    """One cell on one backend at one shape. A backend whose parity is red has no time."""

    model_config = ConfigDict(strict=True)

    cell: Text
    backend: Text
    kernel: str | None = None
    shape: Text
    T: Annotated[int, Gt(0)] | None = None
    B: Annotated[int, Gt(0)] | None = None
    H: Annotated[int, Gt(0)] | None = None
    ms: Positive | None = None
    ratio_to_vendor: Positive | None = None
    ratio_low: Positive | None = None
    ratio_high: Positive | None = None
    percent_of_peak: Annotated[float, Ge(0), Field(allow_inf_nan=False)] | None = None
    parity: Literal["green", "red"]

    @model_validator(mode="after")
    def whole(self) -> Self:
        """What one row must have."""
        if self.parity == "green" and (self.ms is None or not self.kernel):
            raise ValueError("a row whose parity is green needs kernel and ms")
        if self.parity == "red" and self.ms is not None:
            raise ValueError("a row whose parity is red must not be timed: ms must be null")
        sizes = (self.T, self.B, self.H)
        grid = GRID_SHAPE.fullmatch(self.shape)
        if grid and sizes not in ((None,) * 3, tuple(map(int, grid.groups()))):
            raise ValueError(f"shape {self.shape} is not T x B x H of the row")
        if self.ratio_low is not None and self.ratio_high is not None and self.ratio_low > self.ratio_high:
            raise ValueError("ratio_low is above ratio_high")
        return self


class Figures(BaseModel):
    """All that one benchmark measured, and where. Further keys are kept in the raw JSON alone."""

    model_config = ConfigDict(strict=True)

    machine: Text
    torch: Text
    threads: Annotated[int, Gt(0)]
    dtype: Text
    device: Text
    commit: str | None = None
    dirty: bool | None = None
    peak_gflops: Positive | None = None
    rounds: Annotated[int, Gt(0)]
    environment: dict[str, str] = Field(default_factory=dict)
    rows: Annotated[list[Row], MinLen(1)]

    @model_validator(mode="after")
    def once(self) -> Self:
        """Each cell on each backend at each shape was measured once."""
        seen: set[tuple[str, str, str]] = set()
        for row in self.rows:
            key = (row.cell, row.backend, row.shape)
            if key in seen:
                raise ValueError(f"rows has {row.cell} on {row.backend} at {row.shape} twice")
            seen.add(key)
        return self


def parse(text: str) -> Figures:
    """Check the JSON object that ``bench/cells.py`` prints as its last line.

    Raises:
        UserError: Not JSON, or not such an object; names the place and what is wrong there.
    """
    try:
        return Figures.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"figures of bench/cells.py: {problem_text(first)}") from error


def problem_text(problem: Any) -> str:
    """``rows[3].ms=-1.0: input should be greater than 0``."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message.startswith(("Input", "Field", "Invalid")) else message
    value = problem["input"]
    plain = where and isinstance(value, str | int | float) and problem["type"] != "json_invalid"
    return ": ".join(filter(None, [f"{where}={value!r}" if plain else where, message]))


def store_figures(text: str, *, uri: str | None = None) -> str:
    """Write a benchmark to the store, as a run that no table of runs lists.

    Args:
        text: The JSON object that ``bench/cells.py`` prints as its last line.
        uri: The store; None is ``mlflow.db`` in the working folder.

    Returns:
        MLflow's id of the benchmark.

    Raises:
        UserError: The JSON is not what it should be, or the store cannot be reached or written. Nothing is written.
    """
    figures = parse(text)
    facts: dict[str, object] = {
        "machine": figures.machine,
        "device": figures.device,
        "dtype": figures.dtype,
        "threads": figures.threads,
        "torch": figures.torch,
        "rounds": figures.rounds,
        "peak_gflops": figures.peak_gflops,
        "git_commit": figures.commit or "",
        "dirty": "" if figures.dirty is None else figures.dirty,
        **{f"{ENVIRONMENT}{name}": value for name, value in figures.environment.items()},
    }
    name = f"cells {figures.device} {figures.dtype}"
    with Store(uri=uri).run(BENCH_EXPERIMENT, name, sweep_id=None, tags={}, kind=BENCH_KIND) as run:
        run.params(facts)
        run.text(BENCH_FILE, text)
        run.table(BENCH_TABLE, {column: [getattr(row, column) for row in figures.rows] for column in Row.model_fields})
    return run.run_id


def latest_figures(source: Source, experiment_ids: list[str], machines: set[str], problems: list[str]) -> Rows:
    """The rows of the latest benchmark of each place on these machines, by place, then as they were measured.

    Args:
        source: The store.
        experiment_ids: Where to look.
        machines: Their ids.
        problems: Gets a line for each whose table cannot be read; it has no rows.
    """
    if not machines - {""}:
        return []
    latest: dict[tuple[str, ...], StoredRun] = {}
    for run in source.runs(experiment_ids, {KIND: BENCH_KIND}):
        params = run.params
        if run.status == "FINISHED" and params.get("machine") in machines:
            latest[tuple(params.get(name, "") for name in PLACE)] = run
    return [row for _, run in sorted(latest.items()) for row in figures_of(source, run, problems)]


def figures_of(source: Source, run: StoredRun, problems: list[str]) -> Rows:
    """One benchmark's rows, each with the facts that all of them share."""
    facts = [fact for name, fact in BENCH_FACTS.items() if name in BENCH_COLUMNS]
    shared = {fact.name: typed(run.params.get(fact.name, ""), fact, run.run_id) for fact in facts}
    name = f"{BENCH_TABLE}.parquet"
    try:
        with fetched(source, run, (name,)) as files:
            rows = None if files is None else parquet_rows(files[0])
    except (OSError, ValueError, pyarrow.ArrowException):
        rows = None
    if rows is None:
        problems.append(f"benchmark {run.run_id}: its {name} cannot be read from {run.artifact_uri}, and is left out")
        return []
    return [{"run_id": run.run_id} | shared | row for row in rows]
