"""The driver of ``bench/peers.py`` with quick workers in place of models: neither TensorFlow nor JAX is needed."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import peers
from peers_ours import write_job
from peers_processes import Failed, Worker
from peers_worker import ARRAYS, CHECK_STEPS, JOB, read_job

from gru_bench.errors import UserError

FAKE = """
import os, sys
from peers_worker import serve

class Fake:
    kernel, versions, num_parameters, more_parameters = "fake", {{}}, 3, 0
    def __init__(self, job):
        self.steps = 0
        {at_start}
    def step(self, batch):
        self.steps += 1
        print("libraries may print")
    def loss(self):
        {at_loss}
        return 1 / self.steps

serve(Fake)
"""
READY = {"num_parameters": 10, "more_parameters": 0, "losses": [0.7, 0.6]}

Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a worker that does nothing but count; what it does at the start or at a loss may be given."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "bench"))
    (tmp_path / JOB).write_text(json.dumps({"cell": "gru", "threads": 1, "sizes": {}, "adam": {}}))
    np.savez(tmp_path / ARRAYS)
    with ExitStack() as stack:

        def begin(arm: str, at_start: str = "pass", at_loss: str = "pass") -> Worker:
            script = tmp_path / f"{arm}.py"
            script.write_text(FAKE.format(at_start=at_start, at_loss=at_loss))
            return stack.enter_context(Worker(arm, str(script), tmp_path, 1, in_peers=False))

        yield begin


def test_a_round_mirrors_itself_and_every_model_starts_one() -> None:
    arms = ["a", "b", "c"]
    orders = [peers.turn_order(arms, number) for number in range(len(arms))]
    assert orders[0] == ["a", "b", "c", "c", "b", "a"]
    assert all(order == order[::-1] for order in orders)
    places = [Counter(order[place] for order in orders) for place in range(2 * len(arms))]
    assert all(place == Counter(arms) for place in places)


def test_ratios_are_taken_within_rounds() -> None:
    # a machine that becomes three times as slow changes no ratio
    assert peers.ratio([2.0, 6.0, 4.0], [1.0, 3.0, 1.0]) == (2.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({}, None),
        ({"num_parameters": 12, "more_parameters": 2}, None),
        ({"num_parameters": 12}, "12 parameters where 10"),
        ({"losses": [0.7, float("nan")]}, "not finite"),
        ({"losses": [0.71, 0.6]}, "first loss 0.710000"),
        ({"losses": [0.7, 0.7]}, "does not fall"),
    ],
)
def test_another_model_or_one_that_does_not_learn_is_not_timed(sent: dict[str, object], reason: str | None) -> None:
    found = peers.objection(READY | sent, 10, 0.7)
    assert found is None if reason is None else found is not None and reason in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "gru,elman"], "--cells: unknown 'elman'; valid: gru, lstm, rnn"),
        (["--only", "pytorch"], "--only: unknown 'pytorch'; valid: "),
        (["--rounds", "0"], "--rounds=0"),
        (["--threads", "100000"], "threads=100000: never more than there are cores"),
    ],
)
def test_bad_options_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        peers.parse(arguments)
    assert str(caught.value).startswith(message)


def test_backends_and_peers_can_be_chosen() -> None:
    assert peers.parse(["--only", "loop,keras", "--cells", "rnn"]).only == ["loop", "keras"]


@pytest.mark.parametrize("cell", peers.CELLS)
def test_the_values_that_the_workers_start_from_are_all_of_the_model(cell: str, tmp_path: Path) -> None:
    sizes, num_parameters, loss = write_job(tmp_path, cell, 1)
    job = read_job(tmp_path, "any")
    values = {name: array for name, array in job.arrays.items() if name not in ("inputs", "targets")}
    assert sum(array.size for array in values.values()) == num_parameters
    assert job.arrays["inputs"].shape[1:] == (sizes["seq_len"], sizes["batch_size"], sizes["input_size"])
    assert job.arrays[f"dense{job.num_dense - 1}.W"].shape == (1, sizes["dense"][-1])
    assert 0.3 < loss < 1.5


def test_a_worker_answers_each_turn(start: Start) -> None:
    worker = start("good")
    assert worker.ready["losses"] == [1 / step for step in range(1, CHECK_STEPS + 1)]
    assert worker.turn(3) >= 0


def test_a_worker_that_cannot_start_says_why(start: Start) -> None:
    with pytest.raises(Failed, match=r"^RuntimeError: no such thing$"):
        start("bad", at_start="raise RuntimeError('no such thing')")
    with pytest.raises(Failed, match=r"^died with exit code 3: last words$"):
        start("dead", at_start="print('last words', file=sys.stderr, flush=True); os._exit(3)")


def test_who_fails_on_the_way_leaves_the_others_their_turns(start: Start) -> None:
    after_the_check = f"if self.steps > {CHECK_STEPS + 4}:"
    ready = [
        start("good"),
        start("dies", at_loss=f"{after_the_check} os._exit(4)"),
        start("lost", at_loss=f"{after_the_check} return float('nan')"),
    ]
    failures: dict[str, str] = {}
    times = peers.take_turns(ready, 4, 2, failures)
    assert failures == {"dies": "died with exit code 4: libraries may print", "lost": "the loss became nan"}
    assert list(times) == ["good"]
    assert len(times["good"]) == 4
