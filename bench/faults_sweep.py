"""One sweep of ``bench/faults.py``: its faults, the command until all is done, and what is then true."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from ctypes import CDLL
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
from faults_kinds import KINDS, NotNow, Undo, undo_all
from faults_server import Server
from faults_truth import compared, stored, untruths

from gru_bench.store.read import read

REPOSITORY = Path(__file__).resolve().parent.parent
CELLS = ("gru", "lstm")
TINY = (
    "task=adding", "task.lengths=[5]", "task.beyond=[]", "task.num_eval=16", "task.batch_size=8", "hidden_size=6",
    "threads=1", "checkpoint_every=0.05", "trainer.eval_every=20",
)  # fmt: skip
STALL_S = 30
DISK = "48m"
"""Of the disk that is filled: many times what the runs need."""
BEFORE_S = 1.0
"""Of a start no fault is earlier: there Python starts, which has a traceback of its own for Ctrl-C."""
LEFT_AFTER_S = 10.0
PATIENCE_S = 400.0
MOST_CALLS = 60
MOST_LINES = 14
"""Of one call, beyond the lines of runs; two more for each of its faults."""
TICK_S = 0.02
MARK = "GRU_BENCH_FAULTS"
NO_DAC = (1, 2)
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: with them root writes to what is read-only."""
RAN = re.compile(r"^\[(\d+)/\d+\] .*, run (\S+)$", re.MULTILINE)
HALF_STARTED = re.compile(
    r"^Traceback .*\n  File .<string>.*\n.* in spawn_main\n(?: .*\n)+EOFError: .*\n", re.MULTILINE
)
"""What Python says in a process that ``multiprocessing`` has started and not yet told what to run."""
NOT_OURS = re.compile(
    r"^(?:Traceback .*\n  File .*/loky/backend/resource_tracker\.py.*\n(?: .*\n)+KeyError: .*"
    r"|Exception ignored in atexit callback: <function dump_compile_times .*\nTraceback .*\n(?: .*\n)+\w*Error.*)\n",
    re.MULTILINE,
)
"""What joblib's process that looks after files says of workers that were killed, and what torch says at the end of a
process that has no memory left."""


@dataclass
class Fault:
    """One fault of a sweep, as it is planned.

    Attributes:
        kind: Name of it.
        moment: Which of its kind's moments.
        share: Of the sweep, or of its start, from 0 to 1.
        seed: Of what else is random about it.
    """

    kind: str
    moment: str
    share: float
    seed: int


@dataclass
class Outcome:
    """What became of a sweep.

    Attributes:
        number: Of the sweep.
        setting: Launcher and store.
        fired: Kinds, in order.
        seconds: From each fault to the next run that was finished.
        problems: What is wrong, by kind of problem: lost, doubled, unequal, untrue, left, traceback, lines, stuck.
        took: Seconds in all.
    """

    number: int
    setting: str
    fired: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    blamed: list[tuple[str, str]] = field(default_factory=list)
    took: float = 0.0

    def wrong(self, problem: str, text: str) -> None:
        """Note a problem, and the last fault before it."""
        self.problems.setdefault(problem, []).append(text)
        self.blamed.append((self.fired[-1] if self.fired else "", problem))


