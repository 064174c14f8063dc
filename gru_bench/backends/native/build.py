"""Compiles the sources of this folder once a machine and loads them.

The sources use no header but those of the C++ library, the compiler and the system, so any compiler does, in half a
minute, and no version of torch is bound to the result. It lies in the cache under a name made of the sources and of
everything the compiler says of itself and of this processor: a change of either compiles anew, and a folder shared by
unlike machines serves them all. Beside it lie its size and digest: a library that was cut short, by a full disk or a
copy that was broken off, would end the process with SIGBUS and no word, so it is checked and made anew.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from filelock import FileLock

from gru_bench.cache_dir import cache_dir

SOURCE = Path(__file__).parent
SUFFIXES = (".cpp", ".h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-Wall", "-Wextra")
COMPILERS = ("c++", "g++", "clang++")
WITHIN_S = 300


class CannotBuild(Exception):
    """Why there is no native code here, in one line."""


def compiler() -> str:
    """Path of ``$CXX``, or of the first compiler found.

    Raises:
        CannotBuild: There is none.
    """
    names = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise CannotBuild(f"no C++ compiler found (looked for {', '.join(names)})")


@functools.cache
def build_id() -> str:
    """What the library is made from: sources, flags, compiler and processor, as a hash.

    Raises:
        CannotBuild: There is no compiler, or it does not answer.
    """
    macros = _run([compiler(), *FLAGS, "-dM", "-E", "-x", "c++", os.devnull])  # version and instruction sets among them
    digest = hashlib.sha256(macros.encode())
    for path in sorted(path for path in SOURCE.iterdir() if path.suffix in SUFFIXES):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(" ".join(FLAGS).encode())
    return digest.hexdigest()[:20]


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled code, from the cache or made now.

    Raises:
        CannotBuild: There is no compiler, it failed, or the cache cannot be written.
    """
    if sys.platform == "win32":
        raise CannotBuild("native code is not built on Windows")
    path = cache_dir() / "native" / f"layer-{build_id()}.so"
    try:
        if not is_whole(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=WITHIN_S):
                if not is_whole(path):  # another process may have made it meanwhile
                    if sealed(path).exists():
                        print(f"{path} is damaged: compiled anew", file=sys.stderr)
                    _compile(path)
        loaded = ctypes.CDLL(str(path))
    except OSError as error:  # filelock's Timeout too
        raise CannotBuild(f"{type(error).__name__}: {error}") from error
    threads = _threads()
    if threads is not None:
        loaded.set_threads(*threads)
    return loaded


def is_whole(path: Path) -> bool:
    """Whether a library is there as it was made, by the file beside it; one without such a file counts as damaged."""
    try:
        return sealed(path).read_text(encoding="ascii", errors="replace").strip() == seal(path)
    except OSError:
        return False


def sealed(path: Path) -> Path:
    """The file beside a library that says how it was made."""
    return path.with_suffix(".sha256")


def seal(path: Path) -> str:
    """Size and SHA-256 of a library."""
    content = path.read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def _compile(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        objects = {source: str(Path(folder) / f"{source.stem}.o") for source in sorted(SOURCE.glob("*.cpp"))}
        commands = [[compiler(), *FLAGS, "-c", str(source), "-o", made_of] for source, made_of in objects.items()]
        with ThreadPoolExecutor(len(commands)) as together:
            list(together.map(_run, commands))
        _run([compiler(), *FLAGS, "-shared", *objects.values(), "-o", str(made)])
        said = sealed(made)
        said.write_text(seal(made), encoding="ascii")
        sealed(path).unlink(missing_ok=True)  # never a library beside what is said of another
        os.replace(made, path)
        os.replace(said, sealed(path))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise CannotBuild(f"{command[0]} failed: {complaints[0]}")
    return done.stdout


def _threads() -> tuple[ctypes.c_void_p, ...] | None:
    """The OpenMP functions of the library that torch has loaded; None where they are not to be found.

    A second OpenMP library beside it would bring threads of its own, and both sets would fight for the same cores.
    """
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    for path in [*sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*.so*")), None]:
        try:
            loaded = ctypes.CDLL(None if path is None else str(path))
            return tuple(ctypes.cast(getattr(loaded, name), ctypes.c_void_p) for name in names)
        except (OSError, AttributeError):
            continue
    return None
