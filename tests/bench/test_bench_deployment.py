"""``bench/deployment.py``: its options, and that arms take turns and are compared with the LSTM."""

import sys

import pytest
from conftest import REPOSITORY

pytest.importorskip("onnxruntime")
sys.path.insert(0, str(REPOSITORY / "bench"))

import deployment

from gru_bench.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cells", "mgu"], "--cells: unknown 'mgu'; valid: lstm, gru, rnn"),
        (["--rounds", "3"], "--rounds=3: a ratio needs at least 20"),
    ],
)
def test_options_that_mean_nothing_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        deployment.parsed(arguments)


def test_every_arm_takes_its_turns_and_is_held_against_the_lstm() -> None:
    counts = {"lstm": 0, "gru": 0}

    def counted(cell: str) -> deployment.Call:
        def call() -> None:
            counts[cell] += 1

        return call

    arms = {(cell, "operator", "float32"): counted(cell) for cell in counts}
    found = deployment.measure(arms, 3, 20)
    assert counts == {"lstm": 200, "gru": 200}  # 20 rounds of two turns, of three timed calls and two before them
    assert found["gru", "operator", "float32"]["calls"] == 120
    assert "value" not in found[deployment.REFERENCE]
    assert found["gru", "operator", "float32"]["low"] <= found["gru", "operator", "float32"]["value"]
