"""Several runs of a sweep in one process: which go together, and that each ends as its own."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gru_bench.errors import Diverged, UserError
from gru_bench.run import batch
from gru_bench.run.batch import Batch, batches
from gru_bench.run.job import Request
from gru_bench.run.train import Waiting
from gru_bench.store import signals
from gru_bench.store.signals import Leave, Preempted, TimedOut


@given(
    rows=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    seed_by_seed=st.booleans(),
    most=st.integers(1, 6),
    workers=st.integers(1, 5),
)
def test_jobs_go_together_that_differ_in_the_seed_alone(
    rows: list[int], seed_by_seed: bool, most: int, workers: int
) -> None:
    pairs = [(row, seed) for row, seeds in enumerate(rows) for seed in range(seeds)]
    pairs.sort(key=lambda pair: pair[::-1] if seed_by_seed else pair)
    jobs = [[f"seed={seed}", f"cell={row}", "threads=1"] for row, seed in pairs]
    found = batches(jobs, most, workers)
    assert sorted(number for part in found for number in part) == list(range(len(jobs)))
    assert [part[0] for part in found] == sorted(part[0] for part in found)
    for part in found:
        assert 1 <= len(part) <= most
        assert len({pairs[number][0] for number in part}) == 1
        assert part == sorted(part)
    assert len(found) >= min(workers, len(jobs))  # no worker has nothing to do while a batch has several
    if most == 1:
        assert found == [[number] for number in range(len(jobs))]


def test_batches_are_of_one_size_where_not_all_seeds_fit() -> None:
    jobs = [[f"seed={seed}"] for seed in range(4)]
    assert batches(jobs, 3, 1) == [[0, 1], [2, 3]]
    assert batches(jobs, 10, 1) == [[0, 1, 2, 3]]
    assert batches([*jobs, ["seed=0", "hidden_size=4"]], 10, 2) == [[0, 1], [2, 3], [4]]
    assert batches([*jobs, ["seed=0", "hidden_size=4"]], 10, 3) == [[0], [1], [2], [3], [4]]


@dataclass
class Story:
    """Stands for a run. What happened to it, in words, and how long it took by its record."""

    begins: BaseException | None = None
    ends: BaseException | None = None
    probes: bool = False
    heard: list[Any] = field(default_factory=list)
    left_out: list[float] = field(default_factory=list)
    alone: list["Story"] = field(default_factory=list)

    def tell(self) -> Generator[Waiting, None, str]:
        if self.begins is not None:
            raise self.begins
        part = SimpleNamespace(result=SimpleNamespace(steps=5), fit=lambda: self.alone.append(self))
        job = SimpleNamespace(task=None, node={}, settings=None, place=None)
        record = SimpleNamespace(leave_out=self.left_out.append)
        self.heard.append("waits")
        try:
            yield Waiting(cast(Any, part), cast(Any, job), cast(Any, record), self.probes)
        except BaseException as error:
            self.heard.append(error)
            raise
        self.heard.append("tested")
        if self.ends is not None:
            raise self.ends
        return "well"


class Stories:
    """Runs a batch of stories."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.stories: list[Story] = []
        self.alone: list[Story] = []
        self.together: Callable[[list[Any]], list[BaseException | None]] = lambda parts: [None] * len(parts)
        self.reason: Callable[[list[Any]], str | None] = lambda _: None
        self.fit: Callable[[int], None] = lambda _: None
        monkeypatch.setattr(batch, "waiting", lambda asked, _: self.stories[asked.number].tell())
        monkeypatch.setattr(batch, "fit_together", lambda parts: self.together(parts))
        monkeypatch.setattr(batch, "refusal", lambda parts: self.reason(parts))
        monkeypatch.setattr(batch.fits, "check_steps", lambda runs, *_: self.fit(runs))
        monkeypatch.setattr(batch, "own_task", lambda _: "")

    def run(self, *stories: Story, asks: dict[int, Callable[[], Any]] | None = None, **keys: Any) -> list[Any]:
        self.stories = list(stories)
        for story in stories:
            story.alone = self.alone
        config = OmegaConf.create({"seed": 0, **keys})
        jobs = [
            (asks or {}).get(number, lambda number=number: Request(config, {"cell": "gru", "task": "t"}, (), number))
            for number in range(len(stories))
        ]
        found = Batch(lambda _, text: self.said.append(text)).run(jobs)
        return [one and one.how for one in found]


@pytest.fixture
def stories(monkeypatch: pytest.MonkeyPatch) -> Stories:
    return Stories(monkeypatch)


