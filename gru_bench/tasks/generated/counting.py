"""Counting, as a formal language: a^n b^n, a^n b^n c^n ..., learned from examples alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt, MinLen
from torch import Tensor, nn

from gru_bench.data.digest import digest, tensor_bytes
from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import (
    Batch,
    Common,
    Counts,
    MemoryScores,
    Metric,
    Part,
    PositiveInt,
    Scores,
    SliceScore,
    Split,
    Task,
)
from gru_bench.tasks.generated.levels import AHEAD

GENERATOR_VERSION = "counting/1"
NUMBERS_AT_ONCE = 64
"""Values of n that are judged in one batch; after each such batch the search for the largest one may end."""


class Counting(Task):
    """Predict the next symbol of strings of one language: n times a, then n times b, and so on.

    One example of two letters with n = 3; ``$`` starts and ends a string::

        input   $ a a a b b b
        target  a a a b b b $

    Training draws n uniformly from 1 to the highest of ``levels``, afresh for every string of every step, and never
    shows a string outside the language. While the a's last, a or b may come next; from the first b on, each symbol is
    determined, but only by the number of a's. In training each string's mean cross-entropy counts the
    same; the score ``loss`` is the mean over all symbols.

    A number n is mastered under a rule where a^n b^n is accepted and its near misses are rejected: the strings in which
    one block other than the first is one symbol longer or shorter (a^n b^(n+1) and a^n b^(n-1); for three letters
    those of the b's and those of the c's).

    - *exact*: at each step of the string the model ranks the symbols that are legal there above all that are not:
      ``a`` at the start, ``a`` and ``b`` after nothing but a's, the only right symbol elsewhere. A tie fails. Where
      the string is accepted, its near misses are rejected, since each leaves it at a step where its next symbol is not
      legal.
    - *threshold* (Weiss et al.): a string, whatever it is, is accepted where the model gives every symbol that comes
      next, the end too, a probability of at least 0.005.

    ``accepted`` is the share of the numbers in training's range that are mastered under the exact rule,
    ``accepted_threshold`` that under the other. These are strings that training shows, so that a model may know them by
    heart. Slice ``n``: the same for the numbers up to a level that exceed the level before it. ``n_star_exact`` and
    ``n_star_threshold``: the largest n such that 1 to n are all mastered, 0 where 1 is not. Only these two, and the
    slices of the levels ``beyond``, test the rule. The largest n is searched up to ``most_n``, on the validation split
    only in training's range.

    Without memory n = 1 alone is mastered: b's that look alike must be told apart. With perfect memory, a counter, all.

    Source: Gers and Schmidhuber (2001), doi:10.1109/72.963769; the threshold is that of the code that Weiss, Goldberg,
    Yahav (2018), arXiv:1805.04908, published, whose GRU never applied its reset gate.

    Args:
        letters: K, how many different ones.
        levels: Upper ends of ranges of n; training has 1 to the highest.
        beyond: Further ones, in the test split alone.
        most_n: Where the search for the largest n ends.
        threshold: Least probability of each symbol, for the rule of that name.
    """

    metrics: tuple[Metric, ...] = (
        Metric("accepted", "share of n", higher_is_better=True),
        Metric("accepted_threshold", "share of n", higher_is_better=True),
        Metric("n_star_exact", "n", higher_is_better=True),
        Metric("n_star_threshold", "n", higher_is_better=True),
        Metric("loss", "nats per symbol", higher_is_better=False),
    )
    primary: str = "accepted"
    generated: ClassVar[bool] = True
    endless: ClassVar[bool] = True

    def __init__(
        self,
        data: None,
        /,
        *,
        letters: Annotated[int, Ge(2)],
        levels: Annotated[list[PositiveInt], MinLen(1)],
        beyond: list[PositiveInt],
        most_n: PositiveInt,
        threshold: Annotated[float, Gt(0), Lt(1)],
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        self.letters = letters
        self.levels = sorted(set(levels))
        self.trained_to = self.levels[-1]
        self.beyond = sorted({*beyond} - {*levels})
        self.most_n = most_n
        self.threshold = threshold
        if (highest := max(self.levels + self.beyond)) > most_n:
            raise UserError(f"task.most_n={most_n} is less than {highest}, the highest of levels and beyond")
        if self.beyond and self.beyond[0] < self.levels[-1]:
            raise UserError(
                f"task.beyond has {self.beyond[0]}, but training draws every n up to {self.levels[-1]}: "
                "name only higher ones"
            )
        if self.beyond:
            self.notes.append(f"n above {self.levels[-1]}: never trained, tests extrapolation")

    def source_id(self) -> str:
        return f"{GENERATOR_VERSION}:{self.letters}:{self.levels}:{self.beyond}:{self.most_n}:{self.threshold}"

    def load(self) -> None:
        """Nothing to do: validation and test take each n once."""

    def fingerprint(self) -> str:
        return digest(self.source_id(), *(tensor_bytes(tensor) for tensor in spell(self._counts(self._top("test")))))

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": self.letters + 1, "num_classes": self.letters + 1}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if split != "train":
            for counts_NK in self._counts(self._top(split)).split(self.batch_size):
                batch = batch_of(counts_NK)
                # for probes: padding is no step of a string
                batch.lengths = counts_NK.sum(dim=1) + 1
                yield batch
            return
        # every string that training has, once, from the start symbol on: column n - 1
        inputs_TN, targets_TN = spell(self._counts(self.levels[-1]))

        def drawn() -> Batch:
            n_B = torch.randint(1, self.levels[-1] + 1, (self.batch_size,), generator=generator)
            T, places_B = self.letters * int(n_B.max()) + 1, n_B - 1
            tokens = self.letters * int(n_B.sum()) + len(n_B)
            return Batch(inputs_TN[:T, places_B], targets_TN[:T, places_B], num_tokens=tokens)

        while True:
            yield from [drawn() for _ in range(AHEAD)]

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        require_forward_only(model)
        logits_TBC = model(batch.inputs, batch.lengths)
        nats_TB = F.cross_entropy(logits_TBC.movedim(2, 1), batch.targets, reduction="none", ignore_index=IGNORED)
        # each string counts the same: else those of small n, with few symbols, would hardly be learned
        symbols_B = (batch.targets != IGNORED).sum(dim=0)
        return (nats_TB.sum(dim=0) / symbols_B).mean(), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        top = self._top(split)
        judged = Judged(*(torch.empty(0) for _ in range(4)))
        while (first := len(judged.exact) + 1) <= (self.most_n if split == "test" else top):
            if first > top and not judged.still_going():
                break
            # up to the end of the tested range, then in pieces
            last = min(first + NUMBERS_AT_ONCE - 1, top if first <= top else self.most_n)
            judged = judged.then(self.judge(model, torch.arange(first, last + 1)))
        exact_N, threshold_N = (rule[:top].double().numpy() for rule in (judged.exact, judged.threshold))
        trained = slice(self.levels[-1])
        return Scores(
            metrics={
                "accepted": float(exact_N[trained].mean()),
                "accepted_threshold": float(threshold_N[trained].mean()),
                "n_star_exact": largest(judged.exact),
                "n_star_threshold": largest(judged.threshold),
                "loss": float(judged.nats[trained].sum() / judged.symbols[trained].sum()),
            },
            slices=[
                part.score(metric, float(mastered_N[part.rows].mean()))
                for part in self.parts(split)
                for metric, mastered_N in (("accepted", exact_N), ("accepted_threshold", threshold_N))
            ],
            examples={
                "n": list(range(1, top + 1)),
                "accepted": exact_N.tolist(),
                "accepted_threshold": threshold_N.tolist(),
                "nats": judged.nats[:top].tolist(),
                "tokens": judged.symbols[:top].tolist(),
            },
        )

    def judge(self, model: nn.Module, n_N: Tensor) -> "Judged":
        """Which of some numbers a model has mastered."""
        counts_NK = n_N[:, None].expand(-1, self.letters)
        others = [near_miss(counts_NK, block, by) for block in range(1, self.letters) for by in (1, -1)]
        inputs_TS, targets_TS = spell(torch.cat([counts_NK, *others]))
        device, _ = self.place(model)
        # N strings of the language, then their near misses, N of each kind
        logits_TSC = model(inputs_TS.to(device)).double().cpu()
        asked_TS = targets_TS != IGNORED
        target_TS1 = targets_TS.clamp(min=0)[:, :, None]
        log_p_TS = logits_TSC.log_softmax(dim=2).gather(2, target_TS1)[:, :, 0]
        likely_MN = ((log_p_TS.exp() >= self.threshold) | ~asked_TS).all(dim=0).view(-1, len(n_N))
        own_TN = asked_TS[:, : len(n_N)]
        ranked_TN = legal_above_others(logits_TSC[:, : len(n_N)], targets_TS[:, : len(n_N)], n_N)
        nats_TN = -log_p_TS[:, : len(n_N)] * own_TN
        return Judged(
            exact=(ranked_TN | ~own_TN).all(dim=0),
            threshold=likely_MN[0] & ~likely_MN[1:].any(dim=0),
            nats=nats_TN.sum(dim=0),
            symbols=own_TN.sum(dim=0),
        )

    def parts(self, split: Split) -> list[Part]:
        """The numbers up to each level that exceed the level before; a row is n - 1."""
        ends = self.levels + (self.beyond if split == "test" else [])
        return [Part("n", str(end), np.arange(start, end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def trivial(self) -> dict[str, float]:
        """Always the same symbol accepts no string.

        ``loss``: the frequencies of the symbols in training's range, as probabilities.
        """
        _, targets_TN = spell(self._counts(self.levels[-1]))
        shares_C = torch.bincount(targets_TN[targets_TN != IGNORED]).double()
        shares_C /= shares_C.sum()
        nothing = {metric.name: 0.0 for metric in self.metrics}
        return nothing | {"loss": float(-(shares_C * shares_C.log()).sum())}

    def trivial_slices(self) -> list[SliceScore]:
        return [part.score(metric, 0.0) for part in self.parts("test") for metric in ("accepted", "accepted_threshold")]

    def memory_scores(self) -> list[MemoryScores]:
        """``accepted``. Without memory n = 1 alone: after a b nothing tells whether another comes. A counter: all."""
        parts = self.parts("test")
        one = [part.score("accepted", float((part.rows == 0).mean())) for part in parts]
        return [
            MemoryScores("without_memory", 1 / self.levels[-1], one),
            MemoryScores("with_memory", 1.0, [part.score("accepted", 1.0) for part in parts]),
        ]

    def _top(self, split: Split) -> int:
        """The highest n of a split's rows."""
        return max(self.levels + self.beyond) if split == "test" else self.levels[-1]

    def _counts(self, top: int) -> Tensor:
        """(N, K): the strings of the language with n from 1 to ``top``."""
        return torch.arange(1, top + 1)[:, None].expand(-1, self.letters)


