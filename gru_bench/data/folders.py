"""Which files of a folder are which split, in the layout of the Hugging Face hub, with names taken as they are.

``datasets`` resolves the same layout through patterns, in which ``[``, ``*`` and ``?`` of a name have a meaning: it
would read ``data1.csv`` for ``data[1].csv``. Source: the hub's documentation, "Structure your repository".
"""

import re
from pathlib import Path

SPLITS = {"train": "train|training", "validation": "validation|valid|dev|val", "test": "test|testing|eval|evaluation"}
SEPARATOR = r"[-._ 0-9]"
IN_NAME = {split: re.compile(rf"(?:^|.*{SEPARATOR})(?:{words}){SEPARATOR}.*") for split, words in SPLITS.items()}
IN_FOLDER = {split: re.compile(rf"(?:^|.*{SEPARATOR})(?:{words})(?:{SEPARATOR}.*)?") for split, words in SPLITS.items()}
SHARD = re.compile(r"data/(?P<split>\w+)-\d{5}-of-\d{5}.*\..*")


def splits_of(files: list[Path], folder: Path) -> dict[str, list[Path]]:
    """Files by split: as shards name them, else as folders do, else as file names do; else all of them train.

    Args:
        files: Data files below ``folder``, in order.
        folder: Where the layout begins.
    """
    relative = {file: file.relative_to(folder) for file in files}
    shards: dict[str, list[Path]] = {}
    for file, name in relative.items():
        if match := SHARD.fullmatch(name.as_posix()):
            shards.setdefault(match["split"], []).append(file)
    by_folder = {
        split: [file for file, name in relative.items() if any(map(pattern.fullmatch, name.parts[:-1]))]
        for split, pattern in IN_FOLDER.items()
    }
    by_name = {split: [file for file in files if pattern.fullmatch(file.name)] for split, pattern in IN_NAME.items()}
    for found in (shards, by_folder, by_name):
        if any(found.values()):
            return {split: chosen for split, chosen in found.items() if chosen}
    return {"train": files}
