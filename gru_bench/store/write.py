"""The only writer of MLflow: sweeps, runs, and how each of them ended."""

import json
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_bench.errors import UserError
from gru_bench.store.connect import absolute_uri, artifact_root, connect, one_line, without_password
from gru_bench.store.ending import how_it_ended
from gru_bench.store.facts import log_facts
from gru_bench.store.find import local_folder, read_planned, run_status, sweep_runs
from gru_bench.store.outbox import Outbox, Write
from gru_bench.store.private import clean, for_people
from gru_bench.store.schema import (
    BEST,
    CURVE_COLUMNS,
    CURVES_FILE,
    ERROR,
    JOB,
    KIND,
    PARENT,
    PLANNED_FILE,
    RUN_KIND,
    STATUS,
    STATUSES,
    SWEEP,
    SWEEP_KIND,
    TRACEBACK_FILE,
    VALUE_COLUMNS,
    VALUES_FILE,
    check_declared,
)
from gru_bench.store.signals import deferred_signals
from gru_bench.store.signals import raise_on_signals as raise_on_signals
from gru_bench.store.source import Client, stored_run
from gru_bench.store.tables import in_columns, write_parquet
from gru_bench.store.ui_view import UI_VIEW_TAG, group_params, view_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOST = "the process ended without giving a reason (killed hard, out of memory, or the machine went down)"


