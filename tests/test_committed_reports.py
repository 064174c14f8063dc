"""The reports that the repository carries: what their tables must show for the demo to teach something."""

import pandas as pd
import pytest
from conftest import REPOSITORY, yaml_names
from omegaconf import OmegaConf

REPORTS = REPOSITORY / "reports"


@pytest.fixture(scope="module")
def quick() -> pd.DataFrame:
    return pd.read_csv(REPORTS / "quick" / "results.csv", keep_default_na=False)


def planned(experiment: str, key: str) -> list[str]:
    params = OmegaConf.load(REPOSITORY / "conf" / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    return str(params[key]).split(",")


def scores(table: pd.DataFrame, task: str, metric: str) -> pd.Series:
    rows = table[(table["task"] == task) & (table["split"] == "test") & (table["slice"] == "")]
    return rows[rows["metric"] == metric].groupby("cell")["value"].mean()


def test_quick_ran_as_planned(quick: pd.DataFrame) -> None:
    runs = quick.drop_duplicates("run_id")
    assert set(runs["status"]) == {"finished"}
    assert len(runs) == 3 * len(planned("quick", "cell")) * len(planned("quick", "task"))
    assert set(planned("quick", "task")) <= set(yaml_names("task"))
    assert not runs["dirty"].astype(str).eq("True").any()


@pytest.mark.parametrize("task", planned("quick", "task"))
def test_quick_teaches_something(quick: pd.DataFrame, task: str) -> None:
    facts = quick[quick["task"] == task].iloc[0]
    metric = facts["primary_metric"]
    sign = 1 if str(facts["primary_higher_is_better"]) == "True" else -1
    by_cell = scores(quick, task, metric)
    trivial = scores(quick, task, f"trivial_{metric}").iloc[0]
    best = (sign * by_cell).max()
    assert best - sign * trivial >= float(facts["beats_trivial_by"]), "the best cell does not beat the trivial guess"
    worst_family = min(sign * by_cell[family] for family in ("rnn", "lstm", "gru"))
    assert worst_family < sign * float(facts["ceiling"]), "every family is at the ceiling"


@pytest.mark.parametrize("experiment", ["quick", "article"])
def test_a_committed_report_is_whole(experiment: str) -> None:
    folder = REPORTS / experiment
    text = (folder / "report.md").read_text(encoding="utf-8")
    figures = {part.split(")")[0] for part in text.split("](figures/")[1:]}
    assert figures
    for name in figures:
        assert (folder / "figures" / name).is_file()
        assert (folder / "figures" / name.replace(".png", ".svg")).is_file()
    for cell in planned(experiment, "cell"):
        assert f"| {cell} " in text
