"""Rows of a data set: from a folder in the hub's layout, one file, the hub itself, or made in Python.

Files of text are read by this package, strictly (``delimited.py``, ``json_rows.py``); parquet and the hub by
``datasets``. All become its ``Dataset``, so that offline and online differ only by where the files come from.
"""

import contextlib
import dataclasses
import glob
import hashlib
import json
import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from gru_bench.cache_dir import cache_dir, replace_text
from gru_bench.data import folders
from gru_bench.data.forms import SEPARATORS, Reading, looks_delimited
from gru_bench.data.hub_cache import refuse_unwritable_cache
from gru_bench.data.read_files import OWN_SEPARATORS, SPLIT_ALIASES, read_splits
from gru_bench.errors import UserError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
CONVERTED = "refs/convert/parquet"
"""Branch where the hub keeps what it made of a loading script, which ``datasets`` does not run."""
FILE_KINDS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
}
PACKED = ".gz"
"""What may follow the suffix of a file of text."""
NO_DATA = {"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
"""What lies beside data in the hub's folders."""
HUB_WITHIN_S = 4.0
"""How long the hub has to answer."""
Made = Iterable[Mapping[str, Any]] | Mapping[str, Iterable[Mapping[str, Any]]]
"""Rows made in Python: dictionaries, all of them training data, or such rows by the name of their split."""


def is_local(path: str) -> bool:
    """Whether ``path`` names something on this machine rather than on the hub.

    Offline, ``datasets`` has the same message for a name that it cannot look up and a folder that is not there. What
    exists is local; so is anything but ``organization/name``, which is all that the hub knows, and what ends as a file
    of data does.

    Raises:
        UserError: The path is local by its look and there is nothing.
    """
    if Path(path).expanduser().exists():
        return True
    if HUB_NAME.fullmatch(path) and kind_of(Path(path)) is None:
        return False
    raise UserError(f"data.path={path}: no such folder or file (a data set on the hub is organization/name)")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; remembered by path, size and time of change in the user's cache."""
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()
    remembered = cache_dir() / "digests" / key
    with contextlib.suppress(OSError):
        content = remembered.read_text()
        if len(content) == 64:
            return content
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        replace_text(remembered, content)
    return content


def kind_of(file: Path) -> str | None:
    """``parquet``, ``json``, ``csv`` or ``text`` by a file's name, or None; ``.csv.gz`` is ``csv``."""
    name = file.name.lower()
    kind = FILE_KINDS.get(Path(name.removesuffix(PACKED)).suffix)
    return None if kind == "parquet" and name.endswith(PACKED) else kind


def is_delimited(path: str) -> bool:
    """Whether a local path is a file of fields between separators, or holds any."""
    place = Path(path).expanduser()
    return place.exists() and any(kind_of(file) == "csv" for file in data_files(place))


def data_files(path: Path) -> list[Path]:
    """The data files below a folder in a fixed order, or the one file that ``path`` is, whatever its name.

    Raises:
        UserError: There are none of a known kind.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and not hidden(p, path))
    known = [p for p in found if kind_of(p) is not None]
    if not known:
        raise UserError(f"data.path={path}: no data there; known are {', '.join(sorted(FILE_KINDS))}")
    return known


def hidden(path: Path, folder: Path) -> bool:
    """Whether any part of ``path`` below ``folder`` starts with a dot."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def source_id(path: str, name: str | None, revision: str | None) -> str:
    """What the data will be, before it is loaded: a hash of the local files, or the hub's name and revision.

    The hash covers the files' names below the folder and their content, not where the folder lies.

    Raises:
        UserError: There is no such folder, or nothing in it.
    """
    if not is_local(path):
        return f"hub:{path}:{name or ''}@{revision or 'main'}"
    folder = Path(path).expanduser()
    sha = hashlib.sha256((name or "").encode())
    for file in data_files(folder):
        relative = file.name if file == folder else file.relative_to(folder).as_posix()
        sha.update(f"\0{relative}\0{file_digest(file)}".encode())
    return f"files:{sha.hexdigest()[:16]}"


def check_hub_keys(path: str, name: str | None, revision: str | None) -> None:
    """Check that no configuration or revision is asked of one file.

    A folder may stand for a data set on the hub, whose keys it then ignores.

    Raises:
        UserError: One is.
    """
    asked = f"data.name={name}" if name is not None else f"data.revision={revision}"
    if (name is not None or revision is not None) and Path(path).expanduser().is_file():
        raise UserError(
            f"{asked}: a configuration or revision is chosen of a data set on the hub, and data.path={path} is a file; "
            "valid: null"
        )


def made_splits(made: Made) -> dict[str, list[dict[str, Any]]]:
    """Rows made in Python as lists by split.

    Raises:
        UserError: Something among them is no dictionary.
    """
    by_split: Mapping[str, Iterable[Any]] = made if isinstance(made, Mapping) else {"train": made}
    splits = {SPLIT_ALIASES.get(split, split): list(rows) for split, rows in by_split.items()}
    for split, rows in splits.items():
        wrong = next((i for i, row in enumerate(rows) if not isinstance(row, Mapping)), None)
        if wrong is not None:
            raise UserError(f"rows of {split}: row {wrong} is a {type(rows[wrong]).__name__}; valid: dictionaries")
    return {split: [dict(row) for row in rows] for split, rows in splits.items()}


def made_id(splits: dict[str, list[dict[str, Any]]]) -> str:
    """Content hash of rows made in Python."""
    content = json.dumps(splits, sort_keys=True, default=repr)
    return f"rows:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def go_offline_if_unreachable() -> None:
    """Let the hub's client use its cache at once where the hub does not answer: it would retry for half a minute."""
    import datasets
    import huggingface_hub

    endpoint = urlsplit(huggingface_hub.constants.ENDPOINT)
    if huggingface_hub.constants.HF_HUB_OFFLINE or getproxies():
        return  # decided already, or behind a proxy that knows the way
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=HUB_WITHIN_S).close()
    except OSError:
        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def shown(path: Path, file: Path) -> str:
    """A file's name as seen from the folder that was asked for."""
    return file.name if file == path else file.relative_to(path).as_posix()


