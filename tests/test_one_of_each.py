"""What CONTRIBUTING promises: one new file and one new yaml, no edit elsewhere. In a copy, with one of each kind added.

``tests/one_of_each`` holds the additions, each where it would stand: a cell with an option of its own, its equations, a
backend, a task of a known and one of a new kind, a probe, a section, and an optimizer. The copy's own tests must find
each by its yaml, hold, and not mind it; the command must run all of them together.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

ADDED = REPOSITORY / "tests" / "one_of_each"
ROOMS = ("gru_bench", "conf", "tests", "hydra_plugins", "bench")
NAMES = sorted(path.stem for path in (ADDED / "conf").glob("*/*.yaml"))
FILES = [
    "tests/cells/test_cells.py",
    "tests/backends/test_backends.py",
    "tests/measure/test_parity.py",
    "tests/tasks/test_tasks.py",
    "tests/config/test_kinds.py",
    "tests/config/test_rates.py",
    "tests/data/test_unknown.py",
    "tests/probes",
    "tests/sections/test_sections.py",
    "tests/training/test_optimizers.py",
    "tests/commands/test_report.py",
    "tests/test_imports.py",
]
OF_ALL = ["golden", "one_to_one", "orders", "own_name", "something_to_compare", "compared_somewhere"]
"""Parts of names of tests that look at all files of a kind at once."""
LIMIT_S = 600


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with the additions, none of which takes the place of a file."""
    folder = tmp_path_factory.mktemp("copy")
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", ADDED.name))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for file in filter(Path.is_file, ADDED.rglob("*")):
        target = folder / file.relative_to(ADDED)
        if "__pycache__" not in target.parts:
            assert not target.exists(), f"{target.name} is there already"
            shutil.copy(file, target)
    return folder


def run(copy: Path, folder: Path, *arguments: str) -> str:
    """Run Python on the copy in a folder, and give what it prints."""
    environment = os.environ | {"PYTHONPATH": str(copy), "GRU_BENCH_CACHE": str(copy / "cache")}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    return ran.stdout


@pytest.mark.slow
def test_the_tests_find_what_is_added_and_hold(copy: Path) -> None:
    chosen = " or ".join([*NAMES, *OF_ALL])
    out = run(copy, copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-m", "not slow", *FILES, "-k", chosen)
    for name in NAMES:
        assert re.search(rf"\[.*\b{name}\b.*\] PASSED", out) or name == "largest_weight", f"no test found {name}"
    assert "test_each_probe_is_found_under_its_own_name PASSED" in out
    assert "test_golden_markdown PASSED" in out


@pytest.mark.slow
def test_the_command_runs_all_of_them_together(copy: Path, tmp_path: Path) -> None:
    train = "cell=leaky cell.leak=0.5 task=echo backend=byhand probe=[largest_weight] optimizer=nadam threads=1"
    limits = "trainer.max_steps=4 trainer.eval_every=2 task.num_eval=8 task.levels=[5] task.beyond=[6]"
    run(copy, tmp_path, "-m", "gru_bench", "train", "-m", *train.split(), *limits.split())
    run(copy, tmp_path, "-m", "gru_bench", "report", "experiment=adhoc", "output=made")
    details = (tmp_path / "made" / "details.md").read_text(encoding="utf-8")
    assert "## Headcount\n\n| cell  | finished runs |" in details
    assert "largest_weight_end" in (tmp_path / "made" / "results.csv").read_text(encoding="utf-8")
