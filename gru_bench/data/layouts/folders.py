"""A folder a class, a file a text, as of the Large Movie Review Dataset (``aclImdb``) and of 20 Newsgroups.

``train/pos/0_9.txt`` ...; without folders of splits (``pos/0_9.txt`` ...) all of it is training data.
"""

from collections.abc import Mapping
from pathlib import Path

from gru_bench.data.layouts.base import STRUCTURED, Columns, Files, Layout, Read, ending, lines_of, listed, split_of
from gru_bench.errors import UserError

UNLABELED = ("unsup", "unlabeled", "unlabelled")
"""Names of folders whose texts have no class."""
FEWEST = 2
"""Classes without which folders are not taken for classes."""


class Folders(Layout):
    """The label is the name of the folder, the text all of the file."""

    name = "folders"
    answer = "label"
    shape = "a folder a class, a file a text"
    in_one_file = False

    def files(self, place: Path, columns: Mapping[str, str], encoding: str | None) -> Files:
        if place.is_file():
            return {}
        found: Files = {}
        every = listed(place)
        if any(ending(file) in STRUCTURED for file in every):
            return {}
        tops = {file.relative_to(place).parts[0] for file in every if len(file.relative_to(place).parts) > 1}
        has_splits = "train" in {split_of(top) for top in tops}
        depth = 3 if has_splits else 2
        for file in every:
            parts = file.relative_to(place).parts
            split = split_of(parts[0]) if has_splits else "train"
            if len(parts) == depth and split is not None and self.looks(file, encoding):
                found.setdefault(split, []).append(file)
        classes = {file.parent.name for file in found.get("train", [])} - set(UNLABELED)
        return found if len(classes) >= FEWEST else {}

    def looks(self, file: Path, encoding: str | None) -> bool:
        return ending(file) in ("", ".txt") or ending(file)[1:].isdigit()

    def read(self, place: Path, files: Files, encoding: str | None) -> Read:
        splits: dict[str, Columns] = {}
        unlabeled: dict[str, int] = {}
        for split, paths in files.items():
            columns: Columns = {"text": [], "label": []}
            for path in paths:
                if path.parent.name in UNLABELED:
                    unlabeled[path.parent.name] = unlabeled.get(path.parent.name, 0) + 1
                    continue
                columns["text"].append("\n".join(line for _, line in lines_of(path, encoding)))
                columns["label"].append(path.parent.name)
            splits[split] = columns
        if not splits["train"]["text"]:
            raise UserError(f"data.path={place}: no texts in folders of train")
        notes = ["read as a folder a class: its name is the label, each file in it a text"]
        notes += [f"{number:,} texts in {name} have no class and are not used" for name, number in unlabeled.items()]
        return Read(splits, notes)
