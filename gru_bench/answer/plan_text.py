"""The plan in words: what will be done, how long it takes at most, and what the time left out."""

import math

from gru_bench.answer.asked import Keys
from gru_bench.answer.record import Record
from gru_bench.answer.sizing import Size, Sized, timing_s


def plan_lines(record: Record, sized: Sized, keys: Keys, spent_s: float) -> list[str]:
    """What a plan says, a line each.

    Args:
        record: With the plan.
        sized: How it was found.
        keys: Of the call.
        spent_s: Seconds that went before it was made.
    """
    size, hours = sized.size, keys.max_hours
    runs = ", ".join(f"{cell} {brief(record.run_s[cell][2])}" for cell in keys.cells)
    at_once = f"{record.workers} at once" if record.workers > 1 else "one at a time"
    found = [
        f"plan {record.name}, for max_hours={hours:g}; a run takes at most {runs} (a pilot's estimate, without early "
        f"stopping), {at_once}, backend={record.backend}:",
        f"  1. learning rates: {rates_text(record, size)}",
        f"  2. seeds: {size.seeds} for each cell, then more until LSTM and GRU are decided, up to {keys.max_seeds}, as "
        "far as the time goes",
        f"  3. speed: {speed_text(size, len(keys.cells))}",
        "  4. report, and the answer",
        time_text(sized, hours),
    ]
    if sized.fits and size != sized.fullest:
        more = hours_for(sized.fullest_s + spent_s)
        found.append(f"  cut to fit: {left_out(size, sized.fullest)}; max_hours={more} would have it")
    if not sized.fits:
        found.append(
            f"  max_hours={hours:g} does not hold even the least that can decide ({size.seeds} seeds for each cell); "
            f"max_hours={hours_for(sized.seconds + spent_s)} would. Whole runs are begun as long as there is time, and "
            "none of them is cut short; what is missing then is said"
        )
    return found


def time_text(sized: Sized, hours: float) -> str:
    """How long it takes; of a plan that an earlier call began, that part of it is done."""
    if sized.fits and sized.seconds > 3600 * hours:
        return f"  at most {brief(sized.seconds)} less what is done, of which this call has {brief(3600 * hours)}"
    more = f", {brief(3600 * hours)} in all with the seeds that may be added" if sized.fits else ""
    return f"  at most {brief(sized.seconds)} until the first answer{more}"


def rates_text(record: Record, size: Size) -> str:
    """What is tried, or why nothing is."""
    if not record.rates:
        return "the one that is given, for all cells or for each; none is tried"
    if size.rates == 1:
        return "that of the task's yaml; none is tried"
    seeds = "1 seed" if size.trial_seeds == 1 else f"{size.trial_seeds} seeds"
    listed = ", ".join(f"{rate:g}" for rate in record.rates)
    return f"{listed}, each on {seeds}, the same for every cell; validation data choose"


def speed_text(size: Size, cells: int) -> str:
    """Whether it is timed."""
    if not size.timed:
        return "not timed"
    return f"training, whole batches and single steps, in turns; about {brief(timing_s(size, cells))}"


def left_out(size: Size, fullest: Size) -> str:
    """How the plan falls short of the fullest one."""
    parts = []
    if size.trials < fullest.trials:
        parts.append(f"{size.trials} trials of learning rates for each cell instead of {fullest.trials}")
    if size.seeds < fullest.seeds:
        parts.append(f"{size.seeds} seeds to begin with instead of {fullest.seeds}")
    if not size.timed:
        parts.append("speed is not timed")
    return ", ".join(parts)


def hours_for(seconds: float) -> str:
    """``0.4``: hours that hold so many seconds, rounded up to two digits."""
    hours = max(seconds, 1.0) / 3600
    step = 10.0 ** (math.floor(math.log10(hours)) - 1)
    return f"{math.ceil(hours / step - 1e-9) * step:g}"


def brief(seconds: float) -> str:
    """``3 s``, ``12 min`` or ``3.5 h``, rounded up."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 6000 else f"{math.ceil(seconds / 360) / 10:g} h"
