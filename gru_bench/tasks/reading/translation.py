"""New sentences for a translator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from gru_bench.data.encode import Tokenize, encode
from gru_bench.data.parallel import SPECIALS, Codec, Kind, make_spell
from gru_bench.data.vocabulary import PAD
from gru_bench.errors import UserError
from gru_bench.tasks.objectives.translate import Translator, greedy_ids
from gru_bench.tasks.reading.base import Known, answers_to, texts_of, unknown_of, vocabulary_of


@dataclass(frozen=True)
class TranslationReader(Known):
    """A sentence's translation, decoded greedily as in scoring.

    An answer holds the ``translation``; the source's ``tokens`` (words, or pieces of words) and how many of them are
    ``unknown``; and ``unfinished``, 1 where the translation reached the most words that one may have before it ended.
    Sources are read whole, as in scoring, however long; one without a token is read as one ``<unk>``.

    Attributes:
        codecs: What :class:`~gru_bench.data.parallel.Codec` takes, for ``source`` and ``target``.
        vocabulary: What a sentence is taken apart into.
        lowercase: Whether upper case is read as lower case.
        most_words: Of a translation, its end included.
    """

    kind: ClassVar[str] = "translation"
    roles: ClassVar[tuple[str, ...]] = ("source",)

    codecs: dict[str, dict[str, list[str] | str]]
    vocabulary: Kind
    lowercase: bool
    most_words: int

    @cached_property
    def source(self) -> Codec:
        return self._codec("source")

    @cached_property
    def target(self) -> Codec:
        return self._codec("target")

    def _codec(self, side: str) -> Codec:
        learned = self.codecs.get(side, {})
        key, kind = ("pieces", str) if self.vocabulary == "bpe" else ("tokens", list)
        broken = UserError(f"reader.json: codecs.{side}: no {key} that can be read; valid: the file as its run kept it")
        if not isinstance(learned.get(key), kind):
            raise broken
        try:
            codec = Codec({key: learned[key]})
        except Exception as error:  # whatever the tokenizer makes of its own text, of which there is no list
            raise broken from error
        vocabulary_of(codec.vocabulary.tokens, *SPECIALS)
        return codec

    @cached_property
    def _spell(self) -> Tokenize:
        return make_spell(self.source, self.vocabulary, lowercase=self.lowercase)

    def sizes(self) -> dict[str, int]:
        return {
            "source_vocab_size": len(self.source.vocabulary),
            "target_vocab_size": len(self.target.vocabulary),
        }

    def predict(
        self, model: nn.Module, rows: Sequence[Mapping[str, Any]], /, *, batch_size: int
    ) -> list[dict[str, Any]]:
        vocabulary = self.source.vocabulary
        fitted = encode(texts_of(rows, "source"), self._spell, vocabulary, max_length=None)

        def ask(ids_TB: Tensor, lengths_B: Tensor) -> list[list[int]]:
            return greedy_ids(cast(Translator, model), ids_TB, lengths_B, self.target.vocabulary, self.most_words)

        answers = answers_to(fitted, vocabulary.index[PAD], model, batch_size, ask)
        unknown_R = unknown_of(fitted, vocabulary.unk)
        return [
            {
                "translation": self.target.text(ids),
                "tokens": length,
                "unknown": unknown,
                "unfinished": int(len(ids) == self.most_words),
            }
            for ids, length, unknown in zip(answers, fitted.lengths.tolist(), unknown_R, strict=True)
        ]
