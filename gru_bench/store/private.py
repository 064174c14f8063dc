"""What a store keeps of a text: no secrets, and of this machine's folders no more than is needed to find a file again.

A folder often holds the user's name. The working folder becomes ``.`` and the home folder ``~``, which both still lead
to the file from the same place.
"""

import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

from gru_bench.redact import redacted, without_secrets

Value = TypeVar("Value")


def without_private(text: str) -> str:
    """The text with short names for this machine's folders."""
    return shortened(text, {working_folder(): ".", os.path.expanduser("~"): "~"})


def for_people(text: str) -> str:
    """The same of a traceback or an error, where the folder of the Python environment becomes ``PYTHON``."""
    return shortened(text, {working_folder(): ".", sys.prefix: "PYTHON", os.path.expanduser("~"): "~"})


def shortened(text: str, names: Mapping[str, str]) -> str:
    """The text with a name for each folder."""
    for folder, name in names.items():
        if folder in text and len(Path(folder).parts) > 1:
            text = whole(folder).sub(name, text)
    return text


@cache
def whole(folder: str) -> re.Pattern[str]:
    """The folder as a whole: ``/home/me`` is no part of ``/home/meg`` or of ``/mnt/home/me``."""
    return re.compile(rf"(?<![\w.~-]){re.escape(folder)}(?![\w-])(?!\.\w)")


def working_folder() -> str:
    """The working folder, or nothing where it was deleted under our feet."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def clean(value: Value) -> Value:
    """Without secrets and private folders: each text of dictionaries, lists and tuples."""

    def of(part: object) -> object:
        if isinstance(part, str):
            return without_private(without_secrets(part))
        if isinstance(part, dict):
            return {of(key): of(entry) for key, entry in part.items()}
        return type(part)(map(of, part)) if isinstance(part, list | tuple) else part

    return cast(Value, of(redacted(value)))