def test_each_run_ends_by_itself(stories: Stories) -> None:
    no_data, lost, untested = ValueError("no data"), Diverged("lost"), ValueError("no test")
    stories.together = lambda _: [None, lost, None, None]
    runs = [Story(), Story(begins=no_data), Story(), Story(ends=untested), Story()]
    assert stories.run(*runs) == ["well", no_data, lost, untested, "well"]
    assert [run.heard for run in runs] == [["waits", "tested"], [], ["waits", lost], *[["waits", "tested"]] * 2]
    assert stories.said == stories.alone == []
    assert all(len(run.left_out) == 1 for run in runs if run.heard)


def test_what_joint_training_raises_is_the_end_of_each_run(stories: Stories) -> None:
    fault = RuntimeError("fault")

    def raises(_: object) -> list[BaseException | None]:
        raise fault

    stories.together = raises
    assert stories.run(Story(), Story()) == [fault, fault]


def test_after_a_signal_each_run_says_at_which_step_it_was_stopped(stories: Stories) -> None:
    first, third = Preempted(3), Preempted(4)
    first.__cause__ = Leave(143, "SIGTERM")
    stories.together = lambda _: [first, None, third]
    runs = [Story(), Story(), Story()]
    with pytest.raises(Preempted) as raised:
        stories.run(*runs)
    assert raised.value is first
    assert [run.heard[1] for run in runs] == [first, first.__cause__, third]


def test_a_time_limit_ends_the_runs_and_not_the_sweep(stories: Stories) -> None:
    late = TimedOut(1, "run_timeout=1")
    stories.together = lambda _: [None, late]
    assert stories.run(Story(), Story()) == ["well", late]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Leave(143, "SIGTERM")])
@pytest.mark.parametrize("place", ["opening", "composing", "training", "testing"])
def test_no_run_stays_open_when_the_process_is_to_end(stories: Stories, error: BaseException, place: str) -> None:
    def raises(_: object = None) -> Any:
        raise error

    runs = [Story(), Story(ends=error if place == "testing" else None), Story()]
    if place == "opening":
        runs[2].begins = error
    if place == "training":
        stories.together = raises
    with pytest.raises(type(error)):
        stories.run(*runs, asks={2: raises} if place == "composing" else {})
    if place == "testing":
        assert runs[0].heard == runs[1].heard == ["waits", "tested"]
        assert runs[2].heard == ["waits", error]
    else:
        assert all(run.heard in (["waits", error], []) for run in runs)
        assert runs[0].heard


def test_a_job_that_cannot_be_composed_ends_the_launch_and_leaves_no_run_open(stories: Stories) -> None:
    def raises() -> Any:
        raise ValueError("no such cell")

    runs = [Story(), Story()]
    with pytest.raises(ValueError, match="no such cell"):
        stories.run(*runs, asks={1: raises})
    assert len(runs[0].heard) == 2


def test_after_the_first_ctrl_c_no_further_run_of_the_batch_begins(
    stories: Stories, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> Request:
        monkeypatch.setattr(signals, "finishing", True)
        return Request(OmegaConf.create({"seed": 1}), {"cell": "gru", "task": "t"}, (), 1)

    assert stories.run(Story(), Story(), Story(), asks={1: ask}) == ["well", "well", None]


def test_runs_that_cannot_go_together_go_one_after_the_other(stories: Stories) -> None:
    runs = [Story(), Story()]
    stories.reason = lambda parts: "too large" if len(parts) == 1 else None
    assert stories.run(*runs) == ["well", "well"]
    assert stories.alone == runs
    assert runs[0].heard == ["waits", "tested"]
    assert stories.said == ["seeds_in_batch: its seeds are trained one after the other: too large"]
    stories.reason, stories.alone, stories.said = lambda parts: "unlike" if len(parts) > 1 else None, [], []
    assert stories.run(Story(), Story()) == ["well", "well"]
    assert len(stories.alone) == 2
    assert "unlike" in stories.said[0]


def test_runs_for_whose_steps_memory_has_no_room_go_one_after_the_other(stories: Stories) -> None:
    def fit(runs: int) -> None:
        if runs > 2:
            raise UserError("no room for 3 batches")

    stories.fit = fit
    assert stories.run(Story(), Story()) == ["well", "well"]
    assert stories.alone == stories.said == []
    assert stories.run(Story(), Story(), Story()) == ["well"] * 3
    assert len(stories.alone) == 3
    assert stories.said == ["seeds_in_batch: its seeds are trained one after the other: no room for 3 batches"]


def test_probes_are_asked_of_one_run_at_a_time(stories: Stories) -> None:
    assert stories.run(Story(probes=True), Story(probes=True)) == ["well", "well"]
    assert len(stories.alone) == 2
    assert "probes look at one run alone" in stories.said[0]


def test_a_task_of_ones_own_may_remember_where_it_is() -> None:
    class Mine:
        pass

    assert "Mine" in batch.own_task(cast(Any, SimpleNamespace(task=Mine())))
