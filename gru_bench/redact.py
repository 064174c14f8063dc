"""Passwords and tokens out of every text that leaves the process: a message, a tag, a file, a report.

What is printed also loses the characters by which a text from data or a store could steer a terminal.

Three things are hidden: what stands before the ``@`` of a URI; the value of a key that is named like a secret, in a
URI's query or as ``key=value``; and the values of secrets themselves wherever they occur, which are those of the
environment by the variable's name and those of the URIs that :func:`remember` was given. Where a password makes the end
of a URI doubtful (RFC 3986 forbids ``/``, ``@`` and ``?`` in one, and people have them) more is hidden, not less.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 8
"""Characters. A shorter value is hidden where it stands in a URI or after its key, but not searched for in all text."""

SECRET_NAME = (
    r"pass|passwd|password|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|account[_-]?key"
    r"|private[_-]?key|secret[_-]?key|shared[_-]?key|auth[_-]?key|credentials?|authorization|signature"
)
IN_QUERY = re.compile(
    # Azure's sig and SQLAlchemy's odbc_connect, a whole connection string, are secrets in a URI alone
    rf"([?&;](?:[\w.-]*(?:{SECRET_NAME})|sig|auth|key|odbc_connect)=)[^&\s]*?(?=[\"')\]}}`,]*(?:[&\s]|$))",
    re.IGNORECASE,
)
AS_KEY = re.compile(
    # "tokens=5" and "model.input=token" are no secrets: so a token needs a word before it, and = comes next
    r"((?<![\w.-])[\w.-]*?(?:passwd|password|passphrase|pwd|secret|[_-]token|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|secret[_-]?key)[\"']?(?:=|%3D|:\s)\s*)(?![\s=]|[\"']?\*\*\*)(\"[^\"]*\"|'[^']*'|[^\s;,&\"')\]}`]+)",
    re.IGNORECASE,
)
HEADER = re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?|\bbearer\s+)[\w.~+/=-]{6,}", re.IGNORECASE)
BEFORE_AT = re.compile(
    r"(?:(?<!http:)(?<!https:)(?<=:)//(?!/)|(?<=http:)//(?=[^\s/?#]*[:@])|(?<=https:)//(?=[^\s/?#]*[:@]))\S*@",
    re.IGNORECASE,
)
"""Of ``://user:password@host``, from the slashes to the last ``@``. There is no such part in
``sqlite:////home/me@here`` and ``https://pypi.org/project/name@1.0``."""

NAMED_SECRET = re.compile(rf"(?:^|_)(?:{SECRET_NAME}|[a-z]*secret[a-z]*|auth|key)(?:_|$)", re.IGNORECASE)
NO_SECRET = {"pwd", "oldpwd"}
STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, clears a screen, sets a title or turns the direction of writing; and what cannot be encoded."""

_remembered: set[str] = set()


def without_secrets(text: str, known: Sequence[str] | None = None) -> str:
    """The text with ``***`` for each password and token in it.

    Args:
        text: Any.
        known: What :func:`known_secrets` gives, for who asks for many texts at once; it looks through the environment.
    """
    for secret in known_secrets() if known is None else known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = IN_QUERY.sub(rf"\1{HIDDEN}", text)
        text = BEFORE_AT.sub(f"//{HIDDEN}@", text)
    text = AS_KEY.sub(rf"\1{HIDDEN}", text)
    return HEADER.sub(rf"\1{HIDDEN}", text)


def redacted(value: Any, known: Sequence[str] | None = None) -> Any:
    """The same for every text in dictionaries, lists and tuples; what a key like ``password`` holds goes too."""
    known = known_secrets() if known is None else known
    if isinstance(value, str):
        return without_secrets(value, known)
    if isinstance(value, Mapping):
        return {
            redacted(key, known): HIDDEN
            if is_secret_key(key) and isinstance(entry, str) and entry
            else redacted(entry, known)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(redacted(part, known) for part in value)
    return value


def is_secret_key(key: object) -> bool:
    """Whether ``password`` or ``api_key`` is what a key is called."""
    return isinstance(key, str) and re.fullmatch(rf"[\w.-]*?(?:{SECRET_NAME})", key, re.IGNORECASE) is not None


def remember(uri: str) -> None:
    """Take the secrets of a URI for ones from now on: drivers repeat a password without the URI around it."""
    _, separator, rest = uri.partition("://")
    if not separator or (rest.startswith("/") and "?" not in rest):
        return
    before, at, _ = rest.rpartition("@")
    found = [before, before.partition(":")[2]] if at else []
    query = rest.partition("?")[2]
    found += [value for key, value in parse_qsl(query) if is_secret_key(key) or key.lower() in ("sig", "odbc_connect")]
    _remembered.update(secret for secret in found if len(secret) >= SHORTEST)


def known_secrets() -> list[str]:
    """All secrets that are known by value, in each way that a URI may write them, the longest first."""
    found = set(_remembered)
    for name in filter(is_secret_variable, os.environ):  # values are decoded anew each time: only those that matter
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST and not is_path(value):
            found.add(value)
    ways = (str, quote, quote_plus, unquote, unquote_plus, lambda text: quote(text, safe=""))
    return sorted({way(secret) for secret in found for way in ways}, key=lambda text: (-len(text), text))


@cache
def is_secret_variable(name: str) -> bool:
    """Whether a variable of the environment holds a secret, by its name: ``HF_TOKEN``, ``AWS_SECRET_ACCESS_KEY``."""
    return name.lower() not in NO_SECRET and NAMED_SECRET.search(name) is not None


def is_path(value: str) -> bool:
    """Whether a value names a file, such as the socket of an agent: no secret, and a part of many messages."""
    try:
        return os.path.isabs(value) and Path(value).exists()
    except (OSError, ValueError):
        return False


def visible(text: str) -> str:
    """The text with the codes of characters that steer a terminal in their place; tabs and line ends stay."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


class Visible:
    """A stream of text that shows what could steer a terminal; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text with such characters as codes; returns the length that was given."""
        self.stream.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line likewise."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Redacting(Visible):
    """A stream of text that also hides secrets in what is written to it."""

    def write(self, text: str) -> int:
        """Write the text without secrets; returns the length that was given."""
        super().write(without_secrets(text))
        return len(text)


@contextmanager
def printing() -> Iterator[None]:
    """Hide secrets in all that Python prints inside the block: messages, warnings, tables, tracebacks, logs.

    Nor does any of it steer a terminal.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (one if isinstance(one, Redacting) else Redacting(one) for one in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
