"""Minimal pairs: whether a language model prefers the grammatical one of two sentences that differ in a word."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data import source
from gru_bench.data.digest import digest
from gru_bench.data.vocabulary import UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.losses import chunk_rows, token_nats
from gru_bench.tasks.base import Metric, Part, SliceScore, parts_by
from gru_bench.tasks.objectives.model_language import Predictor

METRIC = Metric("minimal_pairs_accuracy", "share of pairs", higher_is_better=True)
COLUMNS = ("construction", "sentence_good", "sentence_bad")
SENTENCES_AT_ONCE = 256

Surprise = Callable[[Tensor, Tensor], Tensor]
"""Nats of each token from the second on, (T, B), for sentences of ids (T + 1, B), where a mask (T, B) asks for them."""


class MinimalPairs:
    """Pairs of sentences, one grammatical and one not, by construction.

    One of those with a noun of another number between subject and verb::

        prep_anim   the surgeon behind the assistants smiles | the surgeon behind the assistants smile

    A pair is right where the grammatical sentence has the higher probability, a tie is wrong. A sentence's probability
    is that of its words, read after the end of a line, without what comes after the last. Both have the same
    words until they differ, so only the words from there on are compared.

    Words are what stands between spaces. Pairs are scored only where the words in which they differ are in the
    vocabulary: a ``<unk>`` against a word would compare how common they are. Other words may be ``<unk>``; both
    sentences have them alike.

    Source: Marvin and Linzen (2018), arXiv:1808.09031.

    Args:
        path: A folder with a ``test`` split, or a file, with the columns :data:`COLUMNS`.

    Attributes, after :meth:`load`:
        notes: What a reader of the score must know.
        facts: Counts of pairs.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.notes: list[str] = []
        self.facts: dict[str, int | float | str] = {}

    def source_id(self) -> str:
        """A hash of the content.

        Raises:
            UserError: There is nothing at the path.
        """
        return digest(*(source.file_digest(file) for file in source.data_files(self._place())))

    def load(self, vocabulary: Vocabulary, start: int) -> None:
        """Read the pairs.

        Args:
            vocabulary: Of the model.
            start: Id of what stands before each sentence.

        Raises:
            UserError: A column is missing, or there is no pair that can be scored.
        """
        rows = self._rows()
        index, unk = vocabulary.index, vocabulary.unk
        good, bad = (
            [torch.tensor([start, *(index.get(word, unk) for word in text.split())]) for text in rows[column]]
            for column in COLUMNS[1:]
        )
        # sentences of 2 N columns: the grammatical ones, then the others; -1 after their end
        ids_TB = pad_sequence([*good, *bad], padding_value=-1)
        good_TN, bad_TN = ids_TB.chunk(2, dim=1)
        words_good_TN, words_bad_TN = (self._words(rows[column], len(ids_TB)) for column in COLUMNS[1:])
        differs_TN = torch.from_numpy(words_good_TN != words_bad_TN)
        known_N = ~(differs_TN & ((good_TN == unk) | (bad_TN == unk))).any(dim=0) & differs_TN.any(dim=0)
        if not known_N.any():
            raise UserError(
                f"task.minimal_pairs={self.path}: in no pair are the words that differ in the vocabulary of this task"
            )
        self.ids_TB = torch.cat([good_TN[:, known_N], bad_TN[:, known_N]], dim=1)
        # the words to compare: real ones from the first difference on
        from_there_TN = differs_TN[:, known_N].cumsum(dim=0) > 0
        self.asked_TB = torch.cat([from_there_TN, from_there_TN], dim=1)[1:] & (self.ids_TB[1:] >= 0)
        named = np.array(rows["construction"], dtype=object)
        self.parts: list[Part] = parts_by("construction", named[known_N.numpy()].tolist())
        self._describe(named, known_N.numpy(), int((self.ids_TB == unk).any(dim=0).sum()))

    def _place(self) -> Path:
        place = Path(self.path).expanduser()
        if not place.exists():
            raise UserError(
                f"task.minimal_pairs={self.path}: no such folder or file; valid: one with the columns "
                f"{', '.join(COLUMNS)}, or null"
            )
        return place

    def _rows(self) -> dict[str, list[str]]:
        place = str(self._place())
        try:
            splits = source.load_splits(place, None, None)
        except UserError as error:  # it takes what it reads for data.path
            raise UserError(f"task.minimal_pairs={str(error).removeprefix('data.path=')}") from error
        rows = splits.get("test") or next(iter(splits.values()))
        if missing := [column for column in COLUMNS if column not in rows.column_names]:
            raise UserError(f"task.minimal_pairs={self.path}: no column {', '.join(missing)}")
        return {column: [str(value) for value in rows[column]] for column in COLUMNS}

    def _words(self, sentences: list[str], height: int) -> np.ndarray:
        """The words themselves (T, N), "" before the first and after the last."""
        found = np.full((height, len(sentences)), "", dtype=object)
        for column, sentence in enumerate(sentences):
            words = sentence.split()
            found[1 : len(words) + 1, column] = words
        return found

    def _describe(self, named: np.ndarray, known_N: np.ndarray, with_unknown: int) -> None:
        scored = int(known_N.sum())
        self.facts = {"minimal_pairs": len(known_N), "minimal_pairs_scored": scored}
        note = (
            f"minimal pairs: {scored:,} of {len(known_N):,} are scored, in the others a word that differs is {UNK}; "
            f"{with_unknown / (2 * scored):.1%} of the scored sentences hold {UNK} elsewhere"
        )
        without = sorted(set(Counter(named)) - set(Counter(named[known_N])))
        self.notes = [note + (f"; none is left of {', '.join(without)}" if without else "")]

    def accuracy(self, surprise: Surprise) -> list[SliceScore]:
        """The share of right pairs of all, and then of each construction.

        Args:
            surprise: What a token costs.
        """
        lengths_B = (self.ids_TB >= 0).sum(dim=0)
        nats_B = torch.empty(len(lengths_B), dtype=torch.float64)
        for columns_B in lengths_B.argsort(stable=True).split(SENTENCES_AT_ONCE):
            height = int(lengths_B[columns_B].max())
            asked_TB = self.asked_TB[: height - 1, columns_B]
            nats_TB = surprise(self.ids_TB[:height, columns_B].clamp(min=0), asked_TB)
            nats_B[columns_B] = nats_TB.double().cpu().where(asked_TB, 0.0).sum(dim=0)
        good_N, bad_N = nats_B.chunk(2)
        right_N = (good_N < bad_N).numpy()
        whole = Part("", "", np.arange(len(right_N)))
        return [part.score(METRIC.name, float(right_N[part.rows].mean())) for part in (whole, *self.parts)]


def model_surprise(predictor: Predictor, device: torch.device) -> Surprise:
    """Of a language model; the output layer is asked only for what is wanted, in parts that fit in memory."""

    def surprise(ids_TB: Tensor, asked_TB: Tensor) -> Tensor:
        ids_TB, asked_TB = ids_TB.to(device), asked_TB.to(device)
        h_TBE, _ = predictor.features(ids_TB[:-1], None)
        rows = chunk_rows(predictor.output)
        wanted = zip(h_TBE[asked_TB].split(rows), ids_TB[1:][asked_TB].split(rows), strict=True)
        nats_N = [token_nats(predictor.output(h_NE)[:, None], targets_N[:, None])[:, 0] for h_NE, targets_N in wanted]
        nats_TB = torch.zeros(asked_TB.shape, dtype=torch.float64, device=device)
        nats_TB[asked_TB] = torch.cat(nats_N).double()
        return nats_TB

    return surprise


def frequency_surprise(surprise_V: Tensor) -> Surprise:
    """Of a model that knows how often each word is."""
    return lambda ids_TB, _: surprise_V[ids_TB[1:]]