@dataclass
class Judged:
    """What is known of the numbers 1 to N, each (N,).

    Attributes:
        exact: Mastered under the exact rule.
        threshold: Under that of least probability.
        nats: Summed over the string.
        symbols: Of the string, with its end.
    """

    exact: Tensor
    threshold: Tensor
    nats: Tensor
    symbols: Tensor

    def then(self, following: "Judged") -> "Judged":
        """These numbers and those that follow them."""
        return Judged(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(following).values(), strict=True)))

    def still_going(self) -> bool:
        """Whether all numbers so far are mastered under one of the rules."""
        return bool(self.exact.all()) or bool(self.threshold.all())


def largest(mastered_N: Tensor) -> int:
    """The largest n such that 1 to n are all mastered."""
    return int(mastered_N.long().cumprod(dim=0).sum())


def near_miss(counts_NK: Tensor, block: int, by: int) -> Tensor:
    """The strings with one block longer by so many symbols."""
    changed_NK = counts_NK.clone()
    changed_NK[:, block] += by
    return changed_NK


def spell(counts_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets (T, N) of strings, given how often each letter stands in them, in the alphabet's order.

    Letters are 0 to K - 1, start and end K. After a string's end the target is ``IGNORED`` and the input K.
    """
    ends_NK = counts_NK.cumsum(dim=1)
    letters = counts_NK.shape[1]
    t_T11 = torch.arange(int(ends_NK[:, -1].max()) + 1)[:, None, None]
    symbols_TN = (t_T11 >= ends_NK).sum(dim=2)
    inputs_TN = torch.cat([torch.full_like(symbols_TN[:1], letters), symbols_TN[:-1]])
    return inputs_TN, symbols_TN.masked_fill(t_T11[:, :, 0] > ends_NK[:, -1], IGNORED)


def batch_of(counts_NK: Tensor) -> Batch:
    """Strings as a batch, the shorter ones padded at their end, where nothing is asked."""
    return Batch(*spell(counts_NK), num_tokens=int(counts_NK.sum()) + len(counts_NK))


def legal_above_others(logits_TNC: Tensor, targets_TN: Tensor, n_N: Tensor) -> Tensor:
    """Whether all legal symbols rank above all others, (T, N); only the steps of strings of the language count."""
    steps_T1 = torch.arange(len(targets_TN))[:, None]
    legal_TNC = F.one_hot(targets_TN.clamp(min=0), logits_TNC.shape[2]).bool()
    # after some a's and nothing else
    legal_TNC[..., :2] |= ((steps_T1 >= 1) & (steps_T1 <= n_N))[:, :, None]
    lowest_TN = logits_TNC.masked_fill(~legal_TNC, torch.inf).amin(dim=2)
    return lowest_TN > logits_TNC.masked_fill(legal_TNC, -torch.inf).amax(dim=2)


def require_forward_only(model: nn.Module) -> None:
    """Refuse a model that reads what it is to predict.

    Raises:
        UserError: It reads from both ends.
    """
    if getattr(getattr(model, "encoder", None), "bidirectional", False):
        raise UserError(
            "model.bidirectional=true would show the next symbol to a model that predicts it: leave it false"
        )
