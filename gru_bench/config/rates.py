"""Learning rates by family: what a task's yaml says of the trials that chose them."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Len

from gru_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Trials that chose the learning rates of a task: the same rates for each family, judged on validation data.

    Attributes:
        metric: The validation score that decided.
        best: Whether the highest or the lowest is best.
        seeds: Seeds of the trials; a score is the mean over them. None of the test data was looked at.
        at: Overrides under which the trials ran, where they were not the yaml's own settings; null for none.
        rates: The grid.
        scores: By family, one score a rate; null where training failed.
    """

    metric: str
    best: Literal["highest", "lowest"]
    seeds: Annotated[list[Annotated[int, Ge(0)]], Len(1)]
    at: str | None
    rates: Annotated[list[Annotated[float, Gt(0)]], Len(2)]
    scores: dict[str, list[float | None]]

    def chosen(self) -> dict[str, float]:
        """The best rate of each family; of equally good ones the smallest."""
        sign = 1 if self.best == "highest" else -1
        found = {}
        for family, scores in self.scores.items():
            ended = zip(scores, self.rates, strict=True)
            judged = [(sign * s, -rate) for s, rate in ended if s is not None and math.isfinite(s)]
            found[family] = -max(judged)[1]
        return found


def rate_of(rate: Any, family: str) -> Any:
    """One family's learning rate out of ``{rnn: 0.1, lstm: 0.2, gru: 0.2}``; a plain number is for all.

    Raises:
        UserError: The mapping has no rate for the family.
    """
    if not isinstance(rate, dict):
        return rate
    if family not in rate:
        raise UserError(
            f"trainer.learning_rate: it has a rate for each of {', '.join(map(str, rate))}, and none for the family "
            f"{family}; valid: one number, or a number for {family} too"
        )
    return rate[family]
