"""The section on learning rates: whose validation scores it shows, and what it says for the task's yaml."""

import dataclasses

import frames
import pandas as pd
import pytest
import yaml
from rendering import render, with_facts

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
    text = render("learning_rates", grid()).markdown
    rows = {
        line.split()[1]: [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if "| 0." in line
    }
    assert rows == {
        "rnn": ["0.5000", "0.3000", "0.2000", "0.001", "0, 1"],
        "lstm": ["0.5000", "0.7500", "0.6000", "0.002", "0, 1"],
        "gru": ["0.5000", "0.7000", "0.9000", "0.004", "0, 1"],
    }
    assert "rnn: best at the smallest rate tried" in text
    assert "gru: best at the largest rate tried" in text
    assert "lstm: best" not in text


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
    text = render("learning_rates", results).markdown
    assert "| gru (" in text
    assert "gru" not in block(text)["trainer"]["learning_rate"]


def test_any_cell_and_the_digest_of_its_settings_are_offered() -> None:
    results = grid(SCORES | {"gru_article": {0.001: [0.5, 0.5], 0.002: [0.9, 0.9], 0.004: [0.4, 0.4]}})
    cells = ["rnn", "lstm", "gru", "gru_article"]
    keys = {cell: f"01234567{cells.index(cell):08}" for cell in cells}
    text = render("learning_rates", with_facts(results, tuning_key=results.runs["cell"].map(keys))).markdown
    node = block(text)
    assert node["trainer"]["learning_rate"] == {"rnn": 0.001, "lstm": 0.002, "gru": 0.004, "gru_article": 0.002}
    tuning = Tuning(**node["tuning"])
    assert tuning.settings == keys
    assert tuning.chosen() == node["trainer"]["learning_rate"]
    assert tuning.at is None
    (where,) = [line for line in text.splitlines() if line.startswith("For the task's yaml, tried at ")]
    for setting in ("backend loop", "budget hidden", "num_layers 1", "batch_size 32", "hidden_size 64"):
        assert setting in where


def test_without_a_digest_none_is_offered() -> None:
    assert "settings" not in block(render("learning_rates", grid()).markdown)["tuning"]


def test_two_sizes_are_rows_and_lines_of_their_own() -> None:
    found = []
    for size, scores in ((32, [0.5, 0.7, 0.9]), (64, [0.9, 0.6, 0.1])):
        by_rate = {rate: [score] for rate, score in zip((0.001, 0.002, 0.004), scores, strict=True)}
        results = grid({"lstm": by_rate, "gru": by_rate})
        results.runs["hidden_size_asked"] = results.runs["hidden_size"] = size
        for frame in (results.runs, results.values):
            frame["run_id"] += f"-{size}"
        results.runs["group_key"] += f"-{size}"
        found.append(results)
    runs, values = (pd.concat([getattr(r, name) for r in found], ignore_index=True) for name in ("runs", "values"))
    text = render("learning_rates", Results(runs=runs, values=values, curves=found[0].curves)).markdown
    assert [line.split("|")[1].strip() for line in text.splitlines() if "| 0." in line and "cell" not in line] == [
        "lstm (hidden_size 32)",
        "lstm (hidden_size 64)",
        "gru (hidden_size 32)",
        "gru (hidden_size 64)",
    ]
    nodes = [yaml.safe_load(part.split("```")[0]) for part in text.split("```yaml\n")[1:]]
    assert [node["tuning"]["at"] for node in nodes] == ["hidden_size 32", "hidden_size 64"]
    assert [node["trainer"]["learning_rate"] for node in nodes] == [
        {"lstm": 0.004, "gru": 0.004},
        {"lstm": 0.001, "gru": 0.001},
    ]


def test_groups_that_differ_in_nothing_that_is_known_all_stay() -> None:
    results = grid({"gru": {0.001: [0.5], 0.002: [0.7]}})
    twin = results.runs["run_id"] == "gru-0.001-0"
    other = results.runs[twin].assign(run_id="twin", group_key="another")
    values = results.values[results.values["run_id"] == "gru-0.001-0"].assign(run_id="twin", value=0.1)
    both = dataclasses.replace(
        results,
        runs=pd.concat([results.runs, other], ignore_index=True),
        values=pd.concat([results.values, values], ignore_index=True),
    )
    text = render("learning_rates", both).markdown
    rows = [line.split("|")[1].strip() for line in text.splitlines() if "| 0." in line and "cell" not in line]
    assert rows == ["gru (key anothe)", "gru (key gru0.0)", "gru (key gru0.0)"]
    assert "0.1000" in text
    assert "```yaml" not in text  # nothing tells which of them belong together


@pytest.mark.parametrize("results", [frames.small(), frames.make_results([], [], [])])
def test_without_a_choice_there_is_nothing_to_say(results: Results) -> None:
    assert render("learning_rates", results).markdown == ""
