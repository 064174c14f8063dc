"""What all readers share: their JSON, and rows as people give them."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Self

import numpy as np
import pydantic
import torch
from torch import Tensor, nn

from gru_bench.data import buckets
from gru_bench.data.encode import Fitted
from gru_bench.data.vocabulary import UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.tasks.reader import Reader

MOST_NAMES = 10
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}


class RowError(UserError):
    """A row that cannot be read.

    Attributes:
        row: Its number, from 1.
        problem: What is wrong with it.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(f"row {row:,}: {problem}")
        self.row, self.problem = row, problem


@dataclass(frozen=True)
class Known(Reader):
    """A reader whose fields are all that it knows, each of a type that JSON has."""

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, known: Mapping[str, Any], /) -> Self:
        try:
            return adapter_of(cls).validate_json(json.dumps(dict(known)), strict=True)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "its content"
            raise UserError(f"reader.json: {where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error


@cache
def adapter_of(reader: type[Any]) -> pydantic.TypeAdapter[Any]:
    """What checks a reader's JSON."""
    return pydantic.TypeAdapter(reader)


@dataclass(frozen=True)
class WithVocabulary(Known):
    """A reader with one vocabulary.

    Attributes:
        tokens: Of the vocabulary, by id.
    """

    tokens: list[str]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.tokens)


def vocabulary_of(tokens: list[str], *needed: str) -> Vocabulary:
    """The vocabulary of a reader's tokens.

    Raises:
        UserError: An entry that every vocabulary of the kind has is missing.
    """
    missing = [token for token in (UNK, *needed) if token not in tokens]
    if missing:
        raise UserError(f"reader.json: a vocabulary without {', '.join(missing)}; valid: the file as its run kept it")
    return Vocabulary(tokens)


def texts_of(rows: Sequence[Mapping[str, Any]], role: str) -> list[str]:
    """A text for each row; nothing at all (None, or NaN as pandas has it) is an empty one.

    Raises:
        RowError: A row without the role, or with something else than text.
    """
    return [_text(value, number, role) for number, value in _values(rows, role)]


def words_of(rows: Sequence[Mapping[str, Any]], role: str) -> list[list[str | None]]:
    """A list of words for each row: as given, or a text taken apart on white space.

    Raises:
        RowError: A row without the role, or with neither a text nor a list of texts.
    """
    found: list[list[str | None]] = []
    for number, value in _values(rows, role):
        if isinstance(value, list | tuple | np.ndarray):
            words = list(value)
            wrong = next((word for word in words if word is not None and not isinstance(word, str)), None)
            if wrong is not None:
                raise RowError(number, f"{role} holds a list with {kind_of(wrong)} in it; valid: a list of words")
            found.append(words)
        else:
            found.append([*_text(value, number, role, "text or a list of words").split()])
    return found


def _values(rows: Sequence[Mapping[str, Any]], role: str) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise RowError(number, f"{kind_of(row)}; valid: a dictionary with {role}")
        if role not in row:
            names = [str(name) for name in row]
            there = ", ".join(names[:MOST_NAMES]) + (" ..." if len(names) > MOST_NAMES else "")
            raise RowError(number, f"no {role}; there are {there or 'no keys'}")
        found.append((number, row[role]))
    return found


def _text(value: Any, number: int, role: str, valid: str = "text") -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        raise RowError(number, f"{role} holds {kind_of(value)}; valid: {valid}")
    return value


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return KINDS.get(type(value), f"a {type(value).__name__}")


def unknown_of(fitted: Fitted, unk: int) -> list[int]:
    """How many of each row's tokens are unknown; a row without any was read as one ``<unk>``, which is not counted."""
    if len(fitted.sequences) == 0:
        return []
    starts_R = fitted.sequences.offsets[:-1].astype(np.int64)
    counts_R = np.add.reduceat((fitted.sequences.values == unk).astype(np.int64), starts_R)
    return np.where(fitted.lengths == 0, 0, counts_R).tolist()


def device_of(model: nn.Module) -> torch.device:
    """Where a model is."""
    return next(model.parameters()).device


def answers_to(
    fitted: Fitted, pad: int, model: nn.Module, batch_size: int, ask: Callable[[Tensor, Tensor], Iterable[Any]]
) -> list[Any]:
    """What a model says of each row, in their order; rows of similar length meet in a batch.

    Args:
        fitted: The rows.
        pad: What stands after the end of a row.
        model: Where the ids go.
        batch_size: Rows at once.
        ask: Ids (T, B) where the model is, and lengths (B,), to one answer for each of them.
    """
    groups = buckets.in_order(torch.from_numpy(fitted.sequences.lengths), batch_size)
    if not groups:
        return []
    found: list[Any] = []
    with torch.no_grad():
        for batch in buckets.padded(fitted.sequences, groups, pad):
            found += ask(batch.ids.to(device_of(model)), batch.lengths)
    return in_order(found, torch.cat(groups))


def in_order(answers: list[Any], rows_R: Tensor) -> list[Any]:
    """Answers that came in the order of batches, in that of the rows; ``rows_R`` (R,) says which row each is of."""
    return [answers[at] for at in rows_R.argsort().tolist()]
