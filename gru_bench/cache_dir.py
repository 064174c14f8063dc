"""Where is kept what was measured or built once for this machine, and what a store has yet to get."""

import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def cache_dir() -> Path:
    """``$GRU_BENCH_CACHE``, else ``gru_bench`` in ``$XDG_CACHE_HOME`` or in the platform's folder for caches.

    The folder may not exist yet. Everything below it that this function names may be deleted while nothing runs: it
    costs time, such as what a run that was cut off had trained since its beginning, and no result.

    Raises:
        RuntimeError: None of the variables is set and the user has no home folder.
    """
    return own_folder() or of_platform("XDG_CACHE_HOME", ".cache", "Library/Caches")


def waiting_dir() -> Path:
    """Where results wait until their store takes them: not among the caches, which people and cleaners empty.

    ``$GRU_BENCH_CACHE``, which keeps all together, else ``gru_bench`` in ``$XDG_DATA_HOME`` or in the platform's folder
    for data. The folder may not exist yet.

    Raises:
        RuntimeError: As :func:`cache_dir`.
    """
    return own_folder() or of_platform("XDG_DATA_HOME", ".local/share", "Library/Application Support")


def own_folder() -> Path | None:
    """``$GRU_BENCH_CACHE``; None where it is unset or empty."""
    own = os.environ.get("GRU_BENCH_CACHE")
    return Path(own).expanduser().absolute() if own else None


def of_platform(variable: str, elsewhere: str, on_macos: str) -> Path:
    """Our folder in one that the XDG specification or the platform names.

    Args:
        variable: Of the specification.
        elsewhere: In the home folder, where it is unset.
        on_macos: Likewise there.

    Raises:
        RuntimeError: The user has no home folder.
    """
    base = Path(os.environ.get(variable, ""))
    if not base.is_absolute():  # unset, empty, or what the XDG specification says to ignore
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        else:
            base = Path.home() / (on_macos if sys.platform == "darwin" else elsewhere)
    return base / "gru_bench"


def replace_file(path: Path, pieces: Iterable[bytes | memoryview], *, lasting: bool = False) -> None:
    """Write a file so that other processes see the old one, the new one, or none, but never a part.

    Args:
        path: Its folder is made if need be.
        pieces: The content.
        lasting: Whether it must also outlast a machine that goes down; that takes the disk some milliseconds.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.writelines(pieces)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def replace_text(path: Path, text: str) -> None:
    """As :func:`replace_file`, of text in UTF-8."""
    replace_file(path, [text.encode()])
