"""The reports that the repository carries: what their tables must show for the demo to teach something."""

import itertools
import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pandas as pd
import pytest
from conftest import REPOSITORY, yaml_names
from omegaconf import OmegaConf

REPORTS = REPOSITORY / "reports"


@cache
def results(experiment: str) -> pd.DataFrame:
    return pd.read_csv(REPORTS / experiment / "results.csv", keep_default_na=False, low_memory=False)


def sweeper(experiment: str) -> Any:
    return OmegaConf.load(REPOSITORY / "conf" / "experiment" / f"{experiment}.yaml").hydra.sweeper


def planned(experiment: str, key: str) -> list[str]:
    return str(sweeper(experiment).params[key]).split(",")


def planned_seeds(experiment: str, cell: str) -> int:
    seeds = sweeper(experiment).get("seeds")
    return seeds.get(cell, seeds["default"]) if seeds else len(planned(experiment, "seed"))


def scores(table: pd.DataFrame, task: str, metric: str) -> pd.Series:
    rows = table[(table["task"] == task) & (table["split"] == "test") & (table["slice"] == "")]
    return rows[rows["metric"] == metric].groupby("cell")["value"].mean()


@pytest.mark.parametrize("experiment", ["quick", "claims", "real_quick"])
def test_a_sweep_ran_as_planned(experiment: str) -> None:
    runs = results(experiment).drop_duplicates("run_id")
    assert set(runs["status"]) == {"finished"}
    for task, cell in itertools.product(planned(experiment, "task"), planned(experiment, "cell")):
        found = runs[(runs["task"] == task) & (runs["cell"] == cell)]
        assert found["seed"].nunique() == len(found) >= planned_seeds(experiment, cell), (task, cell)
    assert set(runs["task"]) == set(planned(experiment, "task")) <= set(yaml_names("task"))
    assert not runs["dirty"].astype(str).eq("True").any()


@pytest.mark.parametrize(
    ("experiment", "task"), [(name, task) for name in ("quick", "real_quick") for task in planned(name, "task")]
)
def test_a_sweep_teaches_something(experiment: str, task: str) -> None:
    found = results(experiment)
    facts = found[found["task"] == task].iloc[0]
    metric = facts["primary_metric"]
    sign = 1 if str(facts["primary_higher_is_better"]) == "True" else -1
    by_cell = scores(found, task, metric)
    trivial = scores(found, task, f"trivial_{metric}").iloc[0]
    best = (sign * by_cell).max()
    assert best - sign * trivial >= float(facts["beats_trivial_by"]), "the best cell does not beat the trivial guess"
    worst_family = min(sign * by_cell[family] for family in ("rnn", "lstm", "gru"))
    assert worst_family < sign * float(facts["ceiling"]), "every family is at the ceiling"


@pytest.mark.parametrize("experiment", ["quick", "article", "claims", "real_quick"])
def test_a_committed_report_is_whole(experiment: str) -> None:
    folder = REPORTS / experiment
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md")))
    figures = {part.split(")")[0] for part in text.split("](figures/")[1:]}
    assert figures
    for name in figures:
        assert (folder / "figures" / name).is_file()
        assert (folder / "figures" / name.replace(".png", ".svg")).is_file()
    for cell in planned(experiment, "cell"):
        assert f"| {cell} " in text


@pytest.mark.parametrize("experiment", ["quick", "article", "claims", "real_quick"])
def test_git_ignores_no_committed_report(experiment: str) -> None:
    """Reports are ignored unless .gitignore excepts them, and one that git ignores is there for its author alone."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    command = ["git", "check-ignore", "--quiet", "--no-index", f"reports/{experiment}/report.md"]
    code = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False).returncode
    if code > 1:
        pytest.skip("not a git checkout")
    assert code == 1


def test_what_the_readme_links_to_is_there() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert "reports/quick/report.md" in links
    assert not [link for link in sorted(links) if link and not (REPOSITORY / link).is_file()]
