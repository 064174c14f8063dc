"""Where what was measured or built once for this machine is kept."""

import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def cache_dir() -> Path:
    """``$GRU_BENCH_CACHE``, else ``gru_bench`` in ``$XDG_CACHE_HOME`` or in the platform's folder for caches.

    The folder may not exist yet. Everything in it may be deleted at any time.

    Raises:
        RuntimeError: None of the variables is set and the user has no home folder.
    """
    own = os.environ.get("GRU_BENCH_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # unset, empty, or what the XDG specification says to ignore
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        else:
            base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
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
