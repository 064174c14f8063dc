"""From the JSON that ``bench/cells.py`` prints to the tracking store: checked, then kept apart from all runs."""

import re
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gru_bench.errors import UserError
from gru_bench.store.connect import BENCH, BENCH_EXPERIMENT, BENCH_JSON, BENCH_TABLE
from gru_bench.store.write import Store

Text = Annotated[str, MinLen(1)]
Positive = Annotated[float, Gt(0), Field(allow_inf_nan=False)]

COLUMNS = (
    "cell", "backend", "kernel", "shape", "T", "B", "H", "ms", "ratio_to_vendor", "ratio_low", "ratio_high",
    "percent_of_peak", "parity",
)  # fmt: skip
"""Of the table in the store."""
GRID_SHAPE = re.compile(r"\d+x\d+x\d+")


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
        """What one row must say of itself."""
        if self.parity == "green" and (self.ms is None or not self.kernel):
            raise ValueError("a row whose parity is green needs kernel and ms")
        if self.parity == "red" and self.ms is not None:
            raise ValueError("a row whose parity is red must not be timed: ms must be null")
        sizes = (self.T, self.B, self.H)
        if GRID_SHAPE.fullmatch(self.shape) and sizes not in ((None,) * 3, tuple(map(int, self.shape.split("x")))):
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
        raise UserError(f"figures of bench/cells.py: {told(first)}") from error


def told(problem: Any) -> str:
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
        **{f"env_{name}": value for name, value in figures.environment.items()},
    }
    tags = {name: str(facts[name]) for name in ("machine", "device", "torch")}
    name = f"cells {figures.device} {figures.dtype}"
    with Store(uri=uri).run(BENCH_EXPERIMENT, name, sweep_id=None, tags=tags, kind=BENCH) as run:
        run.params(facts)
        run.text(BENCH_JSON, text)
        run.table(BENCH_TABLE, {column: [getattr(row, column) for row in figures.rows] for column in COLUMNS})
    return run.run_id
