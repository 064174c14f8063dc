"""How far a program is from the model that it is made of, and how far that model is from itself in 64 bits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-5
"""Largest difference, over the largest value of the output (at least 1), that counts as rounding of float32."""
OWN_ROUNDINGS = 10
"""Or so many times the difference that the model itself makes between float32 and float64: ReLU may let values grow,
and some weights make a network that enlarges every rounding."""
MOST = 1e30
"""Beyond it float32 is about to overflow: such values, which ReLU can reach, are counted and not compared."""


@dataclass
class Errors:
    """The worst of all comparisons.

    Attributes:
        absolute: Largest difference from the source.
        relative: Largest difference over the largest value of the same output at the same step.
        own: The same as ``relative``, of the source against its own equations in float64.
        excess: The worst difference, in shares of what is allowed there; above 1 is a failure.
        labels: Predicted labels that were compared, and ``different``: those that are not the source's.
        ties: Of the different ones, those between two scores that are no further apart than what is allowed.
        values: Numbers that were compared.
        left_out: Numbers that are not finite in the source, or nearly not.
    """

    absolute: float = 0.0
    relative: float = 0.0
    own: float = 0.0
    excess: float = 0.0
    labels: int = 0
    different: int = 0
    ties: int = 0
    values: int = 0
    left_out: int = 0

    def see(self, found: Tensor, source: Tensor, exact: Tensor | None, *, is_scores: bool = False) -> None:
        """Compare one output of one step or sequence.

        Args:
            found: The program's.
            source: The model's.
            exact: Of the model's equations in float64; None where that is not asked.
            is_scores: Whether the last dimension has a score for each label.
        """
        if found.shape != source.shape:
            self.excess = float("inf")
            return
        found, source = found.double(), source.double()
        good = source.abs() < MOST if exact is None else (source.abs() < MOST) & (exact.abs() < MOST)
        self.left_out += int((~good).sum())
        self.values += int(good.sum())
        if not bool(good.any()):
            return
        largest = float(source[good].abs().max())
        worst = worst_of(found[good], source[good])
        own = 0.0 if exact is None else worst_of(source[good], exact[good])
        allowed = max(TOLERANCE * max(1.0, largest), OWN_ROUNDINGS * own)
        self.absolute = max(self.absolute, worst)
        self.relative = max(self.relative, worst / max(largest, torch.finfo(torch.float32).tiny))
        self.own = max(self.own, own / max(largest, torch.finfo(torch.float32).tiny))
        self.excess = max(self.excess, worst / allowed)
        if is_scores and source.shape[-1] > 1 and bool(good.all()):
            self.see_labels(found.flatten(0, -2), source.flatten(0, -2), allowed)

    def see_labels(self, found_NC: Tensor, source_NC: Tensor, allowed: float) -> None:
        """Compare the largest score's place in each row."""
        mine_N, theirs_N = found_NC.argmax(dim=1), source_NC.argmax(dim=1)
        different_N = mine_N != theirs_N
        gap_N = source_NC.amax(dim=1) - source_NC.gather(1, mine_N[:, None])[:, 0]
        self.labels += len(mine_N)
        self.different += int(different_N.sum())
        self.ties += int((different_N & (gap_N <= 2 * allowed)).sum())

    @property
    def holds(self) -> bool:
        """Whether all that was compared is the same but for rounding."""
        return self.excess <= 1 and self.different == self.ties and self.values > 0

    def as_json(self) -> dict[str, Any]:
        """What ``export.json`` keeps."""
        return {
            "worst_absolute_error": self.absolute,
            "worst_relative_error": self.relative,
            "source_float32_against_float64": self.own,
            "share_of_tolerance": self.excess,
            "labels": self.labels,
            "labels_different": self.different,
            "labels_tied": self.ties,
            "values_compared": self.values,
            "values_not_finite": self.left_out,
        }


def worst_of(one: Tensor, other: Tensor) -> float:
    """Largest difference; infinite where one is no number."""
    difference = (one - other).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")
