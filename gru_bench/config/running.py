"""When a sweep ends, and how a run is carried out: keys of ``conf/train.yaml`` that are no part of a run or its key."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from annotated_types import Ge, Gt

Only = Literal["missing", "failed", "stale", "all"]


@dataclass(frozen=True, kw_only=True)
class Until:
    """The keys of ``conf/train.yaml`` for a sweep that adds runs. They are no part of a run, nor of its key.

    Attributes:
        until: ``decided``, ``tried``, ``horizon``, or null for the runs that the sweep lists.
        max_hours: After which no run is started; null for no limit.
        max_seeds: Most seeds of one row of a sweep until it is decided.
    """

    until: Literal["decided", "tried", "horizon"] | None = None
    max_hours: Annotated[float, Gt(0)] | None = None
    max_seeds: Annotated[int, Ge(5)] = 27


@dataclass(frozen=True, kw_only=True)
class Running:
    """Keys that change no result.

    Attributes:
        only: Which jobs of a sweep are run. ``missing``: those without a result. A result is a run that finished, that
            the cell or backend refused (unsupported), or whose loss was lost (diverged). ``failed``: those whose latest
            run, as a report shows it, failed or diverged. ``stale``: those whose result another commit made, or, where
            neither commit is known, another version; code that differed from its commit, then or now, counts as another
            one. ``all``: every one.
        checkpoint_every: Seconds between checkpoints of a run in training; null for none.
        run_timeout: Seconds after which a run is ended; null for no limit.
        stall_timeout: Seconds without a sign of life after which a run is ended; null for no limit.
        seeds_in_batch: Most runs of a sweep that differ in the seed alone and are trained together, in one process.
    """

    only: Only = "missing"
    checkpoint_every: Annotated[float, Ge(0)] | None = 60.0
    run_timeout: Annotated[float, Gt(0)] | None = None
    stall_timeout: Annotated[float, Gt(0)] | None = 1800.0
    seeds_in_batch: Annotated[int, Ge(1)] = 1


RUNNING_KEYS = tuple(field.name for field in fields(Running))
UNTIL_KEYS = tuple(field.name for field in fields(Until))
SWEEP_KEYS = (*UNTIL_KEYS, *RUNNING_KEYS)
"""Plain keys of ``conf/train.yaml`` that are no part of a run."""
