"""Who may import what: the right-hand column of the tree in README.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "gru_bench"
EVERYONE = {"gru_bench.errors", "gru_bench.process", "gru_bench.redact", "gru_bench.spreadsheet"}
HEAVY = {
    "torch",
    "mlflow",
    "hydra",
    "omegaconf",
    "datasets",
    "pandas",
    "seaborn",
    "matplotlib",
    "sacrebleu",
    "seqeval",
    "tokenizers",
    "markdown_it",
    "sklearn",
}

ALLOWED: dict[str, set[str]] = {
    "errors.py": set(),
    "cache_dir.py": set(),
    "process.py": set(),
    "redact.py": set(),
    "spreadsheet.py": set(),
    "losses.py": {"torch"},
    "metrics.py": {"torch", "sacrebleu", "seqeval"},
    "cells": {"torch", "gru_bench.cells"},
    "backends": {"torch", "gru_bench.cells", "gru_bench.backends", "gru_bench.cache_dir"},
    "nn": {
        "torch",
        "gru_bench.nn",
        "gru_bench.backends.base.marked",
        "gru_bench.backends.native",
    },
    "models": {"torch", "gru_bench.cells.base", "gru_bench.backends", "gru_bench.models"},
    "data": {
        "torch",
        "datasets",
        "tokenizers",
        "gru_bench.data",
        "gru_bench.losses",
        "gru_bench.cache_dir",
    },
    "tasks": {"torch", "gru_bench.data", "gru_bench.losses", "gru_bench.metrics", "gru_bench.tasks"},
    "baselines": {"torch", "sklearn", "gru_bench.data", "gru_bench.tasks", "gru_bench.baselines"},
    "measure": {
        "torch",
        "gru_bench.measure",
        "gru_bench.backends",
        "gru_bench.cells.base",
        "gru_bench.models.encoder",
        "gru_bench.models.streams",
        "gru_bench.cache_dir",
    },
    "probes": {
        "torch",
        "gru_bench.probes",
        "gru_bench.cells.base",
        "gru_bench.backends.base",
        "gru_bench.backends.loop",
        "gru_bench.models",
        "gru_bench.tasks.base",
        "gru_bench.tasks.objectives",
        "gru_bench.losses",
    },
    "timing": {
        "torch",
        "gru_bench.timing",
        "gru_bench.backends",
        "gru_bench.cells.base",
        "gru_bench.models",
        "gru_bench.measure",
        "gru_bench.statistics.ratios",
    },
    "training": {
        "torch",
        "gru_bench.tasks.base",
        "gru_bench.training",
        "gru_bench.models.several",
        "gru_bench.cache_dir",
    },
    "statistics": {"gru_bench.statistics"},
    "store": {"mlflow", "pandas", "gru_bench.store", "gru_bench.cache_dir", "gru_bench.kept.folder"},
    "report": {
        "markdown_it",
        "pandas",
        "seaborn",
        "matplotlib",
        "gru_bench.store.read",
        "gru_bench.store.schema",
        "gru_bench.report",
    },
    "compare": {
        "pandas",
        "gru_bench.store.read",
        "gru_bench.store.schema",
        "gru_bench.statistics",
        "gru_bench.report",
        "gru_bench.compare",
    },
    "sections": {
        "pandas",
        "seaborn",
        "matplotlib",
        "gru_bench.store.read",
        "gru_bench.store.schema",
        "gru_bench.report",
        "gru_bench.statistics",
        "gru_bench.compare",
        "gru_bench.sections",
    },
    "answer": {
        "hydra",
        "omegaconf",
        "gru_bench.answer",
        "gru_bench.cache_dir",
        "gru_bench.compare",
        "gru_bench.config",
        "gru_bench.report",
        "gru_bench.sections.choose",
        "gru_bench.statistics.looks",
    },
    "config": {"hydra", "omegaconf", "gru_bench.config"},
    "run": {
        "torch",
        "hydra",
        "omegaconf",
        "gru_bench.run",
        "gru_bench.cache_dir",
        "gru_bench.config",
        "gru_bench.store.connect",
        "gru_bench.store.done",
        "gru_bench.store.reap",
        "gru_bench.store.source",
        "gru_bench.store.write",
        "gru_bench.store.private",
        "gru_bench.store.signals",
        "gru_bench.store.schema",
        "gru_bench.kept",
        "gru_bench.training",
        "gru_bench.measure",
        "gru_bench.tasks.base",
        "gru_bench.tasks.reader",
        "gru_bench.models",
        "gru_bench.backends",
        "gru_bench.statistics.looks",
        "gru_bench.statistics.ratios",
        "gru_bench.probes",
        "gru_bench.timing",
    },
    "kept": {
        "torch",
        "mlflow",
        "pandas",
        "gru_bench.kept",
        "gru_bench.config",
        "gru_bench.run",
        "gru_bench.store",
        "gru_bench.tasks.reader",
        "gru_bench.tasks.reading",
        "gru_bench.training",
    },
    "export": {
        "torch",
        "gru_bench.export",
        "gru_bench.cells",
        "gru_bench.backends.base",
        "gru_bench.backends.loop",
        "gru_bench.models",
    },
    "commands": {"torch", "hydra", "omegaconf", "gru_bench"},
    "__main__.py": {"gru_bench.commands"},
}
"""Rooms against the heavy packages and the rooms of ours that they may import; everything else is free."""


def modules(path: Path) -> set[str]:
    """Absolute names that a file imports, at any depth of the code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def breaks(name: str, allowed: set[str]) -> bool:
    """Whether importing ``name`` breaks a rule."""
    if name.split(".")[0] not in HEAVY | {"gru_bench"} or name == "gru_bench":  # the package itself holds nothing
        return False
    return not any(name == rule or name.startswith(f"{rule}.") for rule in allowed | EVERYONE)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    if room == "__init__.py":
        ours = {name for name in modules(path) if name.startswith("gru_bench")}
        assert ours == {"gru_bench.kept.load.load", "gru_bench.kept.load.Kept"}  # late, as the last test sees
        return
    wrong = sorted(name for name in modules(path) if breaks(name, ALLOWED[room]))
    assert not wrong, f"{path.relative_to(REPOSITORY)} imports {wrong}"


