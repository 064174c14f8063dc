"""Recall against the size of the state: known answers, and that runs know both facts behind it."""

from typing import Any

import frames
import pytest
import torch
from rendering import cell, render

from gru_bench.backends.loop import Loop
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.models.encoder import Encoder, state_size
from gru_bench.models.streams import Streams
from gru_bench.store.read import Results
from gru_bench.tasks.base import Goal
from gru_bench.tasks.generated.adding import Adding

GOAL = {"primary_metric": "accuracy", "primary_unit": "share of answers", "primary_higher_is_better": True}


def results(**facts: Any) -> Results:
    """LSTM and GRU with two sizes of state, three seeds each; the more pairs, the worse."""
    runs, values = [], []
    for name, sizes in {"lstm": (32, 64), "gru": (16, 32)}.items():
        for size in sizes:
            for seed in range(3):
                key = f"{name}{size}"
                own: dict[str, Any] = {"state_size": size, "hidden_size": size, "group_key": key}
                own |= {"run_id": f"{key}-{seed}"} | GOAL | {"ceiling": 0.99} | facts
                run = frames.run_row(name, seed, "associative_recall", **own)
                runs.append(run)
                values.append(frames.value_row(run["run_id"], "test", "accuracy", 0.5))
                for pairs in (2, 8):
                    at = {"slice": "pairs", "slice_value": str(pairs)}
                    score = min(1.0, size / 16 / pairs) - 0.01 * seed
                    values.append(frames.value_row(run["run_id"], "test", "accuracy", score, **at))
                    values.append(frames.value_row(run["run_id"], "test", "without_memory_accuracy", 1 / 16, **at))
    return frames.make_results(runs, values)


def test_scores_stand_by_size_of_state() -> None:
    section = render("state_and_recall", results())
    rows = [line for line in section.markdown.splitlines() if line.startswith("| lstm")]
    assert len(rows) == 2
    assert cell(section.markdown, "gru (hidden_size 32)", "size of state") == "32"
    assert cell(section.markdown, "gru (hidden_size 32)", "pairs 2") == "0.990 (0.98 .. 1.0)"
    assert cell(section.markdown, "gru (hidden_size 32)", "pairs 8") == "0.240 (0.23 .. 0.25)"
    assert cell(section.markdown, "without memory", "pairs 8") == "0.0625"
    axes = section.figures["state_and_recall_associative_recall"].axes
    assert [ax.get_title(loc="left") for ax in axes] == ["2 pairs", "8 pairs"]
    assert list(axes[1].lines[0].get_xdata()) == [32.0, 64.0]
    assert list(axes[1].lines[0].get_ydata()) == [0.24, 0.49]


def test_without_the_size_of_a_state_nothing_is_said() -> None:
    assert render("state_and_recall", results(state_size=None)).markdown == ""


@pytest.mark.parametrize(("kind", "bidirectional", "size"), [(LSTM, False, 20), (GRU, False, 10), (GRU, True, 20)])
def test_a_model_knows_the_size_of_its_state(kind: type[LSTM | GRU], bidirectional: bool, size: int) -> None:
    encoder = Encoder(
        3, lambda d, h, g: kind(d, h, g), Loop(), Streams(0), hidden_size=5, num_layers=2, device=torch.device("cpu"),
        dtype=torch.float32, bidirectional=bidirectional,
    )  # fmt: skip
    assert state_size(torch.nn.Sequential(encoder, torch.nn.Linear(5, 2))) == size
    x_TBD = torch.zeros(4, 1, 3)
    assert sum(state.numel() for state in encoder(x_TBD)[1]) == size


def test_a_task_knows_its_hardest_level() -> None:
    goal = Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.001)
    adding = Adding(None, lengths=[9, 4], beyond=[12], num_eval=3, batch_size=2, goal=goal)
    assert adding.trained_to == 9
