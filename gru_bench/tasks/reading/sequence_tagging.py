"""New sentences for a tagger."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from gru_bench.data.encode import encode
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary
from gru_bench.tasks.reading.base import WithVocabulary, answers_to, unknown_of, vocabulary_of, words_of


@dataclass(frozen=True)
class TagReader(WithVocabulary):
    """A tag for each word.

    A row holds a list of words, or a text that is taken apart on white space. An answer holds the ``words``, their
    tags as ``prediction``, how many of the words are ``unknown`` to the model, how many more at the end were ``cut``
    off, as in training (they have no tag), and the ``probabilities`` of the tags.

    Attributes:
        classes: Names of the tags, by id.
        lowercase: Whether upper case is read as lower case; ``words`` keep theirs.
        max_length: Words of a row that are read; None for all.
    """

    kind: ClassVar[str] = "sequence_tagging"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)

    classes: list[str]
    lowercase: bool
    max_length: Annotated[int, Gt(0)] | None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.tokens, PAD)

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.tokens), "num_classes": len(self.classes)}

    def details(self) -> list[str]:
        return ["probabilities"]

    def predict(
        self, model: nn.Module, rows: Sequence[Mapping[str, Any]], /, *, batch_size: int
    ) -> list[dict[str, Any]]:
        words_R = words_of(rows, "tokens")
        given: list[Any] = words_R  # what encode() calls a text is whatever its tokenizer takes
        fitted = encode(given, lambda row: read_words(row, self.lowercase), self.vocabulary, max_length=self.max_length)

        def ask(ids_TB: Tensor, lengths_B: Tensor) -> Iterable[tuple[list[int], list[float]]]:
            logits_TBC = model(ids_TB, lengths_B).double()
            # the tag by the logits, as a score has it: rounding may make two probabilities equal
            tags_BT = logits_TBC.argmax(dim=2).T.tolist()
            return zip(tags_BT, logits_TBC.softmax(dim=2).amax(dim=2).T.tolist(), strict=True)

        answers = answers_to(fitted, self.vocabulary.index[PAD], model, batch_size, ask)
        unknown_R = unknown_of(fitted, self.vocabulary.unk)
        return [
            self._answer(words, tags, p_T, unknown)
            for words, (tags, p_T), unknown in zip(words_R, answers, unknown_R, strict=True)
        ]

    def _answer(self, words: list[str | None], tags: list[int], p_T: list[float], unknown: int) -> dict[str, Any]:
        read = words[: self.max_length]
        return {
            "words": [UNK if word is None else word for word in read],
            "prediction": [self.classes[tag] for tag in tags[: len(read)]],
            "unknown": unknown,
            "cut": len(words) - len(read),
            "probabilities": p_T[: len(read)],
        }


def read_words(row: Sequence[str | None], lowercase: bool) -> list[str]:
    """The words as a vocabulary has them: a missing one is ``<unk>``."""
    words = [UNK if word is None else word for word in row]
    return [word.lower() for word in words] if lowercase else words
