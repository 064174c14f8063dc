"""Steps to learn: known answers from curves made by hand."""

from typing import Any

import frames
import made_timings
import pandas as pd
import pytest
from made_timings import timing
from rendering import cell, render, with_facts

from gru_bench.store.read import Results

GOAL = {"margin": 0.01, "beats_trivial_by": 0.1, "ceiling": 0.0}


def row(scores: dict[int, list[float]]) -> list[str]:
    """The only row of the section, for validation scores by seed at the steps 100, 200 ...; the guess is 1."""
    lines = [line for line in section(scores).splitlines() if line.startswith("| gru")]
    return [part.strip() for part in lines[0].split("|")[2:-1]] if lines else []


def section(scores: dict[int, list[float]], *arguments: Any, **facts: Any) -> str:
    """The whole section; arguments as of :func:`results`."""
    return render("steps_to_learn", results(scores, *arguments, **facts)).markdown


def results(
    scores: dict[int, list[float]], step_ms: float | None = None, *timings: dict[str, Any], **facts: Any
) -> Results:
    """Runs with these scores; a step of a run took so many milliseconds."""
    runs, values, curves = [], [], []
    for seed, of_seed in scores.items():
        run = frames.run_row("gru", seed, **GOAL, **facts)
        runs.append(run)
        values.append(frames.value_row(run["run_id"], "test", "mse", of_seed[-1]))
        values.append(frames.value_row(run["run_id"], "test", "trivial_mse", 1.0))
        curves += frames.curve_rows(run["run_id"], "valid/mse", {100 * (i + 1): s for i, s in enumerate(of_seed)})
        if step_ms is not None:
            values.append(frames.value_row(run["run_id"], "speed", "step_time_ms", step_ms))
    return made_timings.with_timings(frames.make_results(runs, values, curves), timings)


def test_the_first_evaluation_half_of_the_way_counts() -> None:
    found = row({0: [0.9, 0.5, 0.9], 1: [0.9, 0.4, 0.1], 2: [0.9, 0.9, 0.2]})
    assert found[:1] == ["3 of 3"]
    assert found[1].startswith("100 % (")
    assert found[2].startswith("200 (200 to ")


def test_seeds_that_never_learn_are_cut_off_and_not_averaged() -> None:
    assert row({0: [0.4, 0.1], 1: [0.9, 0.9], 2: [0.9, 0.8]})[2] == "not reached"
    assert row({0: [0.4, 0.1], 1: [0.9, 0.3], 2: [0.9, 0.8]})[2].startswith("200 (100 to ")


def test_a_task_that_nobody_learned_is_left_out() -> None:
    assert row({0: [0.9, 0.9]}) == []


THREE = {0: [0.9, 0.5, 0.9], 1: [0.9, 0.4, 0.1], 2: [0.9, 0.9, 0.2]}
"""Learned at steps 200, 200 and 300: the median is 200."""


def test_the_target_is_the_tasks_own() -> None:
    assert "Target: mse at most 0.500." in section(THREE)


def test_seconds_of_runs_that_had_the_machine_alone() -> None:
    text = section(THREE, 5.0, shared=False)
    assert cell(text, "gru", "seconds until then").startswith("1.0 (1.0 to ")
    assert cell(text, "gru", "seconds until then").endswith(" a")


def test_seconds_of_a_shared_machine_are_not_given_and_the_command_is_named() -> None:
    text = section(THREE, 5.0)
    assert "seconds until then" not in text
    assert "Seconds are not given" in text
    assert "`gru-bench time experiment=quick`" in text


@pytest.mark.parametrize("together", [3, pd.array([3, 1, 1])])
def test_seconds_of_steps_that_were_taken_together_are_not_given(together: Any) -> None:
    found = with_facts(results(THREE, 5.0, shared=False), seeds_in_batch=together)
    text = render("steps_to_learn", found).markdown
    assert "seconds until then" not in text
    assert "some of these runs took their steps together with other seeds" in text


def test_seconds_from_a_paired_timing_of_the_same_step_and_of_no_other() -> None:
    pair = timing(("gru", "loop"), ("lstm", "loop"), task="adding", first_ms=20.0)
    text = section(THREE, 5.0, pair)
    assert cell(text, "gru", "seconds until then").startswith("4.0 (4.0 to ")
    assert cell(text, "gru", "seconds until then").endswith(" p")
    assert "seconds until then" in section(THREE, 5.0, pair, device="cpu:0")
    for other in ({"first_backend": "native"}, {"threads": 2}, {"task": ""}, {"machine": "x"}, {"forced": True},
                  {"first_hidden_size": 128}, {"situation": "batch"}, {"device": "cuda:0"}, {"num_layers": 7},
                  {"budget": "state"}, {"experiment": "tuned"}):  # fmt: skip
        assert "seconds until then" not in section(THREE, 5.0, pair | other)
