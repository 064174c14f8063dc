"""How much of the text before it a language model uses: the context truncated, shuffled, or replaced beyond n tokens."""

import math
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from annotated_types import Gt, MinLen
from torch import Tensor

from gru_bench.losses import CHUNK_BYTES, token_nats
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.tasks.objectives.model_language import ModelLanguage, Predictor

How = Literal["truncated", "shuffled", "replaced"]
HOWS: tuple[How, ...] = ("truncated", "shuffled", "replaced")
PIECE_STEPS = 64
"""Steps that are run at a time: the outputs of earlier ones are thrown away."""


class Context(Probe):
    r"""Perplexity by the number of tokens that are left as they are, and the effective context.

    The same :attr:`targets` tokens of the test text are predicted by every cell: evenly spaced, each with at least
    ``full`` tokens before it. The model starts from a zero state and reads the last ``full`` tokens; their mean loss is
    :math:`L`. Then the tokens beyond the last n are changed, in one of three ways:

    - ``truncated``: they are not there; the model starts from a zero state n tokens before the target;
    - ``shuffled``: they stand in random order, so that what they are still counts, but not where;
    - ``replaced``: in their place is the context of another target, half of the text away.

    The rise of perplexity is :math:`\exp(L_n - L) - 1`, from the same targets on both sides. **Effective context**: the
    smallest listed n from which on, for that n and all larger ones listed, perplexity rises by less than ``rise``. It is
    infinite where even the largest one listed does not do, and it is known only as finely as the list is. An effective
    context of shuffling is how far back the order of words is used.

    Values: ``context_loss`` (nats per token; slice ``tokens`` of the truncated context, slices ``tokens_shuffled`` and
    ``tokens_replaced``; without a slice that of the full context), ``effective_context_tokens``,
    ``effective_context_shuffled_tokens``, ``effective_context_replaced_tokens``, and ``longest_context_tokens``, the
    largest n of the list. Table ``probe_context``: the loss of each target, one column for each way and n.

    Source: Khandelwal, He, Qi, Jurafsky (2018), arXiv:1805.04623, who also delete words by kind; the threshold of 1 % is
    taken from there from memory.

    Args:
        tokens: The n looked at.
        full: Tokens of the whole context; more than every n.
        targets: Tokens that are predicted.
        rise: Relative rise of perplexity that does not count as one.
    """

    name: ClassVar[str] = "context"

    def __init__(
        self,
        *,
        tokens: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)],
        full: Annotated[int, Gt(1)],
        targets: Annotated[int, Gt(0)],
        rise: Annotated[float, Gt(0)] = 0.01,
    ) -> None:
        self.tokens = sorted(set(tokens))
        self.full = full
        self.targets = targets
        self.rise = rise

    def refusal(self, subject: Subject, /) -> str | None:
        task = subject.task
        if not isinstance(task, ModelLanguage):
            return f"probe=context: needs a language model, and {type(task).__name__} is none; valid: occlusion"
        if self.tokens[-1] >= self.full:
            return f"probe.context.full={self.full}: must be more than every one of tokens, up to {self.tokens[-1]}"
        # a context half of the text away must not overlap with the target's own
        needed, there = max(3 * self.full, self.full + self.targets), task.num_tokens("test")
        if there < needed:
            return (
                f"probe.context.full={self.full}: with {self.targets} targets it needs a test text of {needed} tokens, "
                f"and this one has {there}; valid: smaller full, tokens and targets"
            )
        return None

    @torch.no_grad()
    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        task = cast(ModelLanguage, subject.task)
        model = cast(Predictor, subject.model)
        device = task.place(subject.model)[0]
        contexts_TB, targets_B = self.sample(task.stream("test"))
        shuffled = torch.Generator().manual_seed(subject.seed)
        whole_B = nats_of(model, contexts_TB.to(device), targets_B.to(device))
        found = {
            (how, n): nats_of(model, self.changed(contexts_TB, how, n, shuffled).to(device), targets_B.to(device))
            for how in HOWS
            for n in self.tokens
        }
        losses = {key: float(nats_B.mean()) for key, nats_B in found.items()}
        columns: dict[str, list[Any]] = {"full": whole_B.tolist()}
        columns |= {f"{how}_{n}": nats_B.tolist() for (how, n), nats_B in found.items()}
        full = float(whole_B.mean())
        values = [Finding("context_loss", full, "nats/token")]
        for how in HOWS:
            slice_name = "tokens" if how == "truncated" else f"tokens_{how}"
            for n in self.tokens:
                values.append(Finding("context_loss", losses[how, n], "nats/token", slice_name, str(n)))
            middle = "" if how == "truncated" else f"{how}_"
            effective = self.effective([losses[how, n] for n in self.tokens], full)
            values.append(Finding(f"effective_context_{middle}tokens", effective, "tokens"))
        values.append(Finding("longest_context_tokens", self.tokens[-1], "tokens"))
        return Findings(values, {"probe_context": columns})

    def sample(self, ids: np.ndarray) -> tuple[Tensor, Tensor]:
        """The contexts (full, B) and the targets (B,) of the test text, evenly spaced over it."""
        last = len(ids) - 1
        ends_B = np.linspace(self.full, last, self.targets).round().astype(np.int64)
        at_TB = ends_B + np.arange(-self.full, 0)[:, None]
        return torch.from_numpy(ids[at_TB].astype(np.int64)), torch.from_numpy(ids[ends_B].astype(np.int64))

    def changed(self, contexts_TB: Tensor, how: How, n: int, generator: torch.Generator) -> Tensor:
        """The contexts with what lies beyond their last n tokens changed: (full, B), or (n, B) where truncated."""
        far_TB, near_TB = contexts_TB[:-n], contexts_TB[-n:]
        if how == "truncated":
            return near_TB
        if how == "replaced":
            return torch.cat((far_TB.roll(contexts_TB.shape[1] // 2, dims=1), near_TB))
        order_TB = torch.rand(far_TB.shape, generator=generator).argsort(dim=0)
        return torch.cat((far_TB.gather(0, order_TB), near_TB))

    def effective(self, losses: list[float], full: float) -> float:
        """The smallest n from which on no loss of the list, which goes with ``tokens``, rises over that of the whole."""
        effective = math.inf
        for n, loss in zip(reversed(self.tokens), reversed(losses), strict=True):
            if not math.expm1(loss - full) < self.rise:
                break
            effective = n
        return effective


def nats_of(model: Predictor, contexts_TB: Tensor, targets_B: Tensor) -> Tensor:
    """(B,) nats of the tokens that follow the contexts (T, B), each from a zero state, in 64 bits, on the CPU.

    In pieces of steps and of targets, so that neither all outputs nor all logits lie in memory at once.
    """
    columns = max(1, CHUNK_BYTES // (PIECE_STEPS * 4 * model.output.in_features))
    found = []
    for part_TB, targets in zip(contexts_TB.split(columns, dim=1), targets_B.split(columns), strict=True):
        state: Any = None
        for piece_TB in part_TB.split(PIECE_STEPS):
            h_TBE, state = model.features(piece_TB.contiguous(), state)
        rows = max(1, CHUNK_BYTES // (4 * model.output.out_features))
        for h_BE, wanted in zip(h_TBE[-1].split(rows), targets.split(rows), strict=True):
            found.append(token_nats(model.output(h_BE)[None], wanted[None])[0].double().cpu())
    return torch.cat(found)
