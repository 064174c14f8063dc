"""Steps to learn: known answers from curves made by hand."""

import frames
from rendering import render

GOAL = {"margin": 0.01, "beats_trivial_by": 0.1, "ceiling": 0.0}


def row(scores: dict[int, list[float]]) -> list[str]:
    """The only row of the section, for validation scores by seed at the steps 100, 200 ...; the guess is 1."""
    runs, values, curves = [], [], []
    for seed, of_seed in scores.items():
        run = frames.run_row("gru", seed, **GOAL)
        runs.append(run)
        values.append(frames.value_row(run["run_id"], "test", "mse", of_seed[-1]))
        values.append(frames.value_row(run["run_id"], "test", "trivial_mse", 1.0))
        curves += frames.curve_rows(run["run_id"], "valid/mse", {100 * (i + 1): s for i, s in enumerate(of_seed)})
    markdown = render("steps_to_learn", frames.make_results(runs, values, curves)).markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| gru")]
    return [part.strip() for part in lines[0].split("|")[2:-1]] if lines else []


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
