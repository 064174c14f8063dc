"""``gru-bench predict``: what a kept model says of new data. Wiring only."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt
from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.commands.answers import Format, Writer, format_of, open_output
from gru_bench.commands.truth import truth_of
from gru_bench.config.check import Node, check_arguments, check_node, construct, to_node
from gru_bench.data.forms import Reading
from gru_bench.data.new_rows import Kind, NewRows, Row, open_rows
from gru_bench.errors import UserError
from gru_bench.kept.folder import READER_FILE
from gru_bench.kept.load import Kept, load
from gru_bench.measure.threads import resolve_threads, set_threads
from gru_bench.tasks.reading.base import RowError

NODES = ("data", "tracking", "hydra")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/predict.yaml``."""

    run: str | int | None
    output: str | None
    format: Format | None
    keep_columns: bool
    probabilities: bool | None
    batch_size: Annotated[int, Gt(0)]
    device: str
    threads: Literal["auto"] | Annotated[int, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The keys of its node ``data``."""

    path: str | None
    kind: Kind | None
    text: str | None
    tokens: str | None
    source: str | None
    label: str | None
    tags: str | None
    target: str | None
    separator: str | None
    quoting: str | None
    columns: list[str] | None
    encoding: str | None

    @property
    def reading(self) -> Reading:
        """How files of text are written."""
        return Reading(
            self.separator, self.quoting, None if self.columns is None else tuple(self.columns), self.encoding
        )


def predict(config: DictConfig) -> int:
    """Write the answers, or bad input in one line. Returns the exit code, 0 or 2."""
    try:
        node = to_node(config)
        keys, data, uri = take_keys(node)
        form = format_of(keys.output, keys.format)
        kept = load_kept(keys.run, device=keys.device, threads=keys.threads, uri=uri)
        if kept.reader is None and kept.config.get("data"):
            raise UserError(f"run={keys.run}: has no {READER_FILE}, so it reads no data; valid: the whole folder")
        if kept.reader is None:
            raise UserError(
                f"run={keys.run}: its task, {kept.facts.get('task')}, draws its data from a generator, so there is no "
                "new data for it; valid: a run of a task with text"
            )
        answer_all(kept, keys, data, form)
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("predict", error), file=sys.stderr)
        return 2
    return 0


def take_keys(node: Node) -> tuple[Keys, Data, str | None]:
    """The keys and the store's URI.

    Raises:
        UserError: A key or value that does not fit.
    """
    plain = {key: value for key, value in node.items() if key not in NODES}
    check_arguments(Keys, plain, "", "predict")
    check_arguments(Data, node["data"], "data.", "predict's data")
    check_node(node["tracking"], "tracking")
    data = Data(**node["data"])
    if data.path is None:
        raise UserError("data.path=null: which data? valid: data.path=FILE, or data.path=- for standard input")
    return Keys(**plain), data, construct(node["tracking"]).uri


def load_kept(run: str | int | None, *, device: str, threads: int | str, uri: str | None) -> Kept:
    """The model of a run or of a folder.

    Raises:
        UserError: No run was named, or it cannot be loaded.
    """
    if run is None:
        raise UserError(
            "run=null: which run? valid: run=ID, the last word of the line that the run printed, or a folder"
        )
    set_threads(resolve_threads(threads, 1))  # type: ignore[arg-type]  # the command's keys are checked
    return load(str(run), device=device, tracking_uri=uri)


def answer_all(kept: Kept, keys: Keys, data: Data, form: Format) -> None:
    """Read, predict and write batch by batch; then say what was found out.

    Raises:
        UserError: Data that cannot be read.
    """
    assert kept.reader is not None
    assert data.path is not None
    reader, usual = kept.reader, kept.config.get("data") or {}
    asked: dict[str, str | None] = {
        role: getattr(data, role) for role in ("text", "tokens", "source", "label", "tags", "target")
    }
    unused = [role for role in ("text", "tokens", "source") if asked[role] is not None and role not in reader.roles]
    if unused:
        raise UserError(f"data.{unused[0]}: this run's task reads {', '.join(f'data.{role}' for role in reader.roles)}")
    details = form == "jsonl" if keys.probabilities is None else keys.probabilities
    started, number = time.perf_counter(), 0
    with open_rows(data.path, data.kind, data.reading, rows_of_lines=keys.batch_size) as new:
        columns = {role: new.column(role, asked[role], usual.get(role) or role) for role in reader.roles}
        truth = truth_of(reader, new.names, asked, usual, new.shown)
        with open_output(keys.output) as stream:
            left_out = [] if details else reader.details()
            writer = Writer(stream, form, new.names, left_out, keep=keys.keep_columns)
            for rows in new.batches:
                answers = answered(kept, rows, columns, number, new, keys.batch_size)
                if number == 0:
                    gave_way(new.names if keys.keep_columns else [], answers[0])
                writer.write(rows, answers)
                if truth is not None:
                    truth.add(rows, answers)
                number += len(rows)
    where = "" if keys.output is None else f" to {keys.output}"
    if writer.late:
        names = ", ".join(sorted(writer.late))
        say([f"{names}: rows far down have these columns and the first ones do not, so the table lacks them; "
             "format=jsonl has them"])  # fmt: skip
    say([*new.notes, *(truth.lines() if truth is not None else [])])
    say([f"{number:,} rows{where}, {time.perf_counter() - started:.1f} s"])


def answered(
    kept: Kept, rows: Sequence[Row], columns: dict[str, str], before: int, new: NewRows, batch_size: int
) -> list[dict[str, Any]]:
    """The answers to some rows, of which ``before`` came before.

    Raises:
        UserError: One of them cannot be read; names its number and column.
    """
    try:
        return kept.predict([{role: row.get(name) for role, name in columns.items()} for row in rows], batch_size)
    except RowError as error:
        named = ", ".join(f"data.{role}={name}" for role, name in columns.items())
        raise UserError(f"data.path={new.shown}, row {before + error.row:,}: {error.problem} ({named})") from error


def gave_way(columns: Sequence[str], answer: dict[str, Any]) -> None:
    """Say which columns of the input are not kept, since an answer has their name."""
    lost = [name for name in columns if name in answer]
    if lost:
        say([f"the input's own {', '.join(lost)} gave way to the answer's"])


def say(lines: Sequence[str]) -> None:
    """Print lines that are no answers, where they do not mix with them."""
    for line in lines:
        print(f"gru-bench predict: {line}", file=sys.stderr, flush=True)
