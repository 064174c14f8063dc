"""What one run writes: kept together, put on disk, then sent."""

import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gru_bench.store.connect import one_line
from gru_bench.store.courier import Courier
from gru_bench.store.ending import how_it_ended
from gru_bench.store.notes import NOTE, of_run
from gru_bench.store.outbox import Outbox, Write
from gru_bench.store.preview import MOST_EXAMPLES, PREVIEW_FILE, preview
from gru_bench.store.private import clean, for_people
from gru_bench.store.schema import (
    BEST,
    CURVE_COLUMNS,
    CURVES_FILE,
    EXAMPLES_TABLE,
    GUESS,
    RUN_KIND,
    TRACEBACK_FILE,
    VALUE_COLUMNS,
    VALUES_FILE,
)
from gru_bench.store.signals import deferred_signals
from gru_bench.store.spool import End, Package, now_ms
from gru_bench.store.tables import in_columns, write_parquet

SERVERS = ("http", "databricks")
"""How the URI of a store begins that gets no preview: each file more is a request more, and takes some 20 ms."""


class Run:
    """What one run writes. All of it is kept in memory until :meth:`flush` or the end.

    Args:
        courier: Sends it.
        package: Keeps it.
        kind: Which of the schema's kinds the run is.
    """

    def __init__(self, courier: Courier, package: Package, kind: str) -> None:
        self._courier, self._package, self._kind = courier, package, kind
        self._outbox = Outbox(package.about.name, kind)
        self._curves: list[tuple[str, int, float]] = []
        self._curve_names: set[str] = set()
        self._values: dict[tuple[str, str, str, str], tuple[float, str, bool | None]] = {}
        self._first_examples: dict[str, list[Any]] = {}

    @property
    def run_id(self) -> str:
        """MLflow's id; before the store has answered, what the run's folder in the spool is called."""
        return self._package.about.run_id or f"kept-{self._package.folder.name}"

    @property
    def known_id(self) -> str:
        """MLflow's id; nothing before the store has answered."""
        return self._package.about.run_id

    def params(self, facts: Mapping[str, object]) -> None:
        """Facts as text, each as param and tag as the schema has it; a name takes one value only.

        Long ones are cut: the whole belongs in an artifact.

        Raises:
            ValueError: A fact is not declared in :mod:`gru_bench.store.schema`, or was given with another value.
                None of them is kept.
            UserError: A value is not of the kind that the schema has. None of them is kept.
        """
        self._outbox.facts(facts)

    def curve(self, metric: str, step: int, value: float) -> None:
        """One point of a curve such as ``train/loss``; steps are optimizer steps."""
        self._curves.append((metric, step, float(value)))
        self._curve_names.add(metric)
        self._outbox.point(metric, step, value)

    def value(
        self,
        split: str,
        metric: str,
        value: float,
        *,
        unit: str,
        higher_is_better: bool | None,
        slice: str = "",
        slice_value: str = "",
        charted: bool = True,
    ) -> None:
        """One measured number. Given again for the same name, the last one counts.

        Args:
            split: ``train``, ``valid``, ``test``, ``speed``, ``memory`` or ``probe``.
            metric: Its name, with the unit last where it has one.
            value: May be infinite or not a number.
            unit: In words, or nothing.
            higher_is_better: None where neither is better.
            slice: By what the split was cut, such as ``length``; nothing for the whole. Slices are not MLflow metrics.
            slice_value: Which part.
            charted: Whether it is one of MLflow's metrics. What follows from the data is a param instead: it is the
                same for all runs, and takes one value only.
        """
        self._values[split, metric, slice, slice_value] = (float(value), unit, higher_is_better)
        if not charted:
            if not slice:
                self._outbox.facts({f"{GUESS}{metric}": float(value)})
        elif not slice:
            key = f"{split}/{metric}"
            if key in self._curve_names:
                key = f"{split}/{BEST}{metric}"
            self._outbox.forget(key)
            self._outbox.point(key, 0, value)

    def flush(self, least_s: float = 0.0) -> None:
        """Write what was kept to disk and send it to MLflow, unless that was last done less than so many seconds ago.

        Takes milliseconds, and seconds at most: call it outside what is timed. What does not arrive by then goes on
        its way, or is sent with the next.

        Raises:
            Exception: MLflow refuses something.
        """
        if self._outbox.age_s < least_s:
            return
        with deferred_signals(), suppress(OSError):  # a full disk may have room later
            self._package.put(self._outbox.take())
        self._courier.flush(self._package)

    def table(self, name: str, columns: dict[str, list[Any]]) -> None:
        """Equally long columns as the artifact ``NAME.parquet``."""
        self._outbox.file(f"{name}.parquet", lambda path: write_parquet(path, columns))
        if name == EXAMPLES_TABLE:
            self._first_examples = {column: entries[:MOST_EXAMPLES] for column, entries in columns.items()}

    def text(self, name: str, text: str) -> None:
        """A text file as an artifact."""
        self._outbox.text(name, text)

    def file(self, name: str, write: Write) -> None:
        """Any file as an artifact: ``write`` is given the path to write to when it is sent."""
        self._outbox.file(name, write)

    def close(self, error: BaseException | None) -> None:
        """Write what was measured, then how the run ended. Called once, by :meth:`Store.run`.

        Raises:
            Exception: Something could not be written. All the rest has been, and the run is not FINISHED.
        """
        with deferred_signals():
            status, tag, reason = how_it_ended(error)
            values = [(*key, *entry) for key, entry in self._values.items()]
            self.table(Path(CURVES_FILE).stem, in_columns(self._curves, CURVE_COLUMNS))
            self.table(Path(VALUES_FILE).stem, in_columns(values, VALUE_COLUMNS))
            if self._kind == RUN_KIND:
                facts = self._package.about.tags | dict(self._outbox.given)
                self._outbox.tag(NOTE, of_run(facts, self._values, tag, for_people(reason)))
                if not self._courier.uri.startswith(SERVERS):
                    self.text(PREVIEW_FILE, preview(self._values, self._first_examples))
            if error is not None:
                self.text(TRACEBACK_FILE, for_people("".join(traceback.format_exception(error))))
            problem: Exception | None = None
            try:
                self._package.put(self._outbox.take())
            except Exception as caught:
                problem = caught
                if error is None:
                    status, tag, reason = "FAILED", "failed", f"could not be stored: {one_line(problem)}"
            self._package.finish(End(status, tag, for_people(clean(reason)), now_ms()))
        self._courier.end(self._package)
        if problem is not None:
            raise problem
