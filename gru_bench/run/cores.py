"""How many threads a run takes while other work is on the machine: decided once, before the first run begins.

All runs of a sweep get the same number, so that no comparison of cells hangs on what else the machine did meanwhile.
Scores do not depend on it; what a run had is on record as ``threads``.
"""

from dataclasses import dataclass
from typing import Literal

from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others
from gru_bench.measure.threads import free_threads, resolve_threads, usable_cores


@dataclass(frozen=True)
class Threads:
    """Threads of one run, and a remark for the user where other work has a part in it."""

    number: int
    remark: str = ""


def decide_threads(asked: int | Literal["auto"], num_workers: int) -> Threads:
    """Look at the machine for a moment, unless a run gets one thread anyway.

    Args:
        asked: The key ``threads``. A number is kept, whatever else runs.
        num_workers: Runs at once.

    Raises:
        UserError: More threads than there are cores for.
    """
    most = resolve_threads(asked, num_workers)
    if most == 1:
        return Threads(1)
    others = cores_used_by_others()
    free = free_threads(most, num_workers, others)
    if free == most or others <= OTHERS_ABOVE:
        return Threads(most)
    beside = f"others use {others:.1f} of {usable_cores()} cores"
    if asked == "auto":
        return Threads(free, f"threads=auto: {free} and not {most}, since {beside}")
    return Threads(most, f"threads={asked}: {beside}; threads={free} is likely to be faster")
