"""Rows of a data set: from a folder in the hub's layout, one file, the hub itself, or made in Python.

Everything is read through ``datasets``, so that offline and online differ only by where the files come from.
"""

import codecs
import contextlib
import csv
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
from gru_bench.data.hub_cache import refuse_unwritable_cache
from gru_bench.errors import UserError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
CONVERTED = "refs/convert/parquet"
"""Branch where the hub keeps what it made of a loading script, which ``datasets`` does not run."""
FILE_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
HUB_WITHIN_S = 4.0
"""How long the hub has to answer."""
SPLIT_ALIASES = {"validation": "valid", "val": "valid", "dev": "valid"}
CHUNK_BYTES = 2**20
CSV_OPTIONS: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
"""Only an empty field is missing: pandas would take the words ``NA``, ``None`` and ``null`` for missing as well."""
TSV_OPTIONS: dict[str, Any] = CSV_OPTIONS | {"sep": "\t", "quoting": csv.QUOTE_NONE}
"""Quotes mean nothing between tabs (IANA's text/tab-separated-values): a stray one would swallow lines."""

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
    if HUB_NAME.fullmatch(path) and Path(path).suffix not in FILE_BUILDERS:
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


def data_files(path: Path) -> list[Path]:
    """The data files below a folder in a fixed order, or the one file that ``path`` is.

    Raises:
        UserError: There are none of a known kind.
    """
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not hidden(p, path))
    known = [p for p in found if p.suffix in FILE_BUILDERS]
    if not known:
        raise UserError(f"data.path={path}: no data there; known are {', '.join(sorted(FILE_BUILDERS))}")
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


def check_decodes(path: Path, file: Path) -> None:
    """Read a file of text through once: parsers do not report where it is broken, nor always that it is.

    Raises:
        UserError: Bytes that are not UTF-8, with the file, the line and the position of the first one.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, lines, pending = 0, 1, 0
    with file.open("rb") as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                at = done - pending + error.start
                line = lines + chunk.count(b"\n", 0, max(error.start - pending, 0))
                bad = error.object[error.start]
                raise UserError(
                    f"data.path={path}: {shown(path, file)} is not UTF-8: byte 0x{bad:02x} at position {at:,} "
                    f"(line {line:,})"
                ) from error
            if not chunk:
                return
            done += len(chunk)
            lines += chunk.count(b"\n")
            pending = len(decoder.getstate()[0])


def shown(path: Path, file: Path) -> str:
    """A file's name as seen from the folder that was asked for."""
    return file.name if file == path else file.relative_to(path).as_posix()


def reading_options(files: list[Path]) -> dict[str, Any]:
    """The options that ``datasets`` needs for files of this kind; of several kinds it reads the commonest."""
    suffix = Counter(file.suffix for file in files).most_common(1)[0][0]
    return {".csv": CSV_OPTIONS, ".tsv": TSV_OPTIONS}.get(suffix, {})


def load_splits(path: str, name: str | None, revision: str | None) -> dict[str, Any]:
    """Load all splits: ``{"train": Dataset, ...}``, with ``valid`` for whatever the source calls its validation set.

    Args:
        path: Folder in the hub's layout, one file (all of it is ``train``), or a name on the hub.
        name: Configuration, where the data set has several.
        revision: Branch, tag or commit on the hub; None is its main branch.

    Raises:
        UserError: Nothing there, not readable, or the hub cannot be reached.
    """
    local = is_local(path)
    place = Path(path).expanduser()
    files = data_files(place) if local else []  # a better message than that of datasets
    for file in files:
        if file.stat().st_size == 0:
            raise UserError(f"data.path={path}: {shown(place, file)} is an empty file")
        if FILE_BUILDERS[file.suffix] != "parquet":
            check_decodes(place, file)
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
        elif place.is_file():
            options = reading_options(files)
            loaded = datasets.load_dataset(FILE_BUILDERS[place.suffix], data_files={"train": str(place)}, **options)
        else:
            # absolute: a bare "text" or "csv" would be taken for the name of a reader, whatever the folder holds
            configuration = own_configuration(place.absolute(), name)
            loaded = datasets.load_dataset(str(place.absolute()), configuration, **reading_options(files))
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(f"data.path={path}: no such folder here, and no such data set on the hub") from error
    except ConnectionError as error:
        raise UserError(
            f"data.path={path}: cannot reach the hub, and there is no such folder here; data.path takes either"
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        refuse_unwritable_cache(local)
        raise UserError(f"data.path={path}: cannot be read as a data set: {reason(error)}") from error
    return {SPLIT_ALIASES.get(split, split): rows for split, rows in loaded.items()}


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
    return next(iter(str(cause).splitlines()), type(cause).__name__)