def load_splits(
    path: str, name: str | None, revision: str | None, reading: Reading | None = None, notes: list[str] | None = None
) -> dict[str, Any]:
    """Load all splits: ``{"train": Dataset, ...}``, with ``valid`` for whatever the source calls its validation set.

    Args:
        path: Folder in the hub's layout, one file (all of it is ``train``), or a name on the hub.
        name: Configuration, where the data set has several.
        revision: Branch, tag or commit on the hub; None is its main branch.
        reading: How files of text are written, where they do not say it themselves.
        notes: Gets what was found out while reading and a reader should know.

    Raises:
        UserError: Nothing there, not readable, or the hub cannot be reached.
    """
    reading, notes = reading or Reading(), [] if notes is None else notes
    local = is_local(path)
    place = Path(path).expanduser()
    check_hub_keys(path, name, revision)
    files = data_files(place) if local else []  # a better message than that of datasets
    for file in files:
        if file.stat().st_size == 0:
            raise UserError(f"data.path={path}: {shown(place, file)} is an empty file")
    import datasets  # 0.7 s that the bundled text and prepared data do not need
    import huggingface_hub.utils

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    huggingface_hub.utils.logging.set_verbosity(huggingface_hub.utils.logging.CRITICAL)
    try:
        if not local:
            go_offline_if_unreachable()
            # what the hub's converter writes has a folder for each configuration, and lists them nowhere
            chosen = {"data_dir": name} if revision == CONVERTED else {"name": name}
            loaded = datasets.load_dataset(path, revision=revision, **chosen)
        else:
            loaded = load_local(place, files, name, reading, notes)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(f"data.path={path}: no such folder here, and no such data set on the hub") from error
    except ConnectionError as error:
        raise UserError(
            f"data.path={path}: cannot reach the hub, and there is no such folder here; data.path takes either"
        ) from error
    except UserError:
        raise
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        refuse_unwritable_cache(local)
        raise UserError(f"data.path={path}: cannot be read as a data set: {reason(error)}") from error
    return {SPLIT_ALIASES.get(split, split): rows for split, rows in loaded.items()}


