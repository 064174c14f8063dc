"""Rows with named columns in three splits: what a task for whole rows (not for running text) reads."""

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Gt, Le, Lt

from gru_bench.data import tags
from gru_bench.data.columns import drop_without_text, flatten, header_hint, problem_of, some_names
from gru_bench.data.findings import Findings, class_remarks, count
from gru_bench.data.forms import Reading
from gru_bench.data.label_columns import NUMBER, SPLITS, drop_unlabeled, encode_labels, flat_ids
from gru_bench.data.layouts import find
from gru_bench.data.source import (
    COMMIT,
    SPLIT_ALIASES,
    Made,
    check_hub_keys,
    is_delimited,
    load_splits,
    made_id,
    made_splits,
    source_id,
)
from gru_bench.data.split import carve, content_hashes, fraction_of, near_duplicates, num_shared
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

READ = ("text", "tokens", "source")
"""Roles of columns that a model reads; the first of them that a data set has is the content that rows are known by."""
Share = Annotated[float, Gt(0), Lt(1)]


@dataclass
class Loaded:
    """What :meth:`Rows.load` gives.

    Attributes:
        tables: One table per split; its columns are named by their roles. No row is unlabeled; labels are ids.
        classes: Names of the classes, or None without labels.
        counts: By split: ``rows`` that are used, ``unlabeled`` ones that are not (or, of pairs of texts,
            ``incomplete`` ones; of texts also ``no_text`` ones), ``also_in_train``, for the test ``also_in_valid``, and
            for ``train`` ``before_fraction``. With words and tags also ``empty`` rows, which are not used, and words
            with ``unseen_tags``, which no training row has.
        notes: What was decided and a reader should know, one sentence each.
        findings: What the rows were, for data.yaml.
        whole: All training rows, where ``tables`` has a fraction of them: vocabularies are learned from these.
    """

    tables: dict[str, "pa.Table"]
    classes: list[str] | None
    counts: dict[str, dict[str, int]]
    notes: list[str] = field(default_factory=list)
    whole: "pa.Table | None" = None
    findings: Findings = field(default_factory=Findings)


