"""The keys of ``hydra.sweeper`` for sweeps that search, and their check."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MinLen
from omegaconf import DictConfig, OmegaConf

from gru_bench.config.check import Node, check_arguments
from gru_bench.config.running import Until
from gru_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What each row tries first.

    Attributes:
        rates: Learning rates, ascending; the same for all rows.
        seeds: Of the trials; none that the sweep itself lists.
    """

    rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)]
    seeds: Annotated[list[Annotated[int, Ge(0)]], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """Over what the longest lag is looked for.

    Attributes:
        key: The key of the task that is the lag, such as ``task.lengths``; where it is a list, the lag becomes its only
            item.
        lags: Ascending.
        share: Of the sweep's seeds that must solve a lag.
    """

    key: str
    lags: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)]
    share: Annotated[float, Gt(0), Le(1)] = 0.9


EXAMPLES = {
    "trials": "'hydra.sweeper.trials={rates: [0.002, 0.008], seeds: [100]}'",
    "horizon": "'hydra.sweeper.horizon={key: task.lengths, lags: [10, 20, 40]}'",
}


def check_search(sweeper: DictConfig, until: Until) -> tuple[Trials, Horizon | None]:
    """What a sweep with ``until=tried`` or ``until=horizon`` is to try.

    Args:
        sweeper: The node ``hydra.sweeper``.
        until: Checked.

    Raises:
        UserError: A node is missing, or a value does not fit.
    """
    trials = Trials(**checked(Trials, sweeper, "trials", until))
    ascending(trials.rates, "hydra.sweeper.trials.rates")
    if len(set(trials.seeds)) < len(trials.seeds):
        raise UserError(f"hydra.sweeper.trials.seeds={trials.seeds}: one of them twice; valid: different seeds")
    if until.until != "horizon":
        return trials, None
    horizon = Horizon(**checked(Horizon, sweeper, "horizon", until))
    ascending(horizon.lags, "hydra.sweeper.horizon.lags")
    return trials, horizon


def checked(kind: type[Trials] | type[Horizon], sweeper: DictConfig, name: str, until: Until) -> Node:
    """One node as plain values that fit.

    Raises:
        UserError: It is missing, no mapping, or a value does not fit.
    """
    node: Any = sweeper.get(name)
    if not isinstance(node, DictConfig):
        given = "missing" if node is None else "must be a mapping"
        raise UserError(f"hydra.sweeper.{name}: {given}; until={until.until} needs it, such as {EXAMPLES[name]}")
    values: Any = OmegaConf.to_container(node, resolve=True)
    check_arguments(kind, values, f"hydra.sweeper.{name}.", f"hydra.sweeper.{name}")
    return {str(key): value for key, value in values.items()}


def ascending(values: Sequence[float], where: str) -> None:
    """Refuse a list that does not ascend.

    Raises:
        UserError: It does not.
    """
    if any(after <= before for before, after in itertools.pairwise(values)):
        raise UserError(f"{where}={list(values)}: must ascend; valid: {sorted(set(values))}")
