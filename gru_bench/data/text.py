"""Running text in three splits: the text that every Python ships, a local folder, or a data set on the hub."""

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Gt, Le

from gru_bench.data import source
from gru_bench.data.columns import header_hint, some_names
from gru_bench.data.forms import Reading
from gru_bench.data.source import SPLIT_ALIASES
from gru_bench.data.vocabulary import keep_ends
from gru_bench.errors import UserError

SPLITS = ("train", "valid", "test")
CARVED_SHARE = 0.1
"""Part of all characters that goes to each split that the source does not have."""

SPACE = re.compile(r"\s+")
LONGEST_WORD = 200
"""Characters; text that has no white space for longer has no words between which it could be cut."""


class Text:
    """Running text for language models.

    Args:
        made: Texts made in Python instead of a path, by the name of their split.
        path: None for the topics of ``pydoc``'s help (about 0.4 million characters of English and Python); else a
            folder in the hub's layout (``train``, ``validation``, ``test`` as parquet, jsonl, csv or txt), one such
            file, or the name of a data set on the hub.
        name: Configuration of the data set, where it has several.
        text: Column that holds the text; None takes ``text``, or the only column of strings.
        revision: Branch, tag or commit on the hub. A commit lets prepared data be used without asking the hub.
        fraction: Part of the training text that is used, for learning curves over data size: its head, up to the end
            of a line (of a text that is one line, of a word). A smaller fraction's text is the beginning of a larger
            one's; validation and test text stay.
        separator: What stands between the fields of a file: one character, or ``comma``, ``semicolon``, ``tab``,
            ``pipe``, ``space``; null: as the file's name ends, or found by looking.
        quoting: ``double``, ``backslash`` or ``none``; see :class:`gru_bench.data.forms.Reading`.
        columns: Names of the columns of files whose first line is a row already; null: the first line names them.
        encoding: Of files of text that have no byte order mark; null is UTF-8.

    Attributes:
        notes: What :meth:`load` had to decide and a reader should know, one sentence each.
        whole: After :meth:`load`, the training text of which ``fraction`` is a part: vocabularies are learned from it.
    """

    def __init__(
        self,
        made: Mapping[str, str] | None = None,
        /,
        *,
        path: str | None = None,
        name: str | None = None,
        text: str | None = None,
        revision: str | None = None,
        fraction: Annotated[float, Gt(0), Le(1)] = 1.0,
        separator: str | None = None,
        quoting: str | None = None,
        columns: list[str] | None = None,
        encoding: str | None = None,
    ) -> None:
        self._made = None if made is None else {SPLIT_ALIASES.get(split, split): whole for split, whole in made.items()}
        self.path = path
        self.name = name
        self.text = text
        self.revision = revision
        self.fraction = fraction
        self.reading = Reading(separator, quoting, None if columns is None else tuple(columns), encoding)
        self.notes: list[str] = []
        self.whole = ""
        if path is None and (name is not None or text is not None or revision is not None):
            raise UserError("data.name, data.text and data.revision choose within data.path, and that is null")

    def source_id(self) -> str:
        """What the data will be, known before loading: a content hash, or the hub's name and revision.

        Raises:
            UserError: There is no such folder.
        """
        if self._made is not None:
            return f"texts:{_content_hash(self._made)}"
        if self.path is None:
            return f"pydoc_data.topics:{_content_hash(bundled_topics())}"
        return source.source_id(self.path, self.name, self.revision)

    def recipe(self) -> dict[str, Any]:
        """All that decides which texts :meth:`load` gives, for the key of a cache.

        A branch on the hub may move, so there the data set is asked for and its own fingerprint taken.
        """
        content = self.source_id()
        if self.path is not None and content.startswith("hub:") and not source.COMMIT.fullmatch(self.revision or ""):
            rows = source.load_splits(self.path, self.name, self.revision)
            content += ":" + ",".join(f"{split}={rows[split]._fingerprint}" for split in sorted(rows))
        return {
            "content": content,
            "column": self.text,
            "reading": dataclasses.asdict(self.reading),
            "fraction": self.fraction,
        }

    def load(self) -> dict[str, str]:
        """The text of ``train``, ``valid`` and ``test``. Every row of a source ends with a newline, the last too.

        A source whose split is one row of several lines has that text as it is.

        A split that the source does not have is carved from its training text: the text is cut in a hundred runs of
        lines, and a fixed hash picks the runs. Of a text whose lines are too long for that, such as one that is a
        single line, the last tenth is the test text and the tenth before it the validation text.

        Raises:
            UserError: No such data, no such column, or a split without text.
        """
        self.notes = []
        if self._made is not None:
            splits = self._fill(dict(self._made))
        elif self.path is None:
            splits = self._load_bundled()
        else:
            splits = self._fill(self._load_columns(self.path))
        for split in SPLITS:
            if not splits[split].strip():
                raise UserError(f"{self._where}: the {split} split holds no text")
        self.whole = splits["train"]
        if self.fraction < 1:
            splits["train"] = self._head(splits["train"])
        return {split: splits[split] for split in SPLITS}

    @property
    def _where(self) -> str:
        return "data" if self._made is not None else f"data.path={'null' if self.path is None else self.path}"

    def _load_bundled(self) -> dict[str, str]:
        self.notes.append("bundled text: pydoc's help topics, repeated paragraphs dropped, split by whole topics")
        carved = carve(drop_repeats(bundled_topics()), SPLITS[1:])
        return {split: join(topics) for split, topics in carved.items()}

    def _load_columns(self, path: str) -> dict[str, str]:
        rows = source.load_splits(path, self.name, self.revision, self.reading, self.notes)
        if "train" not in rows:
            raise UserError(f"data.path={path}: no train split; there are {', '.join(sorted(rows))}")
        column = self._column(path, rows["train"])
        splits: dict[str, str] = {}
        for split in SPLITS:
            if split in rows:
                if column not in rows[split].column_names:
                    raise UserError(f"data.path={path}: the {split} split has no column {column}")
                splits[split] = join([value or "" for value in rows[split][column]])
        return splits

    def _fill(self, splits: dict[str, str]) -> dict[str, str]:
        """Carve what is missing from the training text."""
        if "train" not in splits:
            raise UserError(f"{self._where}: no train split; there are {', '.join(sorted(splits)) or 'none'}")
        missing = tuple(split for split in SPLITS if split not in splits)
        if not missing or not splits["train"].strip():
            return splits
        lacking = f"no {' and no '.join(missing)} split in the source"
        runs = runs_of_lines(splits["train"])
        carved = {split: join(pieces) for split, pieces in carve(runs, missing).items()}
        if all(text.strip() for text in carved.values()):
            self.notes.append(f"{lacking}: carved from train by a fixed hash")
            return splits | carved
        carved = tails(splits["train"], missing)
        if not all(text.strip() for text in carved.values()):
            raise UserError(
                f"{self._where}: {lacking}, and the train split has too little text to carve "
                f"{'them' if len(missing) > 1 else 'it'} from; valid: about twenty words or more"
            )
        lines = splits["train"].count("\n")
        told = "one line" if lines < 2 else f"{lines:,} lines, too long to be shared out"
        places = {"valid": "the tenth before it" if "test" in missing else "the last tenth", "test": "the last tenth"}
        self.notes.append(
            f"{lacking}, and the text is {told}: {' and '.join(f'{places[s]} is {s}' for s in reversed(missing))}, "
            "cut between words where there are any"
        )
        return splits | carved

    def _head(self, text: str) -> str:
        """The part of the training text that ``fraction`` asks for."""
        start = max(math.ceil(self.fraction * len(text)) - 1, 0)
        stop = text.find("\n", start) + 1 or len(text)
        if "\n" not in text[:-1]:
            stop = next_word(text, start + 1)
        head = text[:stop]
        if not head.strip():
            raise UserError(f"data.fraction={self.fraction:g}: that much of the training text holds no text")
        self.notes.append(
            f"data.fraction={self.fraction:g}: {len(head):,} of {len(text):,} characters of training text are used, "
            "the vocabulary is that of all"
        )
        return head

    def _column(self, path: str, rows: Any) -> str:
        strings = [n for n, kind in rows.features.items() if getattr(kind, "dtype", "") in ("string", "large_string")]
        column = self.text
        if column is None and ("text" in strings or len(strings) == 1):
            column = "text" if "text" in strings else strings[0]
        chosen = self.text is None and column != "text"
        hint = ""
        if self.reading.columns is None and source.is_delimited(path) and (chosen or column not in strings):
            hint = header_hint(rows.with_format("arrow")[:], ["text"])
        if column is None or column not in strings:
            asked = "which column is the text?" if column is None else f"data.text={column} is no column of text."
            raise UserError(f"data.path={path}: {asked} Text is in: {some_names(strings) or 'no column'}{hint}")
        if hint:  # a row must not get lost as the name of the only column
            raise UserError(f"data.path={path}: data.text is not set, and {some_names(strings)} is no name{hint}")
        return column


