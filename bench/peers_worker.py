"""A worker of ``bench/peers.py``: makes one model ready, then trains it a turn at a time, as standard input asks.

It runs in this project's environment as well as in the peers', so it imports numpy alone. Between turns it waits for
a line and uses no CPU.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

CHECK_STEPS = 20
"""Training steps on one batch, before anything is timed; their losses must fall. They also compile and warm up."""
JOB, ARRAYS = "job.json", "arrays.npz"


@dataclass(frozen=True)
class Job:
    """What one worker trains.

    Attributes:
        arm: Which of the models that are compared.
        cell: rnn, lstm or gru.
        threads: CPU threads.
        sizes: ``input_size``, ``hidden_size``, ``num_layers``, ``dense``, and the rest of the article's model.
        adam: ``learning_rate``, ``betas``, ``epsilon``.
        arrays: ``inputs`` (K, T, B, D) and ``targets`` (K, B), and the initial values: ``W0`` (G, D), ``U0`` (G, H),
            ``b0`` (G) and, for the GRU, ``b_hn0`` (H) of layer 0, and so on; ``dense0.W`` (out, in), ``dense0.b``,
            and so on, the output layer last.
    """

    arm: str
    cell: str
    threads: int
    sizes: dict[str, Any]
    adam: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def num_dense(self) -> int:
        """Dense layers, the output layer among them."""
        return len(self.sizes["dense"]) + 1


class Training(Protocol):
    """One model in training.

    Attributes:
        kernel: What runs it, in a word or two.
        versions: Of the libraries that do.
        num_parameters: Trainable numbers.
        more_parameters: How many more than this project's model it has by its own definition; negative for fewer.
    """

    kernel: str
    versions: dict[str, str]
    num_parameters: int
    more_parameters: int

    def step(self, batch: int) -> None:
        """Forward, loss, backward, Adam on one of the K batches. May come back before the work is done."""

    def loss(self) -> float:
        """Wait for the last step and read its loss."""


def read_job(folder: Path, arm: str) -> Job:
    """What the driver wrote for all workers of one cell."""
    with np.load(folder / ARRAYS) as arrays:
        return Job(arm=arm, arrays=dict(arrays), **json.loads((folder / JOB).read_text(encoding="utf-8")))


def serve(make: Callable[[Job], Training]) -> None:
    """The worker's life: one line of JSON when it is ready, then one for each ``go STEPS`` on standard input.

    Called as ``python peers_NAME.py FOLDER ARM``.
    """
    # libraries that print must not disturb the driver
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        _serve(channel, make(read_job(Path(sys.argv[1]), sys.argv[2])))
    except Exception as error:
        lines = str(error).strip().splitlines()
        _send(channel, {"failed": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"})
        raise


def _serve(channel: TextIO, training: Training) -> None:
    losses: list[float] = []
    start = time.perf_counter()
    for _ in range(CHECK_STEPS):
        training.step(0)
        losses.append(training.loss())
        if len(losses) == 1:
            first_step_s = time.perf_counter() - start
    ready = {
        "kernel": training.kernel,
        "versions": training.versions,
        "num_parameters": training.num_parameters,
        "more_parameters": training.more_parameters,
        "losses": losses,
        "first_step_s": first_step_s,
    }
    _send(channel, ready)
    batch = 0
    for line in sys.stdin:
        steps = int(line.removeprefix("go"))
        # the caches are another worker's: the turn's first step is not timed
        training.step(batch)
        training.loss()
        start = time.perf_counter()
        for _ in range(steps):
            batch += 1
            training.step(batch)
        loss = training.loss()
        _send(channel, {"ms": (time.perf_counter() - start) / steps * 1000, "loss": loss})
        batch += 1


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()
