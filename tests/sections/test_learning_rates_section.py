"""The section on learning rates: whose validation scores it shows, and what it says for the task's yaml."""

import frames
import pytest
import yaml
from rendering import render

from gru_bench.config.rates import Tuning
from gru_bench.store.read import Results

SCORES = {
    "rnn": {0.001: [0.4, 0.6], 0.002: [0.3, 0.3], 0.004: [0.2, 0.2]},
    "lstm": {0.001: [0.5, 0.5], 0.002: [0.7, 0.8], 0.004: [0.6, 0.6]},
    "gru": {0.001: [0.5, 0.5], 0.002: [0.7, 0.7], 0.004: [0.9, 0.9]},
}


def grid(scores: dict[str, dict[float, list[float]]] = SCORES, *, failed: tuple[str, float] | None = None) -> Results:
    """A sweep over rates whose test scores would choose otherwise."""
    runs, values = [], []
    for cell, rates in scores.items():
        for rate, by_seed in rates.items():
            for seed, score in enumerate(by_seed):
                facts = {"primary_metric": "accuracy", "primary_unit": "share", "primary_higher_is_better": True}
                row = frames.run_row(cell, seed, "words", **facts, learning_rate=rate, group_key=f"{cell}{rate}")
                row["run_id"] = f"{cell}-{rate}-{seed}"
                row["job"] = len(runs)
                if (cell, rate) == failed and seed == 1:
                    row["status"] = "failed"
                runs.append(row)
                for split, value in (("valid", score), ("test", 1 - score)):
                    values.append(frames.value_row(row["run_id"], split, "accuracy", value, higher_is_better=True))
    return frames.make_results(runs, values, [])


def block(markdown: str) -> dict:
    """The yaml that the section offers."""
    return yaml.safe_load(markdown.split("```yaml\n")[1].split("```")[0])


def test_validation_decides_by_the_mean_over_seeds() -> None:
    told = render("learning_rates", grid()).markdown
    rows = {
        line.split()[1]: [cell.strip() for cell in line.split("|")[2:-1]]
        for line in told.splitlines()
        if "| 0." in line
    }
    assert rows == {
        "rnn": ["0.5000", "0.3000", "0.2000", "0.001", "0, 1"],
        "lstm": ["0.5000", "0.7500", "0.6000", "0.002", "0, 1"],
        "gru": ["0.5000", "0.7000", "0.9000", "0.004", "0, 1"],
    }
    assert "rnn: best at the smallest rate tried" in told
    assert "gru: best at the largest rate tried" in told
    assert "lstm: best" not in told


def test_the_yaml_that_it_offers_is_what_a_task_takes() -> None:
    node = block(render("learning_rates", grid()).markdown)
    tuning = Tuning(**node["tuning"])
    assert (tuning.seeds, tuning.rates, tuning.scores["lstm"]) == ([0, 1], [0.001, 0.002, 0.004], [0.5, 0.75, 0.6])
    assert tuning.chosen() == node["trainer"]["learning_rate"] == {"rnn": 0.001, "lstm": 0.002, "gru": 0.004}


def test_a_rate_with_a_failed_run_has_no_score() -> None:
    node = block(render("learning_rates", grid(failed=("gru", 0.004))).markdown)
    assert node["tuning"]["scores"]["gru"] == [0.5, 0.7, None]
    assert node["trainer"]["learning_rate"]["gru"] == 0.002


def test_lower_may_be_better() -> None:
    results = grid()
    results.runs["primary_higher_is_better"] = False
    node = block(render("learning_rates", results).markdown)
    assert node["tuning"]["best"] == "lowest"
    assert node["trainer"]["learning_rate"] == {"rnn": 0.004, "lstm": 0.001, "gru": 0.001}


def test_a_cell_without_all_rates_is_not_offered() -> None:
    node = block(render("learning_rates", grid(SCORES | {"gru": {0.001: [0.5, 0.5]}})).markdown)
    assert list(node["trainer"]["learning_rate"]) == ["rnn", "lstm"]


def test_other_settings_make_rows_of_their_own() -> None:
    results = grid()
    few = results.runs["run_id"].str.startswith("gru-0.004")
    results.runs.loc[few, "batch_size"] = 8
    told = render("learning_rates", results).markdown
    assert "| gru (" in told
    assert "gru" not in block(told)["trainer"]["learning_rate"]


@pytest.mark.parametrize("results", [frames.small(), frames.make_results([], [], [])])
def test_without_a_choice_there_is_nothing_to_say(results: Results) -> None:
    assert render("learning_rates", results).markdown == ""
