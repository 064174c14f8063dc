"""Readers of all tasks that new texts can be given to, and any of them again from its JSON."""

from collections.abc import Mapping
from typing import Any

from gru_bench.errors import UserError
from gru_bench.tasks.reader import Reader
from gru_bench.tasks.reading.language_modeling import LanguageReader
from gru_bench.tasks.reading.sequence_tagging import TagReader
from gru_bench.tasks.reading.text_classification import ClassReader
from gru_bench.tasks.reading.translation import TranslationReader
from gru_bench.tasks.reading.verb_number import VerbNumberReader

READERS: dict[str, type[Reader]] = {
    one.kind: one for one in (ClassReader, TagReader, TranslationReader, LanguageReader, VerbNumberReader)
}
"""By the name that a reader's JSON gives."""


def read_reader(known: Mapping[str, Any], /) -> Reader:
    """The reader that a kept model's ``reader.json`` holds: ``{"kind": ..., **reader.as_json()}``.

    Raises:
        UserError: Another version's, or no reader at all.
    """
    kind = known.get("kind") if isinstance(known, Mapping) else None
    if not isinstance(kind, str) or kind not in READERS:
        raise UserError(f"reader.json: kind={kind!r}: no such reader; valid: {', '.join(sorted(READERS))}")
    return READERS[kind].from_json({key: value for key, value in known.items() if key != "kind"})
