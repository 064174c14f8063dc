"""Translations as the workshops on machine translation keep them: a file a language, a sentence a line.

``train.de`` and ``train.en``, ``val.de`` and ``val.en`` ...: line n of one is the translation of line n of the other.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from gru_bench.data.layouts.base import (
    STRUCTURED,
    Columns,
    Files,
    Layout,
    Read,
    by_split,
    ending,
    lines_of,
    listed,
    shown,
)
from gru_bench.errors import UserError

LANGUAGE = re.compile(r"\.([A-Za-z]{2,3}([-_][A-Za-z]{2,4})?)")
NO_LANGUAGE = (".txt", ".md", ".py", ".sh", ".log", ".xml", ".zip", ".bpe", ".tar", ".tgz", ".yml")


class Pairs(Layout):
    """A column a language, named as the files end: ``data.source=de data.target=en``."""

    name = "pairs"
    answer = "target"
    shape = "train.de and train.en: a file a language"
    in_one_file = False

    def files(self, place: Path, columns: Mapping[str, str], encoding: str | None) -> Files:
        if place.is_file():
            if ending(place) not in (*STRUCTURED, ".txt") and LANGUAGE.fullmatch(ending(place)):
                raise UserError(
                    f"data.path={place}: one side of a translation; valid: the folder, in which a file of the same "
                    "name and another ending has the other side"
                )
            return {}
        stems: dict[str, set[str]] = {}
        found = [file for file in listed(place) if ending(file) not in NO_LANGUAGE and LANGUAGE.fullmatch(ending(file))]
        for file in found:
            stems.setdefault(ending(file)[1:], set()).add(_stem(place, file))
        shared = {one: names for one, names in stems.items() if any(names & stems[two] for two in stems if two != one)}
        if not shared:
            return {}
        chosen = [columns.get(role, "") for role in ("source", "target")]
        if not set(chosen) <= set(shared):
            raise UserError(
                f"data.path={place}: a file a language, there are {', '.join(sorted(shared))}; say which is which: "
                f"data.source={sorted(shared)[0]} data.target={sorted(shared)[1]}"
            )
        both = shared[chosen[0]] & shared[chosen[1]]
        kept = [file for file in found if ending(file)[1:] in chosen and _stem(place, file) in both]
        return by_split(place, kept)

    def looks(self, file: Path, encoding: str | None) -> bool:
        return LANGUAGE.fullmatch(ending(file)) is not None

    def read(self, place: Path, files: Files, encoding: str | None) -> Read:
        splits: dict[str, Columns] = {}
        said = []
        for split, paths in files.items():
            by_stem: dict[str, dict[str, Path]] = {}
            for path in paths:
                by_stem.setdefault(_stem(place, path), {})[ending(path)[1:]] = path
            columns: Columns = {}
            for sides in by_stem.values():
                read = {language: [line for _, line in lines_of(path, encoding)] for language, path in sides.items()}
                if len({len(lines) for lines in read.values()}) > 1:
                    told = " and ".join(f"{shown(place, sides[name])} has {len(of):,}" for name, of in read.items())
                    raise UserError(f"data.path={place}: {told} lines; valid: as many, line by line a translation")
                for language, lines in read.items():
                    columns.setdefault(language, []).extend(lines)
            splits[split] = columns
            said.append(f"{split} from {' and '.join(by_stem)}")
        endings = " and ".join(f".{name}" for name in next(iter(splits.values()), {}))
        return Read(splits, [f"read as a file a language ({endings}), line by line: {', '.join(said)}"])


def _stem(place: Path, file: Path) -> str:
    """A file's name without its language."""
    name = shown(place, file)
    return name[: name.rindex(ending(file))]
