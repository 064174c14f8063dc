"""When a run's facts and curves are sent: in few calls, and whatever ends the run."""

import time
from typing import Any, cast

import pytest

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
        self.flushed = 0

    def params(self, facts: dict[str, object]) -> None:
        self.sent.append(dict(facts))

    def flush(self) -> None:
        self.flushed += 1

    def curve(self, *_: Any) -> None: ...
    def value(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture
def task() -> Adding:
    goal = Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.001)
    made = Adding(None, lengths=[4], beyond=[], num_eval=4, batch_size=2, goal=goal)
    made.load()
    return made


def test_facts_are_sent_together_and_once(task: Adding) -> None:
    run = Calls()
    recorder = Recorder(cast(Run, run), task, time.perf_counter())
    recorder.data()
    recorder.model(8, 100)
    assert run.sent == []
    recorder.send_facts()
    recorder.send_facts()
    assert [sorted(facts) for facts in run.sent] == [["data_fingerprint", "hidden_size", "notes", "num_parameters"]]


@pytest.mark.parametrize(("after_s", "flushed"), [(0.0, 2), (3600.0, 0)])
def test_curves_are_sent_when_time_has_passed(
    task: Adding, monkeypatch: pytest.MonkeyPatch, after_s: float, flushed: int
) -> None:
    monkeypatch.setattr(record, "FLUSH_AFTER_S", after_s)
    run = Calls()
    recorder = Recorder(cast(Run, run), task, time.perf_counter() - 1)
    for step in (1, 2):
        recorder.curves(Event("evaluation", step, cast(Any, None), task, Scores({"mse": 0.1}), 0.2))
    assert run.flushed == flushed
