"""The only writer of MLflow: sweeps, runs, and how each of them ended."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gru_bench.process import owner
from gru_bench.store.connect import (
    absolute_uri,
    one_line,
    without_password,
)
from gru_bench.store.courier import AGAIN_AFTER_S, ANSWER_WITHIN_S, CLOSE_WITHIN_S, Courier, say
from gru_bench.store.ending import how_it_ended
from gru_bench.store.facts import log_facts
from gru_bench.store.find import read_planned, run_error, run_status, standing, sweep_runs
from gru_bench.store.left import are_being_sent, forget_sweep, has_finished, keep_sweep, left_sweeps
from gru_bench.store.line import StoreAway
from gru_bench.store.notes import LONGEST_COMMAND, NOTE, OF_EXPERIMENT, OF_SWEEP, of_experiment, of_sweep, placed
from gru_bench.store.private import clean
from gru_bench.store.reap import LOST as LOST
from gru_bench.store.reap import reap
from gru_bench.store.run import Run as Run
from gru_bench.store.schema import (
    BEAT,
    ERROR,
    JOB,
    KIND,
    OWNER,
    PARENT,
    PLANNED_FILE,
    RUN_KIND,
    SOURCE_KIND,
    SOURCE_NAME,
    SOURCE_TYPE,
    STATUS,
    STATUSES,
    SWEEP,
    SWEEP_KEY,
    SWEEP_KIND,
    check_declared,
)
from gru_bench.store.signals import raise_on_signals as raise_on_signals
from gru_bench.store.source import Client, open_source, stored_run
from gru_bench.store.spool import End, Package, end_run, now_ms
from gru_bench.store.ui_view import UI_VIEW_TAG, group_params, view_state

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
        self._courier = Courier(self.uri)

    def open(self, *, later: bool = False) -> None:
        """Make the store if it is a SQLite file that does not exist yet; several processes may do so at once.

        Args:
            later: Go on where a store does not answer that did so before: runs are kept until it does. None is made.

        Raises:
            UserError: It cannot be reached or written. Raised within ten seconds.
        """
        self._courier.open(later=later)

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client on the open store."""
        return self._courier.opened()

    def recover(self) -> None:
        """Send what processes that are over have left for this store, and end what they could not end.

        Raises:
            UserError: The store cannot be reached.
        """
        from mlflow.exceptions import MlflowException

        self.open()
        with suppress(StoreAway):
            number = self._courier.deliver()
            if number:
                say(f"delivered {number} {'run' if number == 1 else 'runs'} that earlier calls could not")
            for sweep_id in left_sweeps(self.uri):
                try:
                    self.close_sweep(sweep_id)
                except MlflowException:  # deleted, or of a store that was
                    forget_sweep(self.uri, sweep_id)
            reap(self)

    def deliver(self) -> None:
        """Send what processes that are over have left, if the store answers."""
        with suppress(StoreAway):
            self._courier.deliver()

    def has_finished(self, sweep_id: str, job: int, owner: str | None) -> bool:
        """Whether a process that is gone has left a finished run of a job that is still to be sent."""
        return has_finished(self.uri, sweep_id, job, owner)

    def experiment_id(self, name: str) -> str:
        """The experiment's id; it is made if there is none of that name.

        Raises:
            UserError: It was deleted (the message shows how to restore it), or the name is not valid.
        """
        return self._courier.needed(lambda client: self._courier.find_experiment(client, name))

    def open_sweep(
        self, experiment: str, planned: list[dict[str, str]], params: dict[str, str], *, key: str = ""
    ) -> str:
        """Start a sweep's parent run and keep what is planned in it.

        Args:
            experiment: Name of the experiment.
            planned: One dictionary per job: its number as ``job``, and the choices that make it up.
            params: Its facts: ``SWEEP_FACTS`` of :mod:`gru_bench.store.schema`.
            key: By which the same command finds the sweep again, to go on with it; nothing for a sweep that none does.

        Returns:
            The parent's run id.

        Raises:
            ValueError: A fact is not declared.
        """
        check_declared(params, SWEEP_KIND)
        sweep_id = ""

        def opened(client: "MlflowClient") -> None:
            nonlocal sweep_id
            experiment_id = self._courier.find_experiment(client, experiment)
            tags = {KIND: SWEEP_KIND, OWNER: owner(), BEAT: f"{time.time():.0f}"} | ({SWEEP_KEY: key} if key else {})
            command = f"gru-bench train -m {params.get('overrides', '')}".strip()
            tags |= {SOURCE_NAME: clean(command)[:LONGEST_COMMAND], SOURCE_TYPE: SOURCE_KIND}
            sweep_id = client.create_run(experiment_id, tags=tags, run_name=f"{experiment} sweep").info.run_id
            client.log_text(sweep_id, json.dumps(clean(planned), indent=1), PLANNED_FILE)
            log_facts(client, sweep_id, params, SWEEP_KIND)
            described = of_sweep(sweep_id, planned, params.get("overrides", ""))
            client.set_tag(sweep_id, NOTE, placed("", OF_SWEEP, described))
            client.set_experiment_tag(experiment_id, UI_VIEW_TAG, view_state(group_params(planned)))
            before = client.get_experiment(experiment_id).tags.get(NOTE, "")
            described = placed(before, OF_EXPERIMENT, of_experiment(experiment, planned))
            client.set_experiment_tag(experiment_id, NOTE, described)

        try:
            self._courier.needed(opened)
        except BaseException:
            if sweep_id:
                with suppress(StoreAway):
                    self.close_sweep(sweep_id)
            raise
        self._courier.open_ids.add(sweep_id)
        return sweep_id

    def reopen_sweep(self, sweep_id: str, planned: list[dict[str, str]]) -> None:
        """Go on with a sweep whose process is over: it is RUNNING again, now as this process's own.

        Args:
            sweep_id: The parent run.
            planned: As :meth:`open_sweep` takes it. A job that a run of another sweep stands for has its id as ``run``.
        """

        def reopened(client: "MlflowClient") -> None:
            client.set_tag(sweep_id, OWNER, owner())
            client.set_tag(sweep_id, BEAT, f"{time.time():.0f}")
            client.update_run(sweep_id, status="RUNNING")
            data = client.get_run(sweep_id).data
            for name in (STATUS, ERROR):
                if name in data.tags:
                    client.delete_tag(sweep_id, name)
            described = of_sweep(sweep_id, planned, data.params.get("overrides", ""))
            client.set_tag(sweep_id, NOTE, placed(data.tags.get(NOTE, ""), OF_SWEEP, described))
            client.log_text(sweep_id, json.dumps(clean(planned), indent=1), PLANNED_FILE)

        self._courier.needed(reopened)
        self._courier.open_ids.add(sweep_id)

    def extend_sweep(self, sweep_id: str, planned: list[dict[str, str]]) -> None:
        """Put another plan in the place of the one that :meth:`open_sweep` kept."""
        self._courier.needed(
            lambda client: client.log_text(sweep_id, json.dumps(clean(planned), indent=1), PLANNED_FILE)
        )

    def end_sweep_because(self, sweep_id: str, why: str) -> None:
        """Keep why a sweep ended that had added seeds."""
        self._courier.needed(lambda client: log_facts(client, sweep_id, {"ended": why}, SWEEP_KIND))

    def close_sweep(self, sweep_id: str, *, lost: str | None = None) -> dict[str, int]:
        """End a sweep whose jobs are all over, and count how they ended.

        What its processes could not send is sent first. Runs that are still RUNNING were lost and become KILLED. The
        parent is FINISHED only if every planned job has finished. Calling it again changes nothing.

        Args:
            sweep_id: The parent run.
            lost: Why runs that are still RUNNING ended, where the caller knows.

        Returns:
            Number of jobs by status: finished, failed, killed, unsupported, missing.

        Raises:
            StoreAway: The store does not answer. The next :meth:`recover` closes the sweep.
        """
        self._courier.open_ids.discard(sweep_id)
        keep_sweep(self.uri, sweep_id)
        until = time.monotonic() + CLOSE_WITHIN_S
        while True:
            try:
                self._courier.deliver()
                if are_being_sent(self.uri) and time.monotonic() < until:
                    time.sleep(AGAIN_AFTER_S / 4)
                    continue
                counts = self._courier.ask(lambda client: self._close_sweep(client, sweep_id, lost), ANSWER_WITHIN_S)
                break
            except StoreAway as error:
                self._courier.say_away(str(error))
                if time.monotonic() > until:
                    raise
                time.sleep(AGAIN_AFTER_S)
        forget_sweep(self.uri, sweep_id)
        return counts

    def _close_sweep(self, client: "MlflowClient", sweep_id: str, lost: str | None) -> dict[str, int]:
        source = Client(self.uri, client)
        parent = stored_run(client.get_run(sweep_id))
        best: dict[str, tuple[int, str]] = {}
        for run in sweep_runs(source, parent):
            if run.status in ("RUNNING", "SCHEDULED"):
                end_run(client, run.run_id, End("KILLED", "killed", lost or LOST, now_ms()))
                run = stored_run(client.get_run(run.run_id))
            number, status = run.tags.get(JOB, run.run_id), run_status(run)
            place = standing(status, run_error(run))
            if place >= best.get(number, (0, ""))[0]:  # of two that are equal the later one
                best[number] = place, status
        planned = read_planned(source, parent)
        left = [job for job in planned if job["job"] not in best]
        stand_ins = self._statuses(parent.experiment_id, {job["run"] for job in left if "run" in job})
        counted = Counter(status for _, status in best.values())
        counted += Counter(stand_ins.get(job.get("run", ""), "missing") for job in left)
        counts = {status: counted[status] for status in STATUSES}
        total = sum(counts.values())
        parts = [f"{number} {status}" for status, number in counts.items() if number and status != "finished"]
        reason = f"of {total} jobs: {', '.join(parts)}" if parts else "" if total else "no jobs"
        ended = ("FAILED", "failed", reason) if reason else ("FINISHED", "finished", "")
        if (parent.status, parent.tags.get(STATUS), parent.tags.get(ERROR, "")) != ended:
            if ERROR in parent.tags:
                client.delete_tag(sweep_id, ERROR)
            end_run(client, sweep_id, End(*ended, now_ms()))
        before = parent.tags.get(NOTE, "")
        described = placed(before, OF_SWEEP, of_sweep(sweep_id, planned, parent.params.get("overrides", ""), counts))
        if described != before:
            client.set_tag(sweep_id, NOTE, described)
        return counts

    def _statuses(self, experiment_id: str, run_ids: set[str]) -> dict[str, str]:
        """How these runs of an experiment ended, by their ids; of those that are still there."""
        if not run_ids:
            return {}
        found = open_source(self.uri).sketched([experiment_id], tags=(STATUS, ERROR))
        return {run.run_id: run_status(run) for run in found if run.run_id in run_ids}

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
        all_tags = dict(tags) | {KIND: kind}
        if sweep_id is not None:
            all_tags |= {SWEEP: sweep_id, PARENT: sweep_id}
        run = Run(self._courier, self._begin(experiment, name, all_tags, waits=sweep_id is None), kind)
        try:
            yield run
        except BaseException as error:
            try:
                run.close(error)
            except Exception as problem:
                error.add_note(f"its end could not be written to {without_password(self.uri)}: {one_line(problem)}")
            raise
        run.close(None)

    def _begin(self, experiment: str, name: str, tags: dict[str, str], *, waits: bool) -> Package:
        """A run's package, and its row where the store answers.

        Raises:
            UserError: The experiment was deleted, or its name is not valid; or, where it waits, no answer.
        """
        self.open(later=not waits)
        package = Package.begin(self.uri, experiment, name, tags, self._courier.find_experiment)
        try:
            self._courier.begin(package)
        except Exception:
            package.remove()
            raise
        except BaseException as error:  # its row may be there already
            package.finish(End(*clean(how_it_ended(error)), now_ms()))
            self._courier.end(package)
            raise
        return package
