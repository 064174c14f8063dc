"""How much of the text a language model uses: its context truncated, shuffled, or replaced beyond n tokens."""

import math
from typing import Annotated, ClassVar, Literal, cast

import numpy as np
import torch
from annotated_types import Gt, MinLen
from torch import Tensor

from gru_bench.backends.base import State
from gru_bench.losses import CHUNK_BYTES, chunk_rows, token_nats
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.tasks.objectives.model_language import ModelLanguage, Predictor

Way = Literal["truncated", "shuffled", "replaced"]
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
    smallest listed n such that for it and for all larger ones listed perplexity rises by less than ``rise``. It is
    infinite where the largest one listed does not do, and it is known only as finely as the list is. The effective
    context of shuffling is how far back the order of words is used.

    Values: ``context_loss`` (nats per token; slice ``tokens`` of the truncated context, slices ``tokens_shuffled`` and
    ``tokens_replaced``; without a slice that of the full context), ``effective_context_tokens``,
    ``effective_context_shuffled_tokens``, ``effective_context_replaced_tokens``, and ``longest_context_tokens``, the
    largest n of the list. Table ``targets``: the loss of each target, one column for each way and n, such as
    ``truncated_20``, and one for the full context, such as ``full_300``.

    Source: Khandelwal, He, Qi, Jurafsky (2018), arXiv:1805.04623, who also delete words by kind; that they call a rise
    of 1 % too small to count is from memory.

    Args:
        tokens: The n looked at.
        full: Tokens of the whole context; more than every n.
        targets: Tokens that are predicted; more than one, since each one's far context replaces another's.
        ways: In which the far context is changed. Shuffling takes most of the time: each n is a run over the whole
            context, while the others run over n tokens.
        rise: Relative rise of perplexity that does not count as one.
    """

    name: ClassVar[str] = "context"

    def __init__(
        self,
        *,
        tokens: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)],
        full: Annotated[int, Gt(1)],
        targets: Annotated[int, Gt(1)],
        ways: Annotated[list[Way], MinLen(1)] = ["truncated", "shuffled", "replaced"],  # noqa: B006  # never changed
        rise: Annotated[float, Gt(0)] = 0.01,
    ) -> None:
        self.tokens = sorted(set(tokens))
        self.full = full
        self.targets = targets
        self.ways = tuple(dict.fromkeys(ways))
        self.rise = rise

    def refusal(self, subject: Subject, /) -> str | None:
        task = subject.task
        if not isinstance(task, ModelLanguage):
            return f"needs a language model, and {type(task).__name__} is none; valid: occlusion"
        if self.tokens[-1] >= self.full:
            return f"probes.context.full={self.full}: must be more than every one of tokens, up to {self.tokens[-1]}"
        # a context half of the text away must not overlap with the target's own
        needed, there = max(3 * self.full, self.full + self.targets), task.num_tokens("test")
        if there < needed:
            return (
                f"probes.context.full={self.full}: with {self.targets} targets it needs a test text of {needed} "
                f"tokens, and this one has {there}; valid: smaller full, tokens and targets"
            )
        return None

    @torch.no_grad()
    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        task = cast(ModelLanguage, subject.task)
        contexts_TB, targets_B = (t.to(task.place(subject.model)[0]) for t in self.sample(task.stream("test")))
        found = self.nats(cast(Predictor, subject.model), contexts_TB, targets_B, subject.seed)
        losses = {key: float(nats_B.mean()) for key, nats_B in found.items()}
        full = losses["full", self.full]
        values = [Finding("context_loss", full, "nats/token")]
        for how in self.ways:
            slice_name = "tokens" if how == "truncated" else f"tokens_{how}"
            for n in self.tokens:
                values.append(Finding("context_loss", losses[how, n], "nats/token", slice_name, str(n)))
            middle = "" if how == "truncated" else f"{how}_"
            effective = self.effective([losses[how, n] for n in self.tokens], full)
            values.append(Finding(f"effective_context_{middle}tokens", effective, "tokens"))
        values.append(Finding("longest_context_tokens", self.tokens[-1], "tokens"))
        columns = {f"{how}_{n}": nats_B.tolist() for (how, n), nats_B in found.items()}
        return Findings(values, {"targets": columns})

    def nats(
        self, model: Predictor, contexts_TB: Tensor, targets_B: Tensor, seed: int
    ) -> dict[tuple[str, int], Tensor]:
        """The nats (B,) of the targets by way and n; those of the whole context as ``full``."""
        found: dict[tuple[str, int], Tensor] = {}
        states: dict[int, State | None] = {}
        state: State | None = None
        start = 0
        for n in [*reversed(self.tokens), 0]:
            h_BE, state = run(model, contexts_TB[start : self.full - n], state)
            states[n], start = state, self.full - n
        found["full", self.full] = nats_of(model, h_BE, targets_B)
        generator = torch.Generator().manual_seed(seed)
        for how in self.ways:
            for n in self.tokens:
                near_TB, before = contexts_TB[-n:], None
                if how == "shuffled":
                    _, before = run(model, shuffled(contexts_TB[:-n], generator), None)
                elif how == "replaced":
                    # the state after another target's far context has been there already
                    before = rolled(states[n])
                found[how, n] = nats_of(model, run(model, near_TB, before)[0], targets_B)
        return found

    def sample(self, ids: np.ndarray) -> tuple[Tensor, Tensor]:
        """The contexts (full, B) and the targets (B,) of the test text, evenly spaced over it."""
        last = len(ids) - 1
        ends_B = np.linspace(self.full, last, self.targets).round().astype(np.int64)
        at_TB = ends_B + np.arange(-self.full, 0)[:, None]
        return torch.from_numpy(ids[at_TB].astype(np.int64)), torch.from_numpy(ids[ends_B].astype(np.int64))

    def effective(self, losses: list[float], full: float) -> float:
        """The effective context, from one loss for each of ``tokens`` and that of the full context."""
        effective = math.inf
        for n, loss in zip(reversed(self.tokens), reversed(losses), strict=True):
            if not math.expm1(loss - full) < self.rise:
                break
            effective = n
        return effective


def shuffled(tokens_TB: Tensor, generator: torch.Generator) -> Tensor:
    """Each column in an order of its own."""
    order_TB = torch.rand(tokens_TB.shape, generator=generator).argsort(dim=0)
    return tokens_TB.gather(0, order_TB.to(tokens_TB.device))


def rolled(state: State | None) -> State:
    """Each column's state (L, B, H) given to the column that is half of the columns further on."""
    assert state is not None
    return tuple(s_LBH.roll(s_LBH.shape[1] // 2, dims=1) for s_LBH in state)


def run(model: Predictor, tokens_TB: Tensor, state: State | None) -> tuple[Tensor, State]:
    """What the output layer is fed after the last token (B, E), and the state there, from a state or from zeros.

    In pieces of steps and of columns, so that the outputs of all steps never lie in memory at once.
    """
    columns = max(1, CHUNK_BYTES // (PIECE_STEPS * 4 * model.output.in_features))
    lasts, states = [], []
    for part in torch.arange(tokens_TB.shape[1], device=tokens_TB.device).split(columns):
        now = None if state is None else tuple(s_LBH[:, part] for s_LBH in state)
        for piece_TB in tokens_TB[:, part].split(PIECE_STEPS):
            h_TBE, now = model.features(piece_TB, now)
        lasts.append(h_TBE[-1])
        states.append(now)
    return torch.cat(lasts), tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))


def nats_of(model: Predictor, h_BE: Tensor, targets_B: Tensor) -> Tensor:
    """(B,) nats of the targets in 64 bits, on the CPU; the logits never lie in memory as a whole."""
    rows = chunk_rows(model.output)
    parts = zip(h_BE.split(rows), targets_B.split(rows), strict=True)
    return torch.cat([token_nats(model.output(h)[None], targets[None])[0].double().cpu() for h, targets in parts])
