"""New texts for a classifier of texts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from gru_bench.data.encode import Tokenizer, encode, make_tokenize
from gru_bench.data.vocabulary import PAD, Vocabulary
from gru_bench.tasks.reading.base import WithVocabulary, answers_to, texts_of, unknown_of, vocabulary_of


@dataclass(frozen=True)
class ClassReader(WithVocabulary):
    """A text's class, and how probable the model finds it.

    An answer holds ``prediction`` (a class's name) and its ``probability``; ``tokens`` that the model read, how many of
    them are ``unknown`` to it, and how many more at the text's end were ``cut`` off, as in training; then every class
    as ``p(NAME)``. A text without a token is read as one ``<unk>``, as in training.

    Attributes:
        classes: Names by id.
        tokenizer: As in :func:`~gru_bench.data.encode.make_tokenize`.
        lowercase: Likewise.
        max_length: Tokens of a text that are read; None for all.
    """

    kind: ClassVar[str] = "text_classification"
    roles: ClassVar[tuple[str, ...]] = ("text",)

    classes: list[str]
    tokenizer: Tokenizer
    lowercase: bool
    max_length: Annotated[int, Gt(0)] | None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.tokens, PAD)

    @cached_property
    def _tokenize(self) -> Callable[[str], Sequence[str]]:
        return make_tokenize(self.tokenizer, lowercase=self.lowercase)

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.tokens), "num_classes": len(self.classes)}

    def details(self) -> list[str]:
        return [of_class(name) for name in self.classes]

    def predict(
        self, model: nn.Module, rows: Sequence[Mapping[str, Any]], /, *, batch_size: int
    ) -> list[dict[str, Any]]:
        fitted = encode(texts_of(rows, "text"), self._tokenize, self.vocabulary, max_length=self.max_length)

        def ask(ids_TB: Tensor, lengths_B: Tensor) -> Iterable[tuple[int, list[float]]]:
            logits_BC = model(ids_TB, lengths_B).double()
            # the class by the logits, as a score has it: rounding may make two probabilities equal
            return zip(logits_BC.argmax(dim=1).tolist(), logits_BC.softmax(dim=1).tolist(), strict=True)

        answers = answers_to(fitted, self.vocabulary.index[PAD], model, batch_size, ask)
        unknown_R = unknown_of(fitted, self.vocabulary.unk)
        return [
            self._answer(best, p_C, length, unknown)
            for (best, p_C), length, unknown in zip(answers, fitted.lengths.tolist(), unknown_R, strict=True)
        ]

    def _answer(self, best: int, p_C: list[float], length: int, unknown: int) -> dict[str, Any]:
        read = length if self.max_length is None else min(length, self.max_length)
        return {
            "prediction": self.classes[best],
            "probability": p_C[best],
            "tokens": read,
            "unknown": unknown,
            "cut": length - read,
            **{of_class(name): p for name, p in zip(self.classes, p_C, strict=True)},
        }


def of_class(name: str) -> str:
    """The key of a class's probability."""
    return f"p({name})"
