"""Worker processes that stay warm, of which each may die, hang or be ended alone.

Plain ``multiprocessing``: one process and one pipe a worker, so that none holds a lock which another one needs, and the
end of a process is seen at its pipe, whatever its exit code. Nothing here knows of Hydra, torch or the store.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Protocol

from gru_bench.run.worker import Lost, Outcome, Raised, Worker, oom_kills, why_ended
from gru_bench.store import signals

LOOK_EVERY_S = 0.2
KILL_AFTER_S = 10.0
"""A run that is over its time limit, or that SIGTERM asked to end, is given so long to write how it stands."""
INTERRUPT_AFTER_S = 1.5
"""The same after the second Ctrl-C."""
START_WITHIN_S = 120.0
"""A run has at least so long to begin: a cold worker first imports what takes tens of seconds on a loaded machine."""
MOST_STARTS = 3
"""So often a job is handed out whose worker was gone before it began."""

OUTSIDE = {signal.SIGKILL, signal.SIGTERM, *(getattr(signal, n) for n in ("SIGHUP", "SIGUSR1") if hasattr(signal, n))}
"""Signals that come from outside, so that the same run may well succeed. SIGSEGV and the like are its own."""


class Watch(Protocol):
    """Is told what happens, in the driver."""

    def began(self, number: int) -> None:
        """A job was handed to a worker."""

    def again(self, number: int, lost: Lost) -> bool:
        """Whether it is to be handed out once more after its worker was lost; what it left open is to be closed."""

    def ended(self, number: int, outcome: Outcome) -> None:
        """It is over; what it left open is to be closed."""

    def look(self) -> None:
        """Called several times a second."""


@dataclass(frozen=True)
class Limits:
    """Seconds, or None for no limit.

    Attributes:
        run_timeout: Of a run, from its beginning.
        stall_timeout: Without a sign of life.
    """

    run_timeout: float | None = None
    stall_timeout: float | None = None


class Pool:
    """So many workers; they are started when they are first needed.

    Args:
        environments: One for each worker.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self.environments = environments
        self.workers: dict[int, Worker] = {}

    def run(
        self,
        function: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        watch: Watch,
        limits: Limits = Limits(),
        sizes: Sequence[int] = (),
    ) -> list[Outcome | None]:
        """Run all jobs, as many at once as there are workers.

        A job that was killed from outside is handed out once more; one that is lost otherwise is not.

        Args:
            function: Of a module that the workers can import; should not raise.
            jobs: Its arguments, one tuple a job; looked up when a job is handed out.
            watch: Is told what happens.
            limits: After which a job is ended.
            sizes: How many runs each job is, where one is several at once: it may take so many times as long.

        Returns:
            How each job ended; None for one that was not begun, since the first Ctrl-C came before.

        Raises:
            BaseException: A signal; the running jobs have been ended.
        """
        batch = _Batch(self, function, jobs, watch, limits, sizes or [1] * len(jobs))
        try:
            return batch.run()
        except BaseException as error:
            with signals.closing(getattr(error, "code", None) or signals.INTERRUPTED_EXIT_CODE):
                batch.stop(error)
            raise

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()