class Rows:
    """A data set of rows.

    Args:
        made: Rows made in Python instead of a path: dictionaries (all are training rows), or such rows by split.
        path: A folder in the hub's layout (``train``, ``validation``, ``test`` as parquet, JSON lines, CSV, TSV or
            txt), one such file, or a data set's name on the hub.
        name: Configuration of the data set, where it has several.
        revision: Branch, tag or commit on the hub. A commit lets prepared data be used without asking the hub.
        valid_split: Which split of the source validates; null for its validation split. ``train``: one is carved from
            the training rows, as where the source has none.
        test_split: Which one tests; null for its test split; ``train`` likewise. A split without any label (or
            translation) is refused, not carved: carved rows may be near those of training, and nobody would notice.
        valid_share: Part of the training rows that becomes the validation split where it is carved.
        test_share: Likewise for the test split.
        fraction: Part of the training rows that is used, for learning curves over data size. A smaller fraction's
            rows are all among a larger one's; validation and test rows, and what all training rows decide (classes,
            vocabularies), stay the same.
        fallback_test_split: Which split tests where the source's test split has no labels; null: it is refused.
        text: Column of texts. Rows without text are counted, and not used. A column inside another is named with a
            dot, such as ``translation.en``.
        label: Column of labels: the data set's own classes, texts, or numbers. Missing ones, and -1 where the column
            has named classes or where training has no -1, are rows without a label: counted, and not used.
        tokens: Column of lists of words. Rows without a word are counted, and not used.
        tags: Column of lists of labels, one for each word. A tag that training lacks is refused, unless the data set
            names its tags, or its only word went to a split that was carved: then it is counted.
        source: Column of texts to translate.
        target: Column of their translations. Rows that lack a side are counted, and not used.
        slice: Column by whose values scores are also shown, or null.
        layout: Of files that are no table: how rows are kept in them (see :mod:`gru_bench.data.layouts`); null: by
            what stands in them.
        separator: What stands between the fields of a file: one character, or ``comma``, ``semicolon``, ``tab``,
            ``pipe``, ``space``; null: as the file's name ends, or found by looking.
        quoting: ``double``, ``backslash`` or ``none``; see :class:`gru_bench.data.forms.Reading`.
        columns: Names of the columns of files whose first line is a row already; null: the first line names them.
        encoding: Of files of text that have no byte order mark; null is UTF-8.
    """

    def __init__(
        self,
        made: Made | None = None,
        /,
        *,
        path: str | None = None,
        name: str | None = None,
        revision: str | None = None,
        valid_split: str | None = None,
        test_split: str | None = None,
        valid_share: Share = 0.1,
        test_share: Share = 0.1,
        fraction: Annotated[float, Gt(0), Le(1)] = 1.0,
        fallback_test_split: str | None = None,
        text: str | None = None,
        label: str | None = None,
        tokens: str | None = None,
        tags: str | None = None,
        source: str | None = None,
        target: str | None = None,
        slice: str | None = None,
        layout: find.Name | None = None,
        separator: str | None = None,
        quoting: str | None = None,
        columns: list[str] | None = None,
        encoding: str | None = None,
    ) -> None:
        self._made = None if made is None else made_splits(made)
        self.path, self.name, self.revision = path, name, revision
        self.valid_split, self.test_split = valid_split, test_split
        self.shares = {"test": test_share, "valid": valid_share}
        self.fraction = fraction
        self.fallback_test_split = fallback_test_split
        self.reading = Reading(separator, quoting, None if columns is None else tuple(columns), encoding)
        self.layout = layout
        roles = {
            "text": text,
            "tokens": tokens,
            "source": source,
            "target": target,
            "label": label,
            "tags": tags,
            "slice": slice,
        }
        self.columns = {role: column for role, column in roles.items() if column is not None}
        self._found: list[str] = []  # by _read(), for a reader to know
        self._remarks: list[str] = []  # likewise, to look at
        if path is None and made is None:
            raise UserError("data.path: name a folder, a file, or a data set on the hub (organization/name)")
        if layout is not None and path is None:
            raise UserError(f"data.layout={layout} is how the files of data.path are read, and that is null")

    def require(self, *roles: str) -> None:
        """Check that the columns that a task needs are named.

        Raises:
            UserError: One of them is not named.
        """
        for role in roles:
            if role not in self.columns:
                raise UserError(f"data.{role}: which column of data.path={self.path} is it?")

    def source_id(self) -> str:
        """What the data will be, known before loading: a content hash, or the hub's name and revision.

        Raises:
            UserError: There is no such folder or file, or no data in it.
        """
        if self._made is not None:
            return made_id(self._made)
        assert self.path is not None
        check_hub_keys(self.path, self.name, self.revision)
        found = self._layout()
        return source_id(self.path, self.name, self.revision) if found is None else found.source_id()

    def recipe(self) -> dict[str, Any]:
        """All that decides which rows :meth:`load` gives, for the key of a cache.

        A branch on the hub may move, so there the data set is asked for and its own fingerprint taken.
        """
        content = self.source_id()
        if content.startswith("hub:") and not COMMIT.fullmatch(self.revision or ""):
            content += ":" + ",".join(f"{split}={rows._fingerprint}" for split, rows in sorted(self._read().items()))
        return {
            "content": content,
            "columns": self.columns,
            "reading": dataclasses.asdict(self.reading),
            "splits": [self.valid_split, self.test_split, self.fallback_test_split],
            "shares": self.shares,
            "fraction": self.fraction,
            "layout": self.layout,
        }

    def load(self) -> Loaded:
        """Read all rows, share them out, and count what a reader should know about.

        Raises:
            UserError: The data is not there, not readable, lacks a column, or cannot be used.
        """
        notes: list[str] = []
        found = self._read()
        notes += self._found
        findings = Findings(remarks=[*self._remarks])
        read = len(notes)
        own_names = self._class_names(found["train"]) if "train" in found else None
        raw, counts = self._usable(found, self._choose(found, self.test_split), own_names, notes)
        if len(raw.get("test", "any")) == 0 and self.fallback_test_split is not None:
            notes[read:] = [
                f"none of the {len(found['test']):,} rows of the source's test split has a label: "
                f"{self.fallback_test_split} is used for the test",
            ]
            raw, counts = self._usable(found, self._choose(found, self.fallback_test_split), own_names, notes)
        if len(raw["train"]) < 2:
            why = "".join(f" ({note})" for note in notes if " train rows " in note)
            raise UserError(
                f"{self._where}: the train split has {len(raw['train'])} {_rows(len(raw['train']))} that can be used"
                f"{why}; valid: 2 or more"
            )
        for split in ("valid", "test"):
            if len(raw.get(split, "any")) == 0:
                others = [name for name in sorted(found) if name not in ("train", split)]
                raise UserError(
                    f"{self._where}: no row of the {split} split has {self._answer(counts[split])}; "
                    f"valid: data.{split}_split="
                    f"{' or '.join([*others, 'train'])} (train: carved from it)"
                )
        del found
        content = next(role for role in READ if role in self.columns)
        hashes = {split: content_hashes(contents(table, content)) for split, table in raw.items()}
        lacking = [split for split in ("valid", "test") if split not in raw]
        sources_train = raw["train"]
        if lacking:
            parts = carve(
                hashes["train"], {split: self.shares[split] for split in ("test", "valid") if split in lacking}
            )
            if len(parts["train"]) < 2:
                different = len(np.unique(hashes["train"]))
                raise UserError(
                    f"{self._where}: no {' and no '.join(lacking)} split, and too few different rows to carve "
                    f"{'them' if len(lacking) > 1 else 'it'} from train ({different:,} in {len(hashes['train']):,} "
                    f"{_rows(len(hashes['train']))}); valid: 3 or more different rows, or files for each split"
                )
            whole, whole_hashes = raw["train"], hashes["train"]
            for split, rows in parts.items():
                raw[split], hashes[split] = whole.take(rows), whole_hashes[rows]
            shares = " and ".join(f"{self.shares[split]:.3g} of train for {split}" for split in lacking)
            notes.append(
                f"no {' and no '.join(lacking)} split in the source: carved from train by a fixed hash of the row's "
                f"content ({shares})"
            )
            for split in lacking:
                notes += near_duplicates(split, contents(raw[split], content), contents(raw["train"], content))
        classes = None
        if "label" in self.columns or "tags" in self.columns:
            raw, classes = encode_labels(raw, sources_train, own_names, lacking, self.columns)
        every: pa.Table | None = None
        if self.fraction < 1:
            every, before = raw["train"], len(raw["train"])
            kept = fraction_of(hashes["train"], self.fraction)
            raw["train"], hashes["train"] = raw["train"].take(kept), hashes["train"][kept]
            counts["train"]["before_fraction"] = before
            notes.append(
                f"data.fraction={self.fraction:g}: {len(kept):,} of {before:,} training rows are used, "
                "the vocabulary is that of all"
            )
            if len(kept) < 2:
                raise UserError(
                    f"data.fraction={self.fraction:g}: {len(kept)} of {before:,} training rows; valid: 2 or more"
                )
        for split in SPLITS:
            counts[split]["rows"] = len(raw[split])
            for other in SPLITS[: SPLITS.index(split)]:
                counts[split][f"also_in_{other}"] = shared = num_shared(hashes[split], np.unique(hashes[other]))
                if shared:
                    notes.append(f"{shared:,} of {len(raw[split]):,} {split} rows also occur in {other}; they are kept")
            if split != "train" and "tags" in self.columns:
                assert classes is not None
                counts[split]["unseen_tags"] = tags.count_unseen(split, raw[split], raw["train"], classes, notes)
            findings.add_repeats(split, hashes[split])
            if classes is not None:
                counted = findings.classes if "label" in self.columns else findings.tags
                counted[split] = count(flat_ids(raw[split]), classes)
        if "label" in self.columns:
            findings.remarks += class_remarks(findings.classes["train"], self.columns["label"])
        tables = {split: raw[split].drop_columns([NUMBER]) for split in SPLITS}
        return Loaded(tables, classes, counts, notes, every, findings)

    @property
    def _where(self) -> str:
        return "data" if self.path is None else f"data.path={self.path}"

    def _layout(self) -> find.Found | None:
        """The files of ``path`` where they are in a layout that is no table."""
        assert self.path is not None
        return find.find(self.path, self.columns, self.layout, self.reading)

    def _read(self) -> dict[str, Any]:
        self._found, self._remarks = [], []
        if self._made is None:
            assert self.path is not None
            layout = self._layout()
            if layout is None:
                return load_splits(self.path, self.name, self.revision, self.reading, self._found)
            rows, read = layout.read()
            self._found, self._remarks = read.notes, read.remarks
            return rows
        import datasets

        return {split: datasets.Dataset.from_list(rows) for split, rows in self._made.items()}

    def _answer(self, counts: dict[str, int]) -> str:
        """What the rows of a split lack that are not used."""
        label = "a text and a label" if counts.get("no_text") else "a label"
        return "both sides" if "target" in self.columns else label

    def _usable(
        self, found: dict[str, Any], chosen: dict[str, str], own_names: list[str] | None, notes: list[str]
    ) -> tuple[dict[str, "pa.Table"], dict[str, dict[str, int]]]:
        """The rows of each split that can be used, and how many cannot; a split may come out empty."""
        for split, name in chosen.items():
            if len(found[name]) == 0:
                raise UserError(f"{self._where}: the {split} split is empty")
        raw = {split: self._select(name, found[name]) for split, name in chosen.items()}
        counts: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
        if "text" in self.columns or "target" in self.columns:
            raw = drop_without_text(raw, counts, notes)
        if "tokens" in self.columns and "tags" in self.columns:
            raw = tags.drop_empty(raw, self.columns, self._where, counts, notes)
        if "label" in self.columns or "tags" in self.columns:
            raw = drop_unlabeled(raw, own_names, counts, notes)
        return raw, counts

    def _choose(self, found: dict[str, Any], test_split: str | None) -> dict[str, str]:
        """Which split of the source stands for which of ours; what is to be carved from train is not among them."""
        there = ", ".join(sorted(found)) or "none"
        if "train" not in found:
            raise UserError(f"{self._where}: no train split; there are {there}")
        chosen = {"train": "train"}
        for split, asked in (("valid", self.valid_split), ("test", test_split)):
            name = SPLIT_ALIASES.get(asked, asked) if asked is not None else None
            if name is not None and name not in found:
                raise UserError(f"data.{split}_split={asked}: no such split; there are {there}")
            if name is not None and name != "train":
                chosen[split] = name
        for split, asked in (("valid", self.valid_split), ("test", test_split)):
            if asked is None and split in found and split not in chosen.values():
                chosen[split] = split
        if len(set(chosen.values())) < len(chosen):
            raise UserError(f"{self._where}: one split cannot be two of train, valid and test: {chosen}")
        return chosen

    def _class_names(self, rows: Any) -> list[str] | None:
        """The names that a data set brings for its labels."""
        column = self.columns.get("label", self.columns.get("tags"))
        if column is None:
            return None
        kind = rows.features.get(column)
        if kind is None:
            kind = rows.features
            for part in column.split("."):
                kind = kind.get(part) if isinstance(kind, dict) else None
        names = getattr(kind, "names", None) or getattr(getattr(kind, "feature", None), "names", None)
        return None if names is None else list(names)

    def _select(self, split: str, rows: Any) -> "pa.Table":
        """The columns that are asked for, under their roles; columns inside others have a dot in their name."""
        import pyarrow as pa

        table = flatten(rows.with_format("arrow")[:])
        for role, column in self.columns.items():
            if column not in table.column_names:
                is_lines = self.path is not None and table.column_names == ["text"]
                hint = f"; {find.ways_on(self.columns)}" if is_lines else self._header_hint(table)
                raise UserError(
                    f"data.{role}={column}: no such column in the {split} split of {self.path or 'the rows'}; "
                    f"there are {some_names(table.column_names)}{hint}"
                )
            kind = table.schema.field(column).type
            problem = problem_of(role, kind)
            if problem is not None and table.column(column).null_count < len(table):  # nothing at all has any type
                raise UserError(f"data.{role}={column}: {problem}, and that column holds {kind}")
        number = pa.array(range(1, len(table) + 1), pa.int64())
        return pa.table({NUMBER: number, **{role: table.column(column) for role, column in self.columns.items()}})

    def _header_hint(self, table: "pa.Table") -> str:
        """What to do where the names of columns look like values."""
        if self.path is None or self.reading.columns is not None or not is_delimited(self.path):
            return ""
        return header_hint(table, list(self.columns))


def contents(table: "pa.Table", role: str) -> list[Any]:
    """One column as Python values."""
    return table.column(role).to_pylist()


def _rows(number: int) -> str:
    return "row" if number == 1 else "rows"
