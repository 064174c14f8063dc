"""The context probe on language models whose use of the context is known."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from fakes import Line
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gru_bench.config.check import check
from gru_bench.errors import UserError
from gru_bench.probes.base import Findings, Subject
from gru_bench.probes.context import Context, shuffled
from gru_bench.tasks.base import Goal, Split
from gru_bench.tasks.objectives.model_language import ModelLanguage

V = 8
SURE = 0.9
"""Probability that a model gives to the token that it believes in; the others share the rest."""
WRONG = -math.log((1 - SURE) / (V - 1))


class Running(ModelLanguage):
    """Random tokens 1..V-1, each of which comes again ``lag`` tokens later; 0 stands for what no model has read."""

    def __init__(self, lag: int, num_tokens: int = 4000) -> None:
        super().__init__(None, batch_size=4, goal=Goal(margin=0.1, beats_trivial_by=0.1, ceiling=0.0))
        self.level, self.seq_len = "word", 10
        block = np.random.default_rng(0).permutation(np.arange(1, num_tokens + 2) % (V - 1) + 1)
        self.ids = np.resize(block[:lag], num_tokens + 1)

    def stream(self, split: Split) -> np.ndarray:
        return self.ids

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": V}

    def source_id(self) -> str:
        return "running/1"

    def load(self) -> None: ...

    def fingerprint(self) -> str:
        return "running"


class LastTokens(nn.Module):
    """A language model whose state is the last ``many`` tokens, 0 where it has read none.

    Its output is a score for each token, by ``believe`` of the state (many, B).
    """

    def __init__(self, many: int) -> None:
        super().__init__()
        self.many = many
        self.output = nn.Linear(V, V, bias=False)
        nn.init.eye_(self.output.weight)

    def believe(self, last_MB: Tensor) -> Tensor:
        """The token that was read first among those that it remembers; nothing where that is none."""
        surely = math.log(SURE) - math.log((1 - SURE) / (V - 1))
        return nn.functional.one_hot(last_MB[0], V).float() * surely * (last_MB[0] > 0)[:, None]

    def features(self, tokens_TB: Tensor, state: Any) -> tuple[Tensor, Any]:
        (last_MB,) = state or (torch.zeros(self.many, tokens_TB.shape[1], dtype=torch.int64),)
        outputs = []
        for tokens_B in tokens_TB:
            last_MB = torch.cat((last_MB[1:], tokens_B[None]))
            outputs.append(self.believe(last_MB))
        return torch.stack(outputs), (last_MB,)


class Counter(LastTokens):
    """Scores each token by how often it is among the last ``many``, wherever."""

    def believe(self, last_MB: Tensor) -> Tensor:
        return nn.functional.one_hot(last_MB, V).sum(0).float() / self.many


def measured(model: nn.Module, task: ModelLanguage, tokens: list[int], full: int = 40) -> Findings:
    probe = Context(tokens=tokens, full=full, targets=50)
    subject = Subject(model, task, lambda: model, 0)
    assert probe.refusal(subject) is None
    return probe.measure(subject, "end")


def of(findings: Findings, metric: str) -> dict[tuple[str, str], float]:
    return {(f.slice, f.slice_value): f.value for f in findings.values if f.metric == metric}


@pytest.mark.parametrize("lag", [1, 4, 9])
def test_a_model_of_the_last_tokens_needs_exactly_these(lag: int) -> None:
    findings = measured(LastTokens(lag), Running(lag), list(range(1, 15)))
    losses = of(findings, "context_loss")
    assert of(findings, "longest_context_tokens") == {("", ""): 14}
    assert losses["", ""] == pytest.approx(-math.log(SURE), abs=1e-6)
    for n in range(1, 15):
        # it has not read far enough, and all tokens are as likely to it
        assert losses["tokens", str(n)] == pytest.approx(-math.log(SURE) if n >= lag else math.log(V), abs=1e-6)
        if n >= lag:
            assert losses["tokens_shuffled", str(n)] == losses["tokens_replaced", str(n)] == losses["", ""]
    for how in ("", "shuffled_", "replaced_"):
        expected = 1 if how and lag == 1 else lag
        assert of(findings, f"effective_context_{how}tokens") == {("", ""): expected}


def test_order_counts_for_no_model_that_only_counts() -> None:
    findings = measured(Counter(40), Running(9), [1, 5, 10, 20, 30])
    losses = of(findings, "context_loss")
    assert all(losses["tokens_shuffled", str(n)] == pytest.approx(losses["", ""]) for n in (1, 5, 10, 20, 30))
    assert of(findings, "effective_context_shuffled_tokens") == {("", ""): 1}
    assert losses["tokens", "5"] != pytest.approx(losses["", ""], abs=0.01)


def test_a_model_that_looks_beyond_the_longest_context_has_no_effective_one() -> None:
    findings = measured(LastTokens(20), Running(20), [1, 5, 19])
    assert of(findings, "effective_context_tokens") == {("", ""): math.inf}


def test_the_loss_of_each_target_is_kept() -> None:
    findings = measured(LastTokens(3), Running(3), [2, 3])
    table = findings.tables["targets"]
    assert list(table) == [
        "full_40",
        *(f"{way}_{n}" for way in ("truncated", "shuffled", "replaced") for n in (2, 3)),
    ]
    assert all(len(column) == 50 for column in table.values())
    assert np.mean(table["truncated_2"]) == of(findings, "context_loss")["tokens", "2"]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6))
def test_shuffling_keeps_every_token_of_a_column(steps: int, columns: int) -> None:
    tokens_TB = torch.arange(steps * columns).reshape(columns, steps).T
    assert torch.equal(shuffled(tokens_TB, torch.Generator().manual_seed(0)).sort(dim=0).values, tokens_TB)


def test_replaced_is_the_context_of_a_target_half_of_the_text_away() -> None:
    task, probe = Running(9), Context(tokens=[3], full=8, targets=6)
    contexts_TB, targets_B = probe.sample(task.ids)
    found = probe.nats(LastTokens(5), contexts_TB, targets_B, 0)["replaced", 3]
    other_TB = torch.cat((contexts_TB[:5].roll(3, dims=1), contexts_TB[5:]))
    whole = Context(tokens=[1], full=8, targets=6).nats(LastTokens(5), other_TB, targets_B, 0)["full", 8]
    assert torch.equal(found, whole)
    assert not torch.equal(found, probe.nats(LastTokens(5), contexts_TB, targets_B, 0)["full", 8])


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = measured(LastTokens(9), Running(9), [3, 7]).tables["targets"]
    monkeypatch.setattr("gru_bench.probes.context.PIECE_STEPS", 3)
    monkeypatch.setattr("gru_bench.probes.context.CHUNK_BYTES", 1000)
    assert measured(LastTokens(9), Running(9), [3, 7]).tables["targets"] == one


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 50), st.integers(1, 60), st.integers(0, 300))
def test_every_target_follows_its_context(full: int, targets: int, more: int) -> None:
    ids = np.arange(full + targets + more)
    contexts_TB, targets_B = Context(tokens=[1], full=full, targets=targets).sample(ids)
    assert contexts_TB.shape == (full, targets)
    assert torch.equal(contexts_TB[-1] + 1, targets_B)
    assert bool((contexts_TB.diff(dim=0) == 1).all())
    assert len(targets_B.unique()) == targets


def test_refusals_are_one_clear_line() -> None:
    model = LastTokens(1)
    lines: Iterator[tuple[Context, Any, str]] = iter(
        [
            (Context(tokens=[1], full=5, targets=3), Line(), "needs a language model, and Line is none"),
            (Context(tokens=[1, 5], full=5, targets=3), Running(1), "must be more than every one of tokens, up to 5"),
            (Context(tokens=[1], full=2000, targets=3), Running(1), "needs a test text of 6000 tokens"),
        ]
    )
    for probe, task, words in lines:
        why = probe.refusal(Subject(model, task, lambda: model, 0))
        assert why is not None
        assert words in why
        assert "\n" not in why


@pytest.mark.usefixtures("hydra_conf")
def test_one_target_alone_has_no_other_context_to_be_given() -> None:
    chosen = ["probe=[context]", "probes.context.targets=2"]
    check(composed(*chosen))
    with pytest.raises(UserError, match=r"^probes.context.targets=1: "):
        check(composed(*chosen, "probes.context.targets=1"))