class _Batch:
    """One call of :meth:`Pool.run`."""

    def __init__(
        self,
        pool: Pool,
        function: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        watch: Watch,
        limits: Limits,
        sizes: Sequence[int],
    ) -> None:
        self.pool, self.function, self.jobs, self.watch, self.limits = pool, function, jobs, watch, limits
        self.sizes = sizes
        self.waiting = deque(range(len(jobs)))
        self.ended: dict[int, Outcome] = {}
        self.starts = dict.fromkeys(range(len(jobs)), 0)
        self.lost_once: set[int] = set()
        self.oom_kills = oom_kills()

    @property
    def busy(self) -> list[tuple[int, Worker]]:
        """Workers that have a job, with their places."""
        return [(place, worker) for place, worker in self.pool.workers.items() if worker.job is not None]

    def run(self) -> list[Outcome | None]:
        while self.busy or (self.waiting and not signals.finishing):
            if not signals.finishing:
                self.hand_out()
            workers = [worker for _, worker in self.busy]
            wait([part for worker in workers for part in (worker.pipe, worker.process.sentinel)], LOOK_EVERY_S)
            for place, worker in self.busy:
                self.look_at(place, worker)
            self.watch.look()
        return [self.ended.get(number) for number in range(len(self.jobs))]

    def hand_out(self) -> None:
        """Give every idle worker a job, and start those that are not there."""
        for place, environment in enumerate(self.pool.environments):
            if not self.waiting:
                return
            worker = self.pool.workers.get(place)
            if worker is not None and worker.job is None and not worker.process.is_alive():
                self.forget(place)  # an idle one was killed: nothing is lost
                worker = None
            if worker is None:
                with signals.deferred_signals():  # else half a worker would be left, with a traceback of its own
                    worker = self.pool.workers[place] = Worker(environment)
            if worker.job is None:
                number = self.waiting.popleft()
                self.starts[number] += 1
                if worker.hand(number, self.function, self.jobs[number]):
                    self.watch.began(number)
                else:
                    self.forget(place)
                    self.waiting.appendleft(number)

    def look_at(self, place: int, worker: Worker) -> None:
        """See whether a worker has answered, has ended, or is over a limit."""
        assert worker.job is not None
        alive = worker.process.is_alive()  # asked first: what it sent before its end is still in the pipe
        try:
            while worker.job is not None and worker.pipe.poll():
                self.take(worker, worker.pipe.recv())
        except (EOFError, OSError):
            alive = False
        if worker.job is None:
            return
        if not alive:
            worker.process.join(LOOK_EVERY_S)
            self.lose(place, worker)
        elif not worker.killed_because:
            reason = self.over(worker)
            if reason:
                worker.kill(reason)

    def take(self, worker: Worker, answer: Any) -> None:
        """What a worker says: first who it is, then how each job ended."""
        if isinstance(answer, str):
            worker.owner = answer
            return
        number, worker.job = worker.job, None
        assert number is not None
        if isinstance(answer, Raised) and answer.by_signal and number not in self.lost_once:
            self.once_more(number, Lost(answer.text, worker.owner, again=True))
        else:
            self.end(number, answer)

    def lose(self, place: int, worker: Worker) -> None:
        """A worker is gone that had a job."""
        number, code = worker.job, worker.process.exitcode
        assert number is not None
        self.forget(place)
        if not worker.sign.taken and not worker.killed_because and self.starts[number] < MOST_STARTS:
            self.waiting.appendleft(number)  # it was gone before it began
            return
        reason = worker.killed_because or why_ended(code, oom_kills() - self.oom_kills)
        self.oom_kills = oom_kills()
        from_outside = not worker.killed_because and code is not None and -code in OUTSIDE
        lost = Lost(reason, worker.owner, again=from_outside and number not in self.lost_once)
        if lost.again:
            self.once_more(number, lost)
        else:
            self.end(number, lost)

    def once_more(self, number: int, lost: Lost) -> None:
        """Hand a job out again that was killed from outside."""
        self.lost_once.add(number)
        if self.watch.again(number, lost):
            self.waiting.appendleft(number)
        else:
            self.ended[number] = lost

    def end(self, number: int, outcome: Outcome) -> None:
        """A job is over."""
        self.ended[number] = outcome
        self.watch.ended(number, outcome)

    def forget(self, place: int) -> None:
        """A worker is gone."""
        self.pool.workers.pop(place).close()

    def over(self, worker: Worker) -> str:
        """Which limit a worker is over; nothing where it is over none."""
        now, sign = time.monotonic(), worker.sign
        run, stall = self.limits.run_timeout, self.limits.stall_timeout
        size = 1 if worker.job is None else self.sizes[worker.job]
        if run is not None and sign.begun and now - sign.begun > run * size + KILL_AFTER_S:
            what = "the run" if size == 1 else f"{size} runs together, of which each may take so long,"
            return f"run_timeout={run:g}: {what} took longer, and did not end when asked to"
        if stall is not None and now - sign.beat > (stall if sign.begun else max(stall, START_WITHIN_S)):
            return f"stall_timeout={stall:g}: no sign of life for {now - sign.beat:.0f} s"
        return ""

    def stop(self, error: BaseException) -> None:
        """End the running jobs: they are asked to, and then made to."""
        reason = getattr(error, "reason", "") or (
            "interrupted" if isinstance(error, KeyboardInterrupt) else repr(error)
        )
        by_hand = isinstance(error, KeyboardInterrupt)
        asked = signals.INTERRUPT if by_hand and signals.INTERRUPT is not None else signal.SIGTERM
        for _, worker in self.busy:
            if worker.process.pid is not None:
                with suppress(OSError):
                    os.kill(worker.process.pid, asked)
        until = time.monotonic() + (INTERRUPT_AFTER_S if by_hand else KILL_AFTER_S)
        while self.busy and time.monotonic() < until:
            workers = [worker for _, worker in self.busy]
            wait([part for worker in workers for part in (worker.pipe, worker.process.sentinel)], LOOK_EVERY_S)
            for place, worker in self.busy:
                self.stopped(place, worker, reason)
        for _, worker in self.busy:
            worker.kill(reason)
        for place, worker in self.busy:
            worker.process.join()
            self.stopped(place, worker, reason)

    def stopped(self, place: int, worker: Worker, reason: str) -> None:
        """See whether a worker has ended that was asked to."""
        number, alive, answer = worker.job, worker.process.is_alive(), None
        assert number is not None
        with suppress(EOFError, OSError):
            while answer is None and worker.pipe.poll():
                said = worker.pipe.recv()
                if isinstance(said, str):
                    worker.owner = said
                else:
                    answer = said
        if answer is not None:
            worker.job = None
            self.end(number, answer)
        elif not alive:
            self.end(number, Lost(reason, worker.owner))
            self.forget(place)
