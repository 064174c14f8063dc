"""What programs of this folder that take turns have around their figures: options, warnings, and what they ran on."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import gru_bench
from gru_bench.errors import UserError
from gru_bench.measure.environment import OTHERS_ABOVE, environment, git_state, machine_id
from gru_bench.statistics.ratios import FEWEST


def take_names(options: argparse.Namespace, key: str, valid: Iterable[str]) -> None:
    """Make a list, each name once, of an option that is names with commas between them.

    Raises:
        UserError: One that is not valid.
    """
    given = list(dict.fromkeys(getattr(options, key).split(",")))
    unknown = [name for name in given if name not in valid]
    if unknown:
        raise UserError(f"--{key}: unknown {', '.join(map(repr, unknown))}; valid: {', '.join(valid)}")
    setattr(options, key, given)


def require_rounds(rounds: int) -> None:
    """Refuse fewer than an interval needs.

    Raises:
        UserError: How many those are.
    """
    if rounds < FEWEST:
        raise UserError(f"--rounds={rounds}: a ratio needs at least {FEWEST}")


def warn_of_others(cores: float) -> None:
    """Say on standard error that others computed meanwhile, where that is enough to be seen in the times."""
    if cores > OTHERS_ABOVE:
        print(f"others used {cores:.1f} cores at the start: do not trust these times", file=sys.stderr)


def facts(others_cores: float) -> dict[str, Any]:
    """The machine, the versions and the code that figures are of."""
    commit, dirty = git_state(Path(gru_bench.__file__).parent)
    return {
        "machine": machine_id(),
        "torch": torch.__version__,
        "commit": commit,
        "dirty": dirty,
        "others_cores": round(others_cores, 2),
        "environment": environment(),
    }
