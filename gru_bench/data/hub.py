"""Data sets from a folder in the hub's layout, from one file, or from the hub itself, through ``datasets``."""

import contextlib
import hashlib
import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from gru_bench.errors import UserError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FILE_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
HUB_WITHIN_S = 4.0
"""How long the hub has to answer."""
SPLIT_ALIASES = {"validation": "valid", "val": "valid", "dev": "valid"}


def is_local(path: str) -> bool:
    """Whether ``path`` names something on this machine rather than on the hub.

    Offline, ``datasets`` says the same about a name that it cannot look up and a folder that is not there. What
    exists is local; so is anything but ``organization/name``, which is all that the hub knows.

    Raises:
        UserError: The path is local by its look and there is nothing.
    """
    if Path(path).expanduser().exists():
        return True
    if HUB_NAME.fullmatch(path):
        return False
    raise UserError(f"data.path={path}: no such folder or file (a data set on the hub is organization/name)")


def cache_dir() -> Path:
    """The project's folder in the user's cache: ``$XDG_CACHE_HOME/gru_bench`` or ``~/.cache/gru_bench``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gru_bench"


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
        remembered.parent.mkdir(parents=True, exist_ok=True)
        own = remembered.with_name(f"{key}.{os.getpid()}")
        own.write_text(content)
        own.replace(remembered)
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


def go_offline_if_unreachable() -> None:
    """Let the hub's client use its cache at once where the hub does not answer: it would retry for half a minute."""
    import datasets
    import huggingface_hub

    endpoint = urlsplit(huggingface_hub.constants.ENDPOINT)
    if huggingface_hub.constants.HF_HUB_OFFLINE or getproxies():
        return  # said already, or behind a proxy that knows the way
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=HUB_WITHIN_S).close()
    except OSError:
        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


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
    if local:
        data_files(Path(path).expanduser())  # says it better than datasets does
    import datasets  # 0.7 s that the bundled text does not need
    import huggingface_hub.utils

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    huggingface_hub.utils.logging.set_verbosity(huggingface_hub.utils.logging.CRITICAL)
    try:
        if not local:
            go_offline_if_unreachable()
            loaded = datasets.load_dataset(path, name, revision=revision)
        elif Path(path).expanduser().is_file():
            file = Path(path).expanduser()
            options = {"sep": "\t"} if file.suffix == ".tsv" else {}
            loaded = datasets.load_dataset(FILE_BUILDERS[file.suffix], data_files={"train": str(file)}, **options)
        else:
            loaded = datasets.load_dataset(str(Path(path).expanduser()), name)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(f"data.path={path}: no such folder here, and no such data set on the hub") from error
    except ConnectionError as error:
        raise UserError(
            f"data.path={path}: cannot reach the hub, and there is no such folder here; data.path takes either"
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        raise UserError(f"data.path={path}: cannot be read as a data set: {reason}") from error
    return {SPLIT_ALIASES.get(split, split): rows for split, rows in loaded.items()}
