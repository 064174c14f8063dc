"""Hydra's plugin for the sweeps of gru-bench: it launches what ``gru_bench.run`` has planned, in one round or several.

Hydra looks for plugins in the top-level package ``hydra_plugins`` alone, and imports all of them whenever it starts: so
this file holds no more than Hydra needs.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore


@dataclass
class RoundsSweeperConf:
    """``hydra/sweeper=rounds``: the default of ``gru-bench train``.

    Attributes:
        params: What varies, by key, as Hydra's basic sweeper has it.
        seeds: How many seeds, from 0: one number, or a mapping by cell and ``default``. Null: the key ``seed`` decides.
        trials: What each row tries first, with ``until=tried`` and ``until=horizon``; see ``config/search.py``.
        horizon: Over what ``until=horizon`` looks for the longest lag; likewise.
    """

    _target_: str = "hydra_plugins.gru_bench_rounds.RoundsSweeper"
    params: dict[str, Any] | None = field(default_factory=dict)
    seeds: Any = None
    trials: Any = None
    horizon: Any = None


ConfigStore.instance().store(group="hydra/sweeper", name="rounds", node=RoundsSweeperConf, provider="gru_bench")


class RoundsSweeper(BasicSweeper):
    """Launches the jobs that the sweep's callback has planned; its launcher keeps warm workers from round to round."""

    def __init__(self, params: dict[str, Any] | None, seeds: Any, trials: Any, horizon: Any) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        """Launch them; the arguments are already in the plan."""
        from gru_bench.run.launching import launch_jobs

        assert self.launcher is not None
        return launch_jobs(self.launcher)