def bundled_topics() -> dict[str, str]:
    """The topics of Python's own help, by name. They differ between Python versions."""
    from pydoc_data.topics import topics

    return dict(topics)


def drop_repeats(texts: dict[str, str]) -> dict[str, str]:
    """Keep each paragraph only where it stands first, in the order of the keys.

    A fifth of pydoc's text stands in two topics ("compound" holds all of "if", "for", "try" ...): split by topics
    alone, test text would be found in the training text.
    """
    seen: set[str] = set()
    kept: dict[str, str] = {}
    for key, text in sorted(texts.items()):
        paragraphs = [p.strip("\n") for p in re.split(r"\n[ \t]*\n", text)]
        first = [p for p in dict.fromkeys(paragraphs) if p.strip() and p not in seen]
        seen.update(first)
        if first:
            kept[key] = "\n\n".join(first) + "\n\n"
    return kept


def runs_of_lines(text: str, num_runs: int = 100) -> dict[str, str]:
    """Cut a text in at most ``num_runs`` runs of lines, keyed by their place; together they are the text."""
    lines = list(keep_ends(text))
    num_runs = min(num_runs, len(lines))
    edges = [i * len(lines) // num_runs for i in range(num_runs + 1)] if lines else []
    return {str(run): "".join(lines[start:stop]) for run, (start, stop) in enumerate(itertools.pairwise(edges))}


def carve(pieces: dict[str, str], splits: tuple[str, ...]) -> dict[str, list[str]]:
    """Share out whole pieces: each of ``splits`` gets about a tenth of the characters, ``train`` the rest.

    Pieces are taken in the order of a hash of their keys and go to the first split that still has room, so the
    outcome depends on the pieces alone. Within a split they keep the order in which they were given.
    """
    room = {split: CARVED_SHARE * sum(map(len, pieces.values())) for split in splits}
    chosen: dict[str, str] = {}
    for key in sorted(pieces, key=lambda key: hashlib.sha256(key.encode()).digest()):
        split = next((split for split in splits if len(pieces[key]) <= room[split]), "train")
        chosen[key] = split
        if split in room:
            room[split] -= len(pieces[key])
    return {split: [pieces[key] for key in pieces if chosen[key] == split] for split in ("train", *splits)}


def tails(text: str, splits: tuple[str, ...]) -> dict[str, str]:
    """Cut a text's end off: each of ``splits`` gets a tenth of the characters in their order, ``train`` the head.

    Each part ends with a newline.
    """
    starts = [next_word(text, round(len(text) * (1 - CARVED_SHARE * left))) for left in range(len(splits), 0, -1)]
    edges = [0, *starts, len(text)]
    parts = [text[start:stop] for start, stop in itertools.pairwise(edges)]
    return {
        split: part if part.endswith("\n") else f"{part.rstrip(' ')}\n"
        for split, part in zip(("train", *splits), parts, strict=True)
    }


def next_word(text: str, start: int) -> int:
    """Where the first word begins at ``start`` or after; ``start`` itself where there are no words for long."""
    space = SPACE.search(text, max(start - 1, 0), start + LONGEST_WORD)
    return start if space is None else space.end()


def join(rows: list[str]) -> str:
    """One text of all rows. Each row that does not end with a newline gets one, but a text that is one row stays."""
    if len(rows) == 1 and "\n" in rows[0]:
        return rows[0]
    return "".join(row if row.endswith("\n") else f"{row}\n" for row in rows)


def _content_hash(texts: Mapping[str, str]) -> str:
    pieces = [part for item in sorted(texts.items()) for part in item]
    return hashlib.sha256(chr(0).join(pieces).encode()).hexdigest()[:16]
