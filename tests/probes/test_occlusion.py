"""The occlusion probe on models whose use of each token is known."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fakes import Line
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gru_bench.probes.base import Findings, Subject
from gru_bench.probes.occlusion import Occlusion
from gru_bench.tasks.base import Batch, Goal, Split
from gru_bench.tasks.generated.adding import Adding
from gru_bench.tasks.generated.parity import Parity
from gru_bench.tasks.objectives.classify import Classify

GOAL = Goal(margin=0.1, beats_trivial_by=0.1, ceiling=1.0)


class Alike(Classify):
    """Sequences of one and the same token, 0 or 1, which is also the label; of the lengths given, padded with 1."""

    def __init__(self, lengths: list[int], rows: int = 6) -> None:
        super().__init__(None, batch_size=4, goal=GOAL)
        self.lengths, self.rows, self.classes = lengths, rows, ["zero", "one"]

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        targets = torch.arange(self.rows) % 2
        for length in self.lengths:
            lengths = torch.full((self.rows,), length)
            lengths[0] = max(1, length - 2)
            inputs = targets.repeat(length, 1)
            inputs[int(lengths[0]) :, 0] = 1
            yield Batch(inputs, targets, lengths)

    def labels(self, split: Split) -> Tensor:
        return torch.cat([batch.targets for batch in self.batches(split)])

    def source_id(self) -> str:
        return "alike/1"

    def load(self) -> None: ...

    def fingerprint(self) -> str:
        return "alike"

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": 2, "num_classes": 2}


class Share(nn.Module):
    """Classifies by the share of ones among the last ``many`` tokens; by all where that is none."""

    def __init__(self, many: int | None = None) -> None:
        super().__init__()
        self.many = many
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
        from_end_TB = lengths - 1 - torch.arange(len(tokens_TB))[:, None]
        seen_TB = (from_end_TB >= 0) & (from_end_TB < (self.many or len(tokens_TB)))
        share_B = (tokens_TB * seen_TB).sum(0) / seen_TB.sum(0)
        return torch.stack((1 - share_B, share_B), dim=1) * self.scale


class Knows(nn.Module):
    """Parity without an error."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(9.0))

    def forward(self, bits_TB: Tensor, lengths: Tensor | None) -> Tensor:
        return nn.functional.one_hot(bits_TB.cumsum(0) % 2, 2) * self.scale


def measured(model: nn.Module, task: Any, distances: list[int], width: int = 1, examples: int = 100) -> Findings:
    probe = Occlusion(distances=distances, width=width, examples=examples)
    subject = Subject(model, task, lambda: model, 0)
    assert probe.refusal(subject) is None
    return probe.measure(subject, "end")


def of(findings: Findings, metric: str) -> dict[str, float]:
    return {f.slice_value: f.value for f in findings.values if f.metric == f"occlusion_{metric}"}


def test_a_bag_of_words_depends_on_every_distance_alike() -> None:
    findings = measured(Share(), Alike([10], rows=2), [0, 3, 7])
    # one of eight tokens, and one of ten, is now the other one: logits 4 apart come nearer
    after = [math.log1p(math.exp(-4 * (1 - 2 / length))) for length in (8, 10)]
    expected = sum(after) / 2 - math.log1p(math.exp(-4))
    assert of(findings, "loss_change") == pytest.approx(dict.fromkeys(("0", "3", "7"), expected), abs=1e-6)
    assert set(of(findings, "answer_changed").values()) == {0.0}


def test_a_model_of_the_last_tokens_depends_on_no_other() -> None:
    findings = measured(Share(3), Alike([10, 12]), [0, 1, 2, 3, 8], width=2)
    changes = of(findings, "loss_change")
    assert changes["0"] == pytest.approx(changes["1"])  # two of three are replaced at distances 0 and 1
    assert changes["0"] > changes["2"] > 0
    assert changes["3"] == changes["8"] == 0
    assert of(findings, "answer_changed") == {"0": 1.0, "1": 1.0, "2": 0.0, "3": 0.0, "8": 0.0}
    assert of(findings, "reach_tokens") == {"": 1.0}
    table = findings.tables["distances"]
    assert table["n"] == [12, 12, 12, 12, 11]  # the first rows have two tokens less


def test_every_bit_turns_parity_over_whatever_its_distance() -> None:
    task = Parity(None, levels=[6, 20], beyond=[], num_eval=30, batch_size=8, goal=GOAL)
    task.load()
    findings = measured(Knows(), task, [0, 1, 5, 15])
    assert of(findings, "answer_changed") == dict.fromkeys(("0", "1", "5", "15"), 1.0)
    assert of(findings, "right_change") == dict.fromkeys(("0", "1", "5", "15"), -1.0)
    assert of(findings, "loss_change") == pytest.approx(dict.fromkeys(("0", "1", "5", "15"), 9.0))
    assert of(findings, "reach_tokens") == {"": 15.0}
    assert max(findings.tables["distances"]["n"]) <= 60


def test_two_bits_leave_parity_as_it_was() -> None:
    task = Parity(None, levels=[12], beyond=[], num_eval=20, batch_size=8, goal=GOAL)
    task.load()
    findings = measured(Knows(), task, [0, 4], width=2)
    assert set(of(findings, "loss_change").values()) == {0.0}
    assert math.isnan(of(findings, "reach_tokens")[""])


def test_distances_that_no_sequence_has_are_left_out() -> None:
    findings = measured(Share(), Alike([5]), [2, 5, 100])
    assert list(of(findings, "loss_change")) == ["2"]
    assert [f.value for f in findings.values if f.metric == "longest_occlusion_tokens"] == [2]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(3, 9), min_size=1, max_size=4), st.integers(1, 30))
def test_the_sample_is_as_large_as_asked_for_and_of_the_test_split(lengths: list[int], examples: int) -> None:
    task = Alike(lengths)
    sampled = list(Occlusion(distances=[0], width=1, examples=examples).sample(task))
    assert sum(batch.inputs.shape[1] for batch in sampled) == min(examples, 6 * len(lengths))
    for batch in sampled:
        assert batch.lengths is not None
        assert int(batch.lengths.max()) == len(batch.inputs)
        assert bool((batch.inputs[0] == batch.targets).all())


def test_refusals_are_one_clear_line() -> None:
    probe, model = Occlusion(distances=[0], width=1, examples=1), Share()
    adding = Adding(None, lengths=[5], beyond=[], num_eval=2, batch_size=2, goal=GOAL)
    for task in (Line(), adding):
        why = probe.refusal(Subject(model, task, lambda: model, 0))
        name = type(task).__name__
        assert why == f"is not made for {name}; valid: a classifier, a tagger, or a task of task=parity's kind"