def load_local(
    place: Path, files: list[Path], name: str | None, reading: Reading, notes: list[str]
) -> Mapping[str, Any]:
    """The splits of a file or a folder."""
    import datasets

    files, kind = chosen_kind(place, files, reading, notes)
    if place.is_file():
        splits = {"train": [place]}
    elif has_card(place):
        # absolute: a bare "text" or "csv" would be taken for the name of a reader, whatever the folder holds
        folder = place.absolute()
        configuration = own_configuration(folder, name)
        if kind == "parquet":
            return datasets.load_dataset(str(folder), configuration)
        builder = datasets.load_dataset_builder(str(folder), configuration)
        splits = {str(split): [Path(file) for file in chosen] for split, chosen in builder.config.data_files.items()}
        return read_splits(splits, kind, card_reading(builder.config, reading), notes, builder.info.features)
    else:
        splits = folders.splits_of(files, place)
    if kind == "parquet":
        # in a pattern "[", "*" and "?" have a meaning, and here they belong to a name
        literal = {split: [glob.escape(str(file.absolute())) for file in found] for split, found in splits.items()}
        return datasets.load_dataset("parquet", data_files=literal)
    return read_splits(splits, kind, reading, notes)


def chosen_kind(place: Path, files: list[Path], reading: Reading, notes: list[str]) -> tuple[list[Path], str]:
    """The files that are read, which are those of the commonest kind, and that kind.

    Raises:
        UserError: The kind of the one file is not known, or is not one that ``reading`` is about.
    """
    kinds = Counter(kind_of(file) for file in files)
    kind = kinds.most_common(1)[0][0]
    files = [file for file in files if kind_of(file) == kind]
    if len(kinds) > 1:
        others = sum(number for other, number in kinds.items() if other != kind)
        notes.append(f"{len(files):,} files of the kind {kind} are read; {others:,} of other kinds beside them are not")
    if reading.delimited and kind in ("json", "parquet"):
        raise UserError(
            f"data.path={place}: data.columns and data.separator are for files of fields between separators, and this "
            f"is {kind}; valid: null"
        )
    if kind is None and looks_delimited(place, reading):
        notes.append(f"{place.name}: read as a table, which its name does not say and its first rows do")
    elif kind is None and not reading.delimited:
        raise UserError(
            f"data.path={place}: not known by its name, which should end in {', '.join(sorted(FILE_KINDS))}, or in one "
            f"of them and {PACKED}; valid for a file of columns: data.separator={' or '.join(SEPARATORS)}, and "
            "data.columns=[label,text] where its first line is a row already"
        )
    return files, "csv" if kind is None or reading.delimited else kind


def card_reading(config: Any, reading: Reading) -> Reading:
    """How files of fields are written, from a data set's card where the user does not say it."""
    names = getattr(config, "names", None) if reading.columns is None else reading.columns
    separator = getattr(config, "sep", None) if reading.separator is None else reading.separator
    usual = separator in OWN_SEPARATORS.values() and reading.separator is None
    return dataclasses.replace(
        reading, columns=None if names is None else tuple(names), separator=None if usual else separator
    )


def has_card(folder: Path) -> bool:
    """Whether a folder says itself which files are what: as a data set's card on the hub does."""
    if (folder / ".huggingface.yaml").is_file():
        return True
    card = folder / "README.md"
    if not card.is_file():
        return False
    text = card.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    return front is not None and re.search(r"^(configs|dataset_info)\s*:", front[1], re.MULTILINE) is not None


def own_configuration(folder: Path, name: str | None) -> str | None:
    """``name`` where a folder's card lists configurations, else None: there is just one.

    Raises:
        UserError: The folder has configurations, and none of that name.
    """
    import datasets

    listed = [] if name is None else datasets.get_dataset_config_names(str(folder))
    if listed in ([], ["default"]):
        return None
    if name not in listed:
        raise UserError(f"data.name={name}: no such configuration in {folder}; there are {', '.join(listed)}")
    return name


def reason(error: BaseException) -> str:
    """Why ``datasets`` could not read something, in a line."""
    import datasets

    empty = re.search(r'Instruction "(\w+)" corresponds to no data', str(error))
    if empty:
        return f"the {empty[1]} split is empty"
    cause = error.__cause__ or error
    differs = re.search(r"at some point (there are .*)", str(error))  # of what differs between the files' columns
    differing = differs[1] if differs else cause.details() if isinstance(cause, datasets.table.CastError) else None
    if differing is not None:
        return f"its files must have the same columns, but {' '.join(differing.split())}"
    return next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
