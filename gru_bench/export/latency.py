"""How long a deployed graph takes: one streamed step and one whole sequence, batch 1, on one thread.

Times are of calls by themselves, not by turns with another model: they say what a deployment can expect, and decide
nothing between cells. ``bench/deployment.py`` takes turns.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from gru_bench.export.states import StateInput

SEQUENCE_STEPS = 100
"""Steps of the sequence that is timed."""
CALLS = {"stream": 2000, "sequence": 200}
LONGEST_S = 3.0
"""No graph is timed for longer, whatever that leaves of the calls."""
WARM_UP = 20


@dataclass(frozen=True)
class Latency:
    """Microseconds of a call, and how many calls were timed."""

    p50_us: float
    p99_us: float
    calls: int

    def as_json(self) -> dict[str, Any]:
        """What ``export.json`` keeps."""
        return {"p50_us": self.p50_us, "p99_us": self.p99_us, "calls": self.calls}


def caller(
    session: onnxruntime.InferenceSession, states: dict[str, StateInput], steps: int | None, number: int
) -> Callable[[], None]:
    """What makes one call: a step of a stream that carries its state, or a whole sequence of so many steps.

    Args:
        session: Of a graph ``stream`` or ``sequence``.
        states: Its states.
        steps: Of a sequence; None for a stream.
        number: Ids of tokens are below it.
    """
    random = np.random.default_rng(0)
    given: dict[str, Any] = {name: one.started(1).numpy() for name, one in states.items()}
    sizes = (1,) if steps is None else (steps, 1)
    for one in session.get_inputs():
        if one.name == "tokens":
            given["tokens"] = random.integers(0, number, sizes)
        elif one.name == "features":
            given["features"] = random.random((*sizes, one.shape[-1]), dtype=np.float32)
        elif one.name == "lengths":
            given["lengths"] = np.array([steps])
    outputs = [one.name for one in session.get_outputs()]
    carried = [name for name in states if steps is None]
    run = session.run

    def call() -> None:
        found = run(outputs, given)
        for name in carried:
            given[name] = found[outputs.index(f"new_{name}")]

    return call


def latency(call: Callable[[], None], calls: int) -> Latency:
    """Time so many calls, each by itself."""
    for _ in range(WARM_UP):
        call()
    now, taken = time.perf_counter, list[float]()
    end = now() + LONGEST_S
    while len(taken) < calls and (now() < end or not taken):
        start = now()
        call()
        taken.append(now() - start)
    p50, p99 = np.quantile(taken, (0.5, 0.99)) * 1e6
    return Latency(round(float(p50), 2), round(float(p99), 2), len(taken))
