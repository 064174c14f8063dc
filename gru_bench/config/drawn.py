"""``${drawn:...}``: values drawn at random for one run, the same wherever and whenever the config is composed."""

import math
import random

from gru_bench.errors import UserError


def drawn(trial: int, name: str, low: float, high: float, scale: str = "log") -> float:
    """``${drawn:${seed},rate,0.0003,0.03}``: three digits of a number between two others.

    Args:
        trial: Which draw; the same one gives the same number, to each cell.
        name: Of what is drawn: other names are drawn independently.
        low: Smallest value.
        high: Largest value.
        scale: ``log`` (log-uniform) or ``linear``.

    Raises:
        UserError: An empty range, a scale of another name, or a log-uniform range that is not positive.
    """
    if scale not in ("log", "linear"):
        raise UserError(f"drawn: {name}: scale {scale!r}; valid: log, linear")
    if not low < high or (scale == "log" and low <= 0):
        raise UserError(f"drawn: {name}: {low} to {high}; valid: low < high, and low > 0 where the scale is log")
    share = random.Random(f"{name} {trial}").random()
    value = (
        low + share * (high - low)
        if scale == "linear"
        else math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    )
    return float(f"{value:.3g}")