class Sweep:
    """A sweep in a folder of its own.

    Args:
        folder: Is made; anything in it is removed.
        number: Of the sweep.
        launcher: ``workers``, ``joblib`` or ``basic``.
        backing: ``sqlite`` or ``server``.
        faults: To be done to it.
        seeds: How many.
        steps: Of each training.
    """

    def __init__(
        self, folder: Path, number: int, launcher: str, backing: str, faults: Sequence[Fault], seeds: int, steps: int
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        self.store, self.code = folder / "store", REPOSITORY
        self.store.mkdir(parents=True)
        self.total = seeds * len(CELLS)
        self.outcome = Outcome(number, f"{launcher}/{backing}")
        self.faults = list(faults)
        self.waiting: list[tuple[float, Undo]] = []
        self.told: dict[int, list[str]] = {}
        self.recovering: list[tuple[str, float]] = []
        self.calls = 0
        self.start_s = 3.0
        self.process: subprocess.Popen[bytes] | None = None
        self.mounted = False
        kinds = {fault.kind for fault in faults}
        if "disk_full" in kinds:
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.store)]
            self.mounted = not subprocess.run(command, capture_output=True, check=False).returncode
        if self.mounted:
            self.store = self.store / "disk"
            self.store.mkdir()
        if "version" in kinds:
            self.code = folder / "code"
            for part in ("gru_bench", "hydra_plugins", "conf"):
                shutil.copytree(REPOSITORY / part, self.code / part, ignore=shutil.ignore_patterns("__pycache__"))
        self.server = Server(folder) if backing == "server" else None
        self.uri = self.server.uri if self.server else f"sqlite:///{self.store / 'mlflow.db'}"
        stall = STALL_S if "worker_stopped" in kinds else 600
        self.command = [
            sys.executable, "-m", "gru_bench", "train", "-m", f"cell={','.join(CELLS)}",
            f"seed={','.join(map(str, range(seeds)))}", *TINY, f"trainer.max_steps={steps}",
            f"hydra/launcher={launcher}", f"tracking.uri={self.uri}", f"stall_timeout={stall}",
            *([] if launcher == "basic" else ["hydra.launcher.n_jobs=2"]),
        ]  # fmt: skip

    # what a fault sees

    @property
    def driver(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_over(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def later(self, seconds: float, undo: Undo) -> None:
        self.waiting.append((time.monotonic() + seconds, undo))

    def wrong(self, problem: str, text: str) -> None:
        self.outcome.wrong(problem, text)

    def kill_server(self) -> Undo:
        if self.server is None or not self.server.runs:
            raise NotNow
        self.server.kill()
        return self.server.start

    # the sweep

    def run(self) -> Outcome:
        """All of it; whatever goes wrong is in the outcome."""
        began = time.monotonic()
        try:
            if self.server is not None:
                self.server.start()
            while True:
                before = len(self.outcome.fired)
                code = self.call()
                if code == 0 and (not self.still_to_come() or len(self.outcome.fired) == before):
                    break
                if self.calls >= MOST_CALLS or "stuck" in self.outcome.problems:
                    self.outcome.wrong("stuck", f"not done after {self.calls} calls; the last one ended with {code}")
                    break
                self.heal(code)
            self.undo()
            self.check()
        finally:
            self.close()
            self.outcome.took = time.monotonic() - began
        return self.outcome

    def still_to_come(self) -> list[Fault]:
        """Faults that a further call could meet: those at a start."""
        return [fault for fault in self.faults if fault.moment == "start"]

    def heal(self, code: int) -> None:
        """Between two calls: half the time the fault goes on, and the next call meets it."""
        if self.waiting and (self.calls % 2 or code in (0, 2)):
            self.undo(wait=True)
        if self.server is not None and not self.waiting:
            self.server.start()

    def undo(self, *, wait: bool = False) -> None:
        """Undo every fault, at once or when it is due."""
        while wait and self.waiting:
            undo_all(self.waiting)
            time.sleep(TICK_S)
        undo_all(self.waiting, upto=float("inf"))
        if self.server is not None:
            self.server.start()

    def call(self) -> int:
        """The command once, with the faults that are due; returns its exit code."""
        self.calls += 1
        log, mark = self.folder / f"call_{self.calls:02}.log", f"{self.folder}:{self.calls}"
        environment = os.environ | {MARK: mark, "PYTHONPATH": str(self.code), "OMP_NUM_THREADS": "1"}
        began, fired = time.monotonic(), 0
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                self.command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=without_privileges,
            )  # fmt: skip
        at_store = None
        while not self.is_over:
            text = log.read_text(encoding="utf-8", errors="replace")
            self.read(text)
            now = time.monotonic()
            if at_store is None and any(self.store.glob("*mlflow.db*")):
                at_store = now
            ran = sum(map(len, self.told.values()))
            if ran and self.calls == 1 and self.start_s == 3.0:
                self.start_s = now - began
            fault = self.due(now - began, None if at_store is None else now - at_store)
            if fault is not None:
                try:
                    KINDS[fault.kind].happen(self, random.Random(fault.seed))
                except NotNow:
                    pass
                else:
                    self.faults.remove(fault)
                    self.outcome.fired.append(fault.kind)
                    self.recovering.append((fault.kind, time.monotonic()))
                    with (self.folder / "faults.txt").open("a") as notes:
                        notes.write(f"call {self.calls}, {now - began:.2f} s, {ran} ran: {fault}\n")
                    fired += 1
            undo_all(self.waiting)
            if now - began > PATIENCE_S:
                self.outcome.wrong("stuck", f"call {self.calls} runs for {PATIENCE_S:.0f} s")
                break
            time.sleep(TICK_S)
        self.after(mark)
        code = self.process.wait() if self.process is not None else -1
        text = log.read_text(encoding="utf-8", errors="replace")
        self.read(text)
        # kill -9 of the driver in the very moment in which it starts a worker: nobody can silence Python there
        self.check_terminal(HALF_STARTED.sub("", text) if code == -signal.SIGKILL else text, fired)
        with log.open("a") as out_again:
            out_again.write(f"(exit code {code})\n")
        return code

    def due(self, seconds: float, since_store: float | None) -> Fault | None:
        """The fault whose moment has come."""
        done = len(self.told)
        for fault in self.faults:
            if self.waiting and KINDS[fault.kind].alone:
                continue
            if fault.moment == "start" and seconds >= BEFORE_S + fault.share * self.start_s:
                return fault
            if fault.moment == "store" and since_store is not None and since_store >= fault.share * self.start_s / 2:
                return fault
            if fault.moment == "run" and done + 1 > fault.share * self.total and self.told:
                return fault
            if fault.moment == "close" and done >= self.total - 1:
                return fault
        return None

    def read(self, text: str) -> None:
        """Which runs the terminal says are finished."""
        for job, run_id in RAN.findall(text):
            runs = self.told.setdefault(int(job) - 1, [])
            if run_id not in runs:
                runs.append(run_id)
                for kind, at in self.recovering:
                    self.outcome.seconds.setdefault(kind, []).append(time.monotonic() - at)
                self.recovering.clear()

    def after(self, mark: str) -> None:
        """No process of the call is left after some seconds; if one is, it is a problem, and ended."""
        end = time.monotonic() + LEFT_AFTER_S
        while (left := marked(mark)) and time.monotonic() < end and self.is_over:
            undo_all(self.waiting)
            time.sleep(0.1)
        if left and self.is_over:
            names = [" ".join(command(process))[:90] for process in left]
            self.outcome.wrong("left", f"call {self.calls}: {'; '.join(names)}")
        for process in left:
            with suppress(psutil.Error):
                process.kill()

    def check_terminal(self, text: str, faults: int) -> None:
        """What a call has printed."""
        text = NOT_OURS.sub("", text)
        if "Traceback (most recent" in text or "Exception ignored" in text:
            self.outcome.wrong("traceback", f"call {self.calls}: {text[text.find('Traceback') :][:600]}")
        other = [line for line in text.splitlines() if not re.match(r"\[\d+/\d+\] ", line) and line.strip()]
        if len(other) > MOST_LINES + 2 * faults and "Traceback" not in text:
            self.outcome.wrong("lines", f"call {self.calls}: {len(other)} lines")

    # what is true in the end

    def check(self) -> None:
        """Every run is told truly, none is lost or there twice."""
        reasons = "|".join(sorted({KINDS[kind].reasons for kind in self.outcome.fired} - {""}))
        for problem, text in untruths(stored(self.uri), self.told, self.total, reasons):
            self.outcome.wrong(problem, text)

    def frames(self) -> list[pd.DataFrame]:
        """What a report reads."""
        return compared(read(self.uri, experiment="adhoc"))

    def close(self) -> None:
        """End whatever is left of it."""
        undo_all(self.waiting, upto=float("inf"))
        for process in marked(str(self.folder)):
            with suppress(psutil.Error):
                process.kill()

    def remove(self) -> None:
        """The server, the disk and the folder."""
        if self.server is not None:
            self.server.kill()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.store.parent)], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def marked(mark: str) -> list[psutil.Process]:
    """Processes whose environment has the mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK, "").startswith(mark):
                found.append(process)
    return found


def command(process: psutil.Process) -> list[str]:
    """The command line of a process that may be gone."""
    with suppress(psutil.Error):
        return [str(part) for part in process.cmdline()]
    return ["gone"]


def without_privileges() -> None:
    """In the child: root, too, cannot write to what is read-only."""
    if os.geteuid() == 0:
        for capability in NO_DAC:
            CDLL(None).prctl(24, capability, 0, 0, 0)
