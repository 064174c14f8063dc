"""Learning rates: which one a cell gets, where it comes from, and what a task's yaml records of the trials.

``trainer.learning_rate`` is one number, or a mapping. A mapping is looked up by the cell's own name, then by the name
of its family (whose reference cell was tried), then under ``default``. A cell that finds nothing gets the middle one of
the rates that are there, and its rows state that it was not tuned. The smallest would leave a cell unfinished at the
end of the task's steps and the largest might make it diverge; each would be taken for a property of the cell.
"""

import math
import statistics
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Len

from gru_bench.config.canonical import canonical, digest, without_judgement
from gru_bench.errors import UserError

Node = dict[str, Any]
Origin = Literal["trials", "other settings", "family", "task", "fallback", "user"]
"""Where a rate comes from.

- ``trials``: the cell's own trials, at these very settings
- ``other settings``: the cell's own trials, from which the run differs in size, data, optimizer or another setting
- ``family``: the trials of its family's reference cell
- ``task``: one rate for all cells in the task's yaml; no trials
- ``fallback``: the cell has no rate of its own or of its family
- ``user``: given on the command line or by an experiment
"""

TRIED: tuple[Origin, ...] = ("trials", "other settings", "family")
"""Origins that rest on trials."""

DEFAULT = "default"
"""The name in a mapping for all cells that it does not name."""

DECIDES = ("cell", "task", "data", "model", "hidden_size", "num_layers", "budget", "dtype")
"""What the best rate of a cell depends on, besides the trainer. Backend, device, threads and seed should not matter."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Trials that chose the learning rates of a task: the same rates for each cell, judged on validation data.

    Attributes:
        metric: The validation score that decided.
        best: Whether the highest or the lowest is best.
        seeds: Seeds of the trials; a score is the mean over them. None of the test data was looked at.
        at: Overrides under which the trials ran, where they were not the yaml's own settings; null for none.
        rates: The grid.
        scores: By cell, one score per rate; null where training failed.
        extra: By cell, further rates that were tried for it alone, with their scores. Nothing is chosen from them: a
            cell with more rates to choose from would have an advantage. Null for none.
        settings: By cell, the :func:`tuning_key` of the trials. Runs of another key do not claim to be tuned. Null for
            trials of which it is not known.

    Raises:
        UserError: A cell has not one score per rate, or an extra rate is one of the grid.
    """

    metric: str
    best: Literal["highest", "lowest"]
    seeds: Annotated[list[Annotated[int, Ge(0)]], Len(1)]
    at: str | None
    rates: Annotated[list[Annotated[float, Gt(0)]], Len(2)]
    scores: dict[str, list[float | None]]
    extra: dict[str, dict[Annotated[float, Gt(0)], float | None]] | None = None
    settings: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for cell, scores in self.scores.items():
            if len(scores) != len(self.rates):
                raise UserError(f"tuning.scores.{cell}: {len(scores)} scores; valid: {len(self.rates)}, one per rate")
        for cell, tried in (self.extra or {}).items():
            if common := set(tried) & set(self.rates):
                raise UserError(f"tuning.extra.{cell}: {min(common)} is one of tuning.rates; its score belongs there")

    def chosen(self) -> dict[str, float]:
        """The best rate of each cell; of equally good ones the smallest. A cell that never finished has none."""
        sign = 1 if self.best == "highest" else -1
        found = {}
        for cell, scores in self.scores.items():
            ended = zip(scores, self.rates, strict=True)
            judged = [(sign * s, -rate) for s, rate in ended if s is not None and math.isfinite(s)]
            if judged:
                found[cell] = -max(judged)[1]
        return found

    def extra_in_words(self, cell: str) -> str:
        """``gru also at 0.032 (mse 0.00028)``: the further rates of one cell; empty for none."""
        tried = (self.extra or {}).get(cell, {})
        shown = [
            f"{rate:g} ({'failed' if score is None else f'{self.metric} {score:g}'})" for rate, score in tried.items()
        ]
        return f"{cell} also at {', '.join(shown)}" if shown else ""


@dataclass(frozen=True)
class Rate:
    """The learning rate of one cell.

    Attributes:
        value: As the config gives it; its type is checked with the trainer's other arguments.
        name: Under which name a mapping has it: the cell's, its family's or ``default``; empty where it has none of
            these; None for a plain number.
        alone: Whether ``default`` is all that the mapping holds.
    """

    value: Any
    name: str | None
    alone: bool = False


def rate_of(rates: Any, cell: str, family: str) -> Rate:
    """One cell's learning rate out of ``{rnn: 0.1, lstm: 0.2, gru: 0.2, gru_article: 0.4}``, or a number for all.

    Raises:
        UserError: The mapping is empty, or holds anything but positive numbers.
    """
    if not isinstance(rates, dict):
        return Rate(rates, None)
    if not rates:
        raise UserError("trainer.learning_rate: an empty mapping; valid: one number, or a number by cell or family")
    for name, value in rates.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise UserError(f"trainer.learning_rate.{name}={value!r}: must be a number greater than 0")
    for name in (cell, family, DEFAULT):
        if name in rates:
            return Rate(rates[name], name, alone=len(rates) == 1)
    return Rate(statistics.median_low(rates.values()), "")


def origin(rate: Rate, cell: str, tuning: Tuning | None, key: str) -> Origin:
    """Where a rate comes from; ``key`` is the run's own :func:`tuning_key`."""
    if rate.name is None:
        return "user"
    if rate.name == DEFAULT:
        return "task" if tuning is None and rate.alone else "fallback"
    if not rate.name:
        return "fallback"
    if tuning is None or tuning.chosen().get(rate.name) != rate.value:
        return "user"  # a shipped yaml names only the rates that its trials chose
    if rate.name != cell:
        return "family"
    return "trials" if (tuning.settings or {}).get(cell) == key else "other settings"


def tuning_key(node: Node, data_path: Any) -> str:
    """Digest of everything that the best learning rate of one cell depends on.

    Args:
        node: A checked config.
        data_path: ``data.path`` as the yaml has it, unresolved, so that the digest does not depend on where a data set
            lies here.
    """
    parts = {name: node[name] for name in DECIDES}
    parts["task"] = without_judgement(node["task"])
    if "path" in (node["data"] or {}):
        parts["data"] = node["data"] | {"path": data_path}
    parts["trainer"] = {name: value for name, value in node["trainer"].items() if name != "learning_rate"}
    return digest({name: canonical(part) for name, part in parts.items()})


def provenance(rate: Rate, cell: str, family: str, tuning: Tuning | None, key: str) -> Node:
    """The facts of a run about where its learning rate comes from; see ``store/schema.py``."""
    found = origin(rate, cell, tuning, key)
    claims = tuning is not None and found == "trials"
    extra = ""
    if tuning is not None and found in TRIED:
        extra = tuning.extra_in_words(cell) or tuning.extra_in_words(family)
    return {
        "learning_rate_from": found,
        "learning_rate_trials": len(tuning.rates) if tuning and claims else 0,
        "learning_rate_trial_seeds": len(tuning.seeds) if tuning and claims else 0,
        "learning_rate_extra": extra,
        "tuning_key": key,
    }


FACTS = ("learning_rate_from", "learning_rate_trials", "learning_rate_trial_seeds", "learning_rate_extra", "tuning_key")


def rate_facts(node: Node) -> Node:
    """What :func:`provenance` found when the config was checked."""
    return {name: node["tuning"][name] for name in FACTS}