class Store:
    """Where runs are written.

    Args:
        uri: Any MLflow tracking URI except a folder; None is ``mlflow.db`` in the working folder, with the artifacts in
            ``mlartifacts`` beside it.

    Raises:
        UserError: Not a URI that can be a store.
    """

    def __init__(self, *, uri: str | None = None) -> None:
        self.uri = absolute_uri(uri)
        self._client: MlflowClient | None = None

    def open(self) -> None:
        """Make the store if it is a SQLite file that does not exist yet; several processes may do so at once.

        Raises:
            UserError: It cannot be reached or written. Raised within ten seconds.
        """
        if self._client is None:
            self._client = connect(self.uri, create=True)

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client on the open store."""
        self.open()
        assert self._client is not None
        return self._client

    def experiment_id(self, name: str) -> str:
        """The experiment's id; it is made if there is none of that name.

        Raises:
            UserError: It was deleted (the message shows how to restore it), or the name is not valid.
        """
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            root = artifact_root(self.uri)
            location = None if root is None else root.as_uri()
            tags = {UI_VIEW_TAG: view_state(["cell", "task"])}
            try:
                return self.client.create_experiment(name, artifact_location=location, tags=tags)
            except MlflowException as error:
                found = self.client.get_experiment_by_name(name)  # another process was quicker
                if found is None:
                    raise UserError(f"experiment={name}: {one_line(error)}") from error
        if found.lifecycle_stage == "deleted":
            raise UserError(
                f"experiment={name} was deleted in {without_password(self.uri)}; choose another name, or restore it: "
                f"MLFLOW_TRACKING_URI={without_password(self.uri)} mlflow experiments restore -x {found.experiment_id}"
            )
        if artifact_root(self.uri) is not None and local_folder(found.artifact_location) is None:
            raise UserError(
                f"experiment={name} keeps its artifacts on a server ({found.artifact_location}); choose another name, "
                "or give that server as tracking.uri"
            )
        return found.experiment_id

    def open_sweep(self, experiment: str, planned: list[dict[str, str]], params: dict[str, str]) -> str:
        """Start a sweep's parent run and keep what is planned in it.

        Args:
            experiment: Name of the experiment.
            planned: One dictionary per job: its number as ``job``, and the choices that make it up.
            params: Its facts: ``SWEEP_FACTS`` of :mod:`gru_bench.store.schema`.

        Returns:
            The parent's run id.

        Raises:
            ValueError: A fact is not declared.
        """
        check_declared(params, SWEEP_KIND)
        sweep_id = ""
        try:
            with deferred_signals():
                experiment_id = self.experiment_id(experiment)
                name = f"{experiment} sweep"
                tags = {KIND: SWEEP_KIND}
                sweep_id = self.client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
                self.client.log_text(sweep_id, json.dumps(clean(planned), indent=1), PLANNED_FILE)
                log_facts(self.client, sweep_id, params, SWEEP_KIND)
                self.client.set_experiment_tag(experiment_id, UI_VIEW_TAG, view_state(group_params(planned)))
        except BaseException:
            if sweep_id:
                self.close_sweep(sweep_id)
            raise
        return sweep_id

    def extend_sweep(self, sweep_id: str, planned: list[dict[str, str]]) -> None:
        """Put another plan in the place of the one that :meth:`open_sweep` kept."""
        with deferred_signals():
            self.client.log_text(sweep_id, json.dumps(clean(planned), indent=1), PLANNED_FILE)

    def end_sweep_because(self, sweep_id: str, why: str) -> None:
        """Keep why a sweep ended that had added seeds."""
        with deferred_signals():
            log_facts(self.client, sweep_id, {"ended": why}, SWEEP_KIND)

    def close_sweep(self, sweep_id: str, *, lost: str | None = None) -> dict[str, int]:
        """End a sweep whose jobs are all over, and count how they ended.

        Runs that are still RUNNING were lost and become KILLED. The parent is FINISHED only if every planned job
        has finished. Calling it again changes nothing.

        Args:
            sweep_id: The parent run.
            lost: Why runs that are still RUNNING ended, where the caller knows.

        Returns:
            Number of jobs by status: finished, failed, killed, unsupported, missing.
        """
        with deferred_signals():
            source = Client(self.uri, self.client)
            parent = stored_run(self.client.get_run(sweep_id))
            latest: dict[str, str] = {}
            for run in sweep_runs(source, parent):
                if run.status in ("RUNNING", "SCHEDULED"):
                    self._end(run.run_id, "KILLED", "killed", lost or LOST)
                    run = stored_run(self.client.get_run(run.run_id))
                latest[run.tags.get(JOB, run.run_id)] = run_status(run)
            missing = [job["job"] for job in read_planned(source, parent) if job["job"] not in latest]
            counted = Counter(latest.values()) + Counter(missing=len(missing))
            counts = {status: counted[status] for status in STATUSES}
            total = sum(counts.values())
            parts = [f"{number} {status}" for status, number in counts.items() if number and status != "finished"]
            reason = f"of {total} jobs: {', '.join(parts)}" if parts else "" if total else "no jobs"
            ended = ("FAILED", "failed", reason) if reason else ("FINISHED", "finished", "")
            if (parent.status, parent.tags.get(STATUS), parent.tags.get(ERROR, "")) != ended:
                if ERROR in parent.tags:
                    self.client.delete_tag(sweep_id, ERROR)
                self._end(sweep_id, *ended)
            return counts

    @contextmanager
    def run(
        self, experiment: str, name: str, *, sweep_id: str | None, tags: dict[str, str], kind: str = RUN_KIND
    ) -> Iterator["Run"]:
        """One run, whose status follows from how the block is left.

        Normal end: FINISHED. :class:`Unsupported` and other exceptions: FAILED. Ctrl-C, SIGTERM (see
        :func:`raise_on_signals`) and other exits: KILLED. Whatever was measured until then is written first; the
        exception goes on.

        Args:
            experiment: Name of the experiment.
            name: What the UI calls the run.
            sweep_id: The parent's run id, or None.
            tags: Further tags.
            kind: ``RUN_KIND``, or another one of the schema, which keeps it out of every table of runs.
        """
        run: Run | None = None
        try:
            with deferred_signals():
                all_tags = clean(tags) | {KIND: kind}
                if sweep_id is not None:
                    all_tags |= {SWEEP: sweep_id, PARENT: sweep_id}
                created = self.client.create_run(self.experiment_id(experiment), tags=all_tags, run_name=clean(name))
                run = Run(self, created.info.run_id, kind)
            yield run
        except BaseException as error:
            if run is not None:
                try:
                    with deferred_signals():
                        run.close(error)
                except Exception as problem:
                    error.add_note(f"its end could not be written to {without_password(self.uri)}: {one_line(problem)}")
            raise
        with deferred_signals():
            run.close(None)

    def _end(self, run_id: str, status: str, tag: str, reason: str) -> None:
        self.client.set_tag(run_id, STATUS, tag)
        if reason:
            self.client.set_tag(run_id, ERROR, clean(reason))
        self.client.set_terminated(run_id, status)


class Run:
    """What one run writes. All of it is kept in memory until :meth:`flush` or the end.

    Attributes:
        run_id: MLflow's id.
    """

    def __init__(self, store: Store, run_id: str, kind: str) -> None:
        self.run_id = run_id
        self._store = store
        self._outbox = Outbox(store.client, run_id, kind)
        self._curves: list[tuple[str, int, float]] = []
        self._curve_names: set[str] = set()
        self._values: dict[tuple[str, str, str, str], tuple[float, str, bool | None]] = {}

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
        """
        self._values[split, metric, slice, slice_value] = (float(value), unit, higher_is_better)
        if not slice:
            key = f"{split}/{metric}"
            if key in self._curve_names:
                key = f"{split}/{BEST}{metric}"
            self._outbox.forget(key)
            self._outbox.point(key, 0, value)

    def flush(self, least_s: float = 0.0) -> None:
        """Send what was kept to MLflow, unless it was last sent less than so many seconds ago.

        Takes milliseconds: call it outside what is timed.
        """
        if self._outbox.age_s >= least_s:
            with deferred_signals():
                self._outbox.send()

    def table(self, name: str, columns: dict[str, list[Any]]) -> None:
        """Equally long columns as the artifact ``NAME.parquet``."""
        self._outbox.file(f"{name}.parquet", lambda path: write_parquet(path, columns))

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
        status, tag, reason = how_it_ended(error)
        values = [(*key, *entry) for key, entry in self._values.items()]
        self.table(Path(CURVES_FILE).stem, in_columns(self._curves, CURVE_COLUMNS))
        self.table(Path(VALUES_FILE).stem, in_columns(values, VALUE_COLUMNS))
        if error is not None:
            self.text(TRACEBACK_FILE, for_people("".join(traceback.format_exception(error))))
        problem: Exception | None = None
        try:
            self._outbox.send()
        except Exception as caught:
            problem = caught
            if error is None:
                status, tag, reason = "FAILED", "failed", f"could not be stored: {one_line(problem)}"
        self._store._end(self.run_id, status, tag, for_people(reason))
        if problem is not None:
            raise problem
