"""What one call costs besides time: arithmetic, memory, energy."""

import time
from typing import Any

import torch

from gru_bench.measure.energy import Energy
from gru_bench.measure.memory_split import split
from gru_bench.timing.subjects import Call, Subject

ENERGY_S = 1.0
"""Length of the span whose joules are read: counters step a thousand times in it, or ten times."""
MIB = 2**20


def memory_facts(call: Call, subject: Subject) -> dict[str, Any]:
    """Peak of tensor bytes of a call that was made before, and its parts, in MiB."""
    found = split(call, model=subject.timed, optimizer=subject.optimizer, inputs=subject.inputs)
    return {
        "peak_mib": found.peak / MIB,
        "parameters_mib": found.parameters / MIB,
        "gradients_mib": found.gradients / MIB,
        "optimizer_mib": found.optimizer / MIB,
        "activations_mib": found.activations / MIB,
    }


def joules(call: Call, device: torch.device) -> float | None:
    """Energy of one call, the machine's idle power in it; None where the machine does not say."""
    with Energy(device) as energy:
        call()
    if energy.joules is None:
        return None
    number = 0
    start = time.perf_counter()
    with Energy(device) as energy:
        while time.perf_counter() - start < ENERGY_S:
            call()
            number += 1
    return None if energy.joules is None else energy.joules / number


def percent_of_peak(gflop: float, ms: float, peak_gflops: float) -> float:
    """Rate of a call's products against the best one of the machine, in per cent."""
    return 100 * gflop / (ms / 1000) / peak_gflops
