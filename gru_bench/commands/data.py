"""``gru-bench data``: what a task's data is, and what it takes to beat the simplest answers on it. Wiring only."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import gru_bench
from gru_bench.baselines import bag_of_words
from gru_bench.commands import data_text, messages
from gru_bench.config.canonical import canonical, digest
from gru_bench.config.check import Node, check_arguments, check_node, construct, to_node
from gru_bench.config.kinds import check_kind
from gru_bench.measure.environment import git_state
from gru_bench.run.build import make_task
from gru_bench.store.baselines import baseline_rows, baselines_of, store_baseline
from gru_bench.store.source import open_source
from gru_bench.store.write import Store
from gru_bench.tasks.base import Task
from gru_bench.tasks.objectives.classify import Classify

Say = Callable[[str], None]
READ = ("data", "task", "tracking")
"""Nodes of the config that count; a task's yaml sets others, which are those of training."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/data.yaml``."""

    baseline: bool
    again: bool


@dataclass(frozen=True)
class Described:
    """What was found.

    Attributes:
        task: Loaded.
        trivial: What the best constant answer scores on the test rows, by metric.
        valid: What a bag of words scores on the validation rows; None where the task has none.
        test: The same on the test rows.
        run_id: Of its row in the store; nothing where it has none.
    """

    task: Task
    trivial: Mapping[str, float]
    valid: Mapping[str, float] | None = None
    test: Mapping[str, float] | None = None
    run_id: str = ""


def data(config: DictConfig) -> int:
    """Look at the data and print what it is, or bad input in one line. Returns the exit code, 0 or 2."""
    try:
        named = [key for key in config if key in READ or key in Keys.__dataclass_fields__]
        node = to_node(OmegaConf.masked_copy(config, [str(key) for key in named]))
        keys = checked(node)
        store: Store = construct(node["tracking"])
        name = str(HydraConfig.get().runtime.choices["task"])
        describe(node, name, store, baseline=keys.baseline, again=keys.again)
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("data", error), file=sys.stderr)
        return 2
    return 0


def checked(node: Node) -> Keys:
    """The plain keys of a config whose nodes are checked.

    Raises:
        UserError: A key or value that does not fit.
    """
    plain = {key: value for key, value in node.items() if key not in READ}
    check_arguments(Keys, plain, "", "gru-bench data")
    for part in READ:
        check_node(node.get(part) or {}, part)
        check_kind(node.get(part) or {}, part)
    return Keys(**plain)


def describe(
    node: Node, name: str, store: Store | None, *, baseline: bool = True, again: bool = False, say: Say = print
) -> Described:
    """Say what a task's data is, then what a trivial guess and a bag of words score on it.

    Args:
        node: A config whose ``task`` and ``data`` are checked, as of training.
        name: Yaml name of the task.
        store: Where the bag of words is looked for, and kept; None: nowhere.
        baseline: Whether there is to be one.
        again: Whether it is measured though the store has it.
        say: Takes each line.

    Raises:
        UserError: The data cannot be used, or the store not be reached.
    """
    task = make_task(node)
    task.load()
    for line in data_text.about(task, name):
        say(line)
    trivial = task.trivial()
    found = Described(task, trivial)
    if baseline and bag_of_words.serves(task):
        assert isinstance(task, Classify)
        found = with_bag(task, name, store, trivial, again, say)
    for line in data_text.scores(task, trivial, found.valid, found.test):
        say(line)
    return found


def with_bag(
    task: Classify, name: str, store: Store | None, trivial: Mapping[str, float], again: bool, say: Say
) -> Described:
    """The scores of a bag of words: the store's, or measured and stored."""
    recipe = digest(canonical(bag_of_words.recipe(task)))
    if store is not None:
        store.open()
        if not again and (stored := stored_scores(store, task.fingerprint(), recipe)) is not None:
            run_id, features, by_split = stored
            say(data_text.printable(f"bag of words, measured before: {features}"))
            return Described(task, trivial, by_split["valid"], by_split["test"], run_id)
    say("bag of words: training it ...")
    started = time.perf_counter()
    fitted = bag_of_words.fit(task)
    if fitted is None:
        say("bag of words: none, as the training texts hold no words that it could count")
        return Described(task, trivial)
    say(
        f"bag of words: {fitted.features}, {fitted.num_features:,} of them, C = {fitted.strength:g}; "
        + "; ".join([f"{time.perf_counter() - started:.1f} s", *fitted.notes])
    )
    run_id = ""
    if store is not None:
        commit, dirty = git_state(Path(gru_bench.__file__).parent)
        facts = {
            "baseline": bag_of_words.NAME,
            "task": name,
            "data_fingerprint": task.fingerprint(),
            "recipe": recipe,
            "features": fitted.features,
            "strength": fitted.strength,
            "num_features": fitted.num_features,
            "class_weights": "" if task.class_weights is None else str(task.class_weights),
            "primary_metric": task.primary,
            "seconds": fitted.seconds,
            "notes": "; ".join(fitted.notes),
            "git_commit": commit or "",
            "dirty": "" if dirty is None else dirty,
        }
        units = {metric.name: (metric.unit, metric.higher_is_better) for metric in task.metrics}
        scores = {"valid": fitted.valid, "test": fitted.test}
        run_id = store_baseline(store, facts, scores, units, fitted.examples)
    return Described(task, trivial, fitted.valid, fitted.test, run_id)


def stored_scores(store: Store, fingerprint: str, recipe: str) -> tuple[str, str, dict[str, dict[str, float]]] | None:
    """Run id, features and scores by split of what was measured before; None where it was not."""
    source = open_source(store.uri)
    runs = [run for run in baselines_of(source, source.experiments(), {fingerprint}) if run.params["recipe"] == recipe]
    rows: list[dict[str, Any]] = baseline_rows(source, runs[-1:])
    by_split: dict[str, dict[str, float]] = {}
    for row in rows:
        by_split.setdefault(row["split"], {})[row["metric"]] = row["value"]
    return (rows[0]["run_id"], rows[0]["features"], by_split) if {"valid", "test"} <= set(by_split) else None
