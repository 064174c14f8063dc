"""What is sent of a run while it goes, and when."""

import time
from typing import Any, cast

import pytest

from gru_bench.measure.environment import CoreTime
from gru_bench.run import record
from gru_bench.run.record import Recorder
from gru_bench.store.write import Run
from gru_bench.tasks.base import Goal, Scores
from gru_bench.tasks.generated.adding import Adding
from gru_bench.training.fit import Event


class Calls:
    """Stands in for a run: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []
        self.flushed: list[float] = []

    def params(self, facts: dict[str, object]) -> None:
        self.sent.append(dict(facts))

    def flush(self, least_s: float = 0.0) -> None:
        self.flushed.append(least_s)

    def curve(self, *_: Any) -> None: ...
    def value(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture
def task() -> Adding:
    goal = Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.001)
    made = Adding(None, lengths=[4], beyond=[], num_eval=4, batch_size=2, goal=goal)
    made.load()
    return made


def test_a_run_is_sent_at_its_evaluations_but_not_more_often_than_it_helps(task: Adding) -> None:
    run = Calls()
    recorder = Recorder(cast(Run, run), task, time.perf_counter())
    for step in (1, 2):
        recorder.curves(Event("evaluation", step, cast(Any, None), task, Scores({"mse": 0.1}), 0.2))
    assert run.flushed == [record.SEND_EVERY_S] * 2


def test_what_is_known_of_a_task_is_computed_once(task: Adding, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Calls()
    Recorder(cast(Run, run), task, time.perf_counter()).data()
    monkeypatch.setattr(task, "trivial", None)  # calling it again would fail
    Recorder(cast(Run, run), task, time.perf_counter()).data()
    assert run.sent[0] == run.sent[1]
    assert sorted(run.sent[0]) == ["data_fingerprint", "notes"]


def test_what_memory_is_worth_is_written_with_its_parts(task: Adding, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Calls()
    written: dict[tuple[str, str, str], float] = {}

    def value(_: str, name: str, number: float, slice: str = "", slice_value: str = "", **__: Any) -> None:
        written[name, slice, slice_value] = number

    monkeypatch.setattr(run, "value", value, raising=False)
    Recorder(cast(Run, run), task, time.perf_counter()).data()
    assert written["without_memory_mse", "", ""] == pytest.approx(0.125)  # of length 4: (1 - 1/4) / 6
    assert written["without_memory_mse", "length", "4"] == pytest.approx(0.125)
    assert written["with_memory_mse", "", ""] == written["with_memory_mse", "length", "4"] == 0.0


@pytest.mark.parametrize(
    ("already", "busy_s", "sent"), [(False, 100.0, [False]), (False, 160.0, [True]), (True, 100.0, [])]
)
def test_a_machine_that_others_use_later_is_shared_too(
    task: Adding, monkeypatch: pytest.MonkeyPatch, already: bool, busy_s: float, sent: list[bool]
) -> None:
    run = Calls()
    monkeypatch.setattr(record, "noted_core_time", lambda: CoreTime(100.0, 100.0, busy_s))
    recorder = Recorder(cast(Run, run), task, 0.0, already)
    recorder.began = CoreTime(0.0, 0.0, 0.0)
    recorder.company()
    assert [facts["shared"] for facts in run.sent] == sent  # MLflow takes a param once


def test_what_is_odd_about_the_data_is_told_with_where_the_rest_is(task: Adding) -> None:
    recorder = Recorder(cast(Run, Calls()), task, 0.0)
    assert recorder.remarks() == []
    task.findings = {"classes": {"train": {"a": 1}}, "remarks": ["one class is odd"]}
    assert recorder.remarks() == [
        "remark: one class is odd",
        "what else the data is: data.yaml of each run, and its report",
    ]
