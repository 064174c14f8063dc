"""``gru-bench time``: cells and backends against each other, layers alone or the models of tasks. Wiring only."""

import sys
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.commands.measuring import Measuring, tell
from gru_bench.commands.time_tasks import check_given, models_of, runs_of
from gru_bench.commands.train import where
from gru_bench.config.check import check_arguments, check_node, conf_dir, construct, to_node
from gru_bench.errors import UserError
from gru_bench.measure import lanes
from gru_bench.run.timing_plan import ask, refusals
from gru_bench.store.source import open_source
from gru_bench.store.timings import TIMINGS
from gru_bench.store.write import Store


@dataclass(frozen=True, kw_only=True)
class Select:
    """Of which experiment the tasks are timed."""

    experiment: str | int | None


def time(config: DictConfig) -> int:
    """Time what was asked for and print a line for each pair. Returns the exit code: 0, 1 where a pair failed, or 2."""
    try:
        return measure(config)
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("time", error), file=sys.stderr)
        return 2


def measure(config: DictConfig) -> int:
    """Check, then wait for the machine, then measure."""
    node, hydra = to_node(config), HydraConfig.get()
    choices = {key: str(value) for key, value in hydra.runtime.choices.items() if value is not None}
    folders = [Path(one.path) for one in hydra.runtime.config_sources if one.schema == "file"] or [conf_dir()]
    overrides = [text.lstrip("+") for text in hydra.overrides.task]
    given = [text.partition("=")[0] for text in overrides]
    check_arguments(Select, node["select"], "select.", "gru-bench time")
    check_node(node["tracking"], "tracking")
    asked = ask(node, choices["budget"], folders, given)
    store: Store = construct(node["tracking"])
    selected = node["select"]["experiment"]
    if selected is not None and "grid" in choices:
        raise UserError(f"experiment={selected}, grid={choices['grid']}: sizes come from one of them; valid: either")
    experiment = TIMINGS if selected is None else str(selected)
    groups = []
    if selected is not None:
        check_given(experiment, overrides, asked)
        groups = runs_of(open_source(store.uri), experiment, asked, given)
    store.open()
    with lanes.alone("gru-bench time", tell):  # whatever computes anything comes after this
        # models are checked where they are timed, each at its own sizes
        models = models_of(open_source(store.uri), groups, asked, given)
        refused = {} if models else refusals(asked)
        measuring = Measuring(asked, store, choices.get("grid", experiment), refused)
        if models:
            measuring.models(models)
        else:
            measuring.layers()
    stored = f"gru-bench report experiment={measuring.experiment}{where(store.uri)}"
    print(f"{measuring.summary()}; stored in experiment {measuring.experiment}: {stored}")
    return 1 if measuring.counted.get("failed") else 0