def test_the_rule_itself_can_fail() -> None:
    assert breaks("gru_bench.cells.gru.GRU", ALLOWED["sections"])
    assert breaks("torch", ALLOWED["sections"])
    assert breaks("mlflow.tracking", ALLOWED["training"])
    assert breaks("gru_bench.backends.loop", ALLOWED["cells"])
    assert breaks("gru_bench.commands.messages", ALLOWED["run"])
    assert breaks("gru_bench.store.read", ALLOWED["run"])
    assert breaks("gru_bench.measure.trace", ALLOWED["backends"])
    assert breaks("pandas", ALLOWED["commands"])
    assert not breaks("torch.nn", ALLOWED["cells"])
    assert not breaks("math", ALLOWED["cells"])


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "gru_bench").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_backend_or_model_names_a_cell(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    if room in ("backends", "models", "measure"):
        named = {name for name in modules(path) if name.startswith("gru_bench.cells.")}
        assert all(name.startswith("gru_bench.cells.base") for name in named)


def test_the_modules_bring_torch_and_numpy_alone() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import gru_bench.nn; "
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*(tops - sys.stdlib_module_names - {'gru_bench', 'torch', 'numpy', 'filelock'})); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("gru_bench", "torch"),
        ("gru_bench", "hydra"),
        ("gru_bench.sections.summary", "torch"),
        ("gru_bench.training.trainer", "mlflow"),
        ("gru_bench.commands.cli", "torch"),
        ("gru_bench.commands.train", "torch"),
        ("gru_bench.run.sweep", "torch"),
        ("gru_bench.run.sweep", "mlflow"),
        ("gru_bench.run.launching", "torch"),
    ],
)
def test_what_an_import_really_pulls_in(module: str, absent: str) -> None:
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
