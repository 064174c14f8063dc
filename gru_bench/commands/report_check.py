"""``gru-bench report --check RULES [RESULTS]``: hold results to rules in yaml. Writes nothing."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from gru_bench.commands.report import read_stores, take_keys, take_sections
from gru_bench.commands.report_input import named
from gru_bench.config.check import check_arguments, conf_dir, to_node
from gru_bench.errors import UserError
from gru_bench.report.rules import Rules, hold
from gru_bench.report.view import View

BROKEN = 3
"""Exit code: a rule is broken; the same as that of --diff."""


def check(config: DictConfig, rules: str, results: str | None) -> int:
    """Print a line for each rule; returns 3 where one is broken, else 0.

    Args:
        config: Of the verb ``report``: chooses the runs where no results are named.
        rules: A yaml file, or the name of one in ``conf/check``.
        results: What :func:`~gru_bench.commands.report_input.named` takes; None for the store's.

    Raises:
        UserError: An unknown rule, a value that does not fit, or results that cannot be read.
    """
    held_to = read_rules(rules)
    node = to_node(config)
    take_sections(node)
    keys, select, uri = take_keys(node)
    if results is not None and keys.also:
        raise UserError("also: not with results that are named; valid: without also, or without RESULTS")
    found = named(results, uri, select) if results is not None else read_stores(uri, select, keys.also)
    held = hold(View(found, accept=frozenset(keys.accept)), held_to)
    for rule in held:
        print(rule.line())
    broken = sum(bool(rule.places) for rule in held)
    print(f"{broken} of {len(held)} rules broken" if broken else f"all {len(held)} rules hold")
    return BROKEN if broken else 0


def read_rules(name: str) -> Rules:
    """The rules of a yaml file.

    Raises:
        UserError: No such file, no rules in it, one that does not exist, or a value that does not fit.
    """
    shipped = conf_dir() / "check"
    path = Path(name).expanduser()
    if not path.is_file():
        path = shipped / f"{name}.yaml"
    if not path.is_file():
        valid = ", ".join(sorted(file.stem for file in shipped.glob("*.yaml")))
        raise UserError(f"--check {name}: no such file of rules; valid: a yaml file, or {valid}")
    try:
        rules: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"--check {name}: cannot be read ({error})") from error
    if not isinstance(rules, dict) or not rules:
        raise UserError(f"--check {name}: holds no rules; see {shipped / 'default.yaml'}")
    given = {str(rule): value for rule, value in rules.items()}
    check_arguments(Rules, given, "", f"--check {name}")
    found = Rules(**given)
    if not any(vars(found).values()):
        raise UserError(f"--check {name}: every rule is off, so nothing would be checked")
    return found
