"""Runs on other machines: every job is waited for, a lost one loses its own run alone, and engines double nothing."""

import signal
from collections.abc import Sequence
from typing import Any

import pytest

from gru_bench.errors import UserError
from gru_bench.run import cluster, engines
from gru_bench.run.cluster import ClusterJob, last_line, requeued, run_all
from gru_bench.run.launch import Launch
from gru_bench.store import signals


class Told:
    """An engine of the tests: each job is over after so many looks, and returns or raises what it is told to."""

    def __init__(self, looks: int, end: str | Exception) -> None:
        self.looks, self.end, self.cancelled = looks, end, False

    def over(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def returned(self) -> str:
        if isinstance(self.end, Exception):
            raise self.end
        return self.end

    def cancel(self) -> None:
        self.cancelled = True


class Numbered:
    """As much of a job as is needed to wait for it."""

    def __init__(self, number: int) -> None:
        self.number, self.overrides = number, [f"seed={number}"]


class Opened:
    """As much of a sweep as is needed to lose a job."""

    def __init__(self) -> None:
        self.lost: list[tuple[int, str | None, str]] = []

    def lose(self, job: int, owner: str | None, reason: str) -> None:
        self.lost.append((job, owner, reason))


def run(handles: Sequence[Told], at_once: int, launch: Launch, planned: dict[int, int] | None = None) -> list[str]:
    return run_all(
        [Numbered(number) for number in range(len(handles))],  # type: ignore[arg-type]
        lambda job, _: handles[job.number],
        at_once,
        launch,
        planned or {},
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOOK_EVERY_S", 0.0)


def test_all_are_waited_for_and_a_lost_one_loses_itself_alone() -> None:
    launch, opened = Launch(), Opened()
    launch.opened = opened  # type: ignore[assignment]
    ends = ["finished", RuntimeError("a\nlong output\nnode failure\n"), "failed", "finished"]
    ended = run([Told(looks, end) for looks, end in zip((5, 0, 2, 1), ends, strict=True)], 2, launch, {1: 7})
    assert ended == ["finished", "killed", "failed", "finished"]
    assert opened.lost == [(7, None, "its job was lost: RuntimeError: node failure")]
    assert launch.tally.ended == {0: "finished", 1: "killed", 2: "failed", 3: "finished"}


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_no_more_run_at_once_than_there_are_slots(at_once: int) -> None:
    running: set[int] = set()
    most = 0
    taken: list[tuple[int, int]] = []

    class Counted(Told):
        def __init__(self, number: int) -> None:
            super().__init__(number % 3, "finished")
            self.number = number

        def returned(self) -> str:
            running.discard(self.number)
            return super().returned()

    handles = [Counted(number) for number in range(8)]

    def submit(job: ClusterJob, slot: int) -> Told:
        nonlocal most
        running.add(job.number)
        most = max(most, len(running))
        taken.append((job.number, slot))
        return handles[job.number]

    jobs: Any = [Numbered(number) for number in range(8)]
    assert run_all(jobs, submit, at_once, Launch(), {}) == ["finished"] * 8
    assert most == min(at_once, 8)
    assert [number for number, _ in taken] == list(range(8))
    assert {slot for _, slot in taken} == set(range(min(at_once, 8)))


def test_after_ctrl_c_the_running_ones_finish_and_no_further_one_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "finishing", False)

    class Asks(Told):
        def returned(self) -> str:
            signals.finishing = True
            return super().returned()

    ended = run([Asks(0, "finished"), Told(4, "finished"), Told(0, "finished")], 2, Launch())
    assert ended == ["finished", "finished", ""]


def test_the_second_ctrl_c_ends_what_runs() -> None:
    class Interrupted(Told):
        def over(self) -> bool:
            raise KeyboardInterrupt

    handles = [Interrupted(0, ""), Told(9, "finished")]
    with pytest.raises(KeyboardInterrupt):
        run(handles, 2, Launch())
    assert [handle.cancelled for handle in handles] == [True, True]


def test_the_end_of_an_engines_error_is_what_is_told() -> None:
    assert last_line(ValueError("first\n\n last \n")) == "ValueError: last"
    assert last_line(ValueError()) == "ValueError"


def launcher(name: str, **given: Any) -> Any:
    """What Hydra makes of a launcher's yaml."""
    from conftest import CONF
    from omegaconf import OmegaConf

    return OmegaConf.merge(OmegaConf.load(CONF / "hydra" / "launcher" / f"{name}.yaml"), given)


@pytest.mark.parametrize("number", [0, -2, "x", None])
@pytest.mark.parametrize(("name", "key"), [("slurm", "parallel_jobs"), ("local_cluster", "n_jobs")])
def test_no_jobs_at_once_are_refused(name: str, key: str, number: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.shutil, "which", lambda _: "/bin/sbatch")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: object())
    with pytest.raises(UserError, match=rf"^hydra.launcher.{key}={number}: must be a number of jobs; valid: 1, 2"):
        engines.refuse_missing(launcher(name, **{key: number}))


def test_slurm_is_missed_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no sbatch on this machine; valid: .*hydra/launcher=local_cluster"):
        engines.refuse_missing(launcher("slurm"))


@pytest.mark.parametrize("name", sorted(engines.EXTRAS))
def test_an_extra_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: None)
    extra = engines.EXTRAS[name][1]
    with pytest.raises(UserError, match=rf"^hydra/launcher={name}: .*pip install 'gru-bench\[{extra}\]'"):
        engines.refuse_missing(launcher(name))


def test_each_yaml_of_a_launcher_names_a_plugin() -> None:
    from conftest import CONF

    names = {path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml")}
    assert names == {engines.cluster_of(launcher(name)) for name in names} == set(engines.EXTRAS)
    assert {name for name in names if engines.is_elsewhere(launcher(name))} == {"slurm", "ray_cluster"}


class Watcher:
    """submitit's handler, as far as it matters here."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def checkpoint_and_try_requeue(self, number: int, _frame: object) -> None:
        self.asked.append(number)
        raise SystemExit(144)


Watcher.checkpoint_and_try_requeue.__module__ = "submitit.core.job_environment"


@pytest.mark.parametrize("end", ["told to end", "ends by itself", "ended otherwise"])
def test_a_job_is_queued_again_once_its_run_has_ended(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "received", None)
    watcher, order = Watcher(), []
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        signal.signal(signal.SIGUSR2, watcher.checkpoint_and_try_requeue)

        def body() -> None:
            with requeued():
                signals.raise_on_signals()
                try:
                    if end != "ends by itself":
                        signal.raise_signal(signal.SIGUSR2 if end == "told to end" else signal.SIGTERM)
                finally:
                    order.append(list(watcher.asked))  # the row is closed here: nobody has been asked yet

        if end == "ends by itself":
            body()
        else:
            with pytest.raises(SystemExit) as left:
                body()
            assert left.value.code == (144 if end == "told to end" else signals.SIGTERM_EXIT_CODE)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert order == [[]]
    assert watcher.asked == ([signal.SIGUSR2] if end == "told to end" else [])
