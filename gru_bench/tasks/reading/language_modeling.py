"""New lines of text for a language model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data import streams
from gru_bench.data.streams import Level
from gru_bench.data.vocabulary import keep_ends
from gru_bench.losses import IGNORED, chunk_rows, token_nats
from gru_bench.tasks.objectives.model_language import Predictor
from gru_bench.tasks.reading.base import WithVocabulary, device_of, in_order, texts_of

STEPS = 512
"""Steps of one piece of a long text; the state is carried to the next one."""


@dataclass(frozen=True)
class LanguageReader(WithVocabulary):
    """How surprising a line is.

    Each line is read from a zero state after the end of a line, as a stream begins, and is scored with its own end:
    ``<eos>``, or the newline of a text of characters. A row of several lines is one stream. An answer holds the
    ``perplexity`` of a token (of characters: ``bits_per_char``), the ``nats`` of all ``tokens``, and how many of these
    are ``unknown``, each scored as ``<unk>``: many of them make a line look likelier than it is.

    Attributes:
        level: Whether tokens are words or characters.
        tokenizer: Of the word level.
    """

    kind: ClassVar[str] = "language_modeling"
    roles: ClassVar[tuple[str, ...]] = ("text",)

    level: Level
    tokenizer: Literal["words", "whitespace"]

    @property
    def start(self) -> int:
        """Id of what stands before a line."""
        return streams.start_id(self.level, self.vocabulary)

    @cached_property
    def take_apart(self) -> streams.TakeApart:
        """The tokens of a line that ends with its newline."""
        return streams.make_take_apart(self.level, self.tokenizer)

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.tokens)}

    def predict(
        self, model: nn.Module, rows: Sequence[Mapping[str, Any]], /, *, batch_size: int
    ) -> list[dict[str, Any]]:
        ids = [self._ids(text) for text in texts_of(rows, "text")]
        if not ids:
            return []
        predictor, device = cast(Predictor, model), device_of(model)
        groups = torch.tensor([len(one) for one in ids]).argsort(stable=True).split(batch_size)
        found: list[float] = []
        with torch.no_grad():
            for rows_B in groups:
                found += nats_of(predictor, [ids[row] for row in rows_B.tolist()], device)
        return [self._answer(nats, one) for nats, one in zip(in_order(found, torch.cat(groups)), ids, strict=True)]

    def _ids(self, text: str) -> Tensor:
        """The start, and all tokens of a text."""
        lines = keep_ends(text if text.endswith("\n") else f"{text}\n")
        tokens = [token for line in lines for token in self.take_apart(line)]
        return torch.cat([torch.tensor([self.start]), self.vocabulary.encode(tokens)])

    def _answer(self, nats: float, ids: Tensor) -> dict[str, Any]:
        number = len(ids) - 1
        mean = nats / number
        score = {"bits_per_char": mean / math.log(2)} if self.level == "char" else {"perplexity": perplexity(mean)}
        return {**score, "nats": nats, "tokens": number, "unknown": int((ids[1:] == self.vocabulary.unk).sum())}


def nats_of(predictor: Predictor, ids: list[Tensor], device: torch.device) -> list[float]:
    """Sum of the nats of all tokens but the first, for each sequence of ids; (T, B) at once, in pieces of T."""
    inputs_TB = pad_sequence([one[:-1] for one in ids]).to(device)
    targets_TB = pad_sequence([one[1:] for one in ids], padding_value=IGNORED).to(device)
    rows = chunk_rows(predictor.output)
    nats_B = torch.zeros(len(ids), dtype=torch.float64)
    state: Any = None
    for top in range(0, len(inputs_TB), STEPS):
        h_TBE, state = predictor.features(inputs_TB[top : top + STEPS], state)
        part_TB = targets_TB[top : top + STEPS]
        scored_TB = part_TB != IGNORED
        chunks = zip(h_TBE[scored_TB].split(rows), part_TB[scored_TB].split(rows), strict=True)
        nats_N = [token_nats(predictor.output(h_nE)[:, None], targets_n[:, None])[:, 0] for h_nE, targets_n in chunks]
        nats_TB = torch.zeros(part_TB.shape, dtype=torch.float64, device=device)
        nats_TB[scored_TB] = torch.cat(nats_N).double()
        nats_B += nats_TB.sum(dim=0).cpu()
    return nats_B.tolist()


def perplexity(nats: float) -> float:
    """``exp(nats)``; infinite where that is no number any more."""
    return math.exp(nats) if nats < 700 else math.inf
