"""The compiled code of this folder: from the wheel where it carries some that fits, else made once a machine.

The sources use no header but those of the C++ library, the compiler and the system, so any compiler does, in half a
minute, and no version of torch is bound to the result. It lies in the cache under a name made of the sources and of
everything the compiler says of itself and of this processor: a change of either compiles anew, and a folder shared by
unlike machines serves them all. Beside it lie its size and digest: a library that was cut short, by a full disk or a
copy that was broken off, would end the process with SIGBUS and no word, so it is checked and made anew.

A wheel for Linux on x86-64 may carry libraries that need no compiler here: see ``prebuilt.py``. They are taken first:
``bench/prebuilt.py`` measures what the code for this very processor would gain.
"""

import ctypes
import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import torch
from filelock import FileLock

from gru_bench.backends.native import prebuilt
from gru_bench.backends.native.compiling import (
    FLAGS,
    SOURCE,
    WITHIN_S,
    CannotBuild,
    compile_library,
    compiler,
    run,
    seal,
    source_digest,
)
from gru_bench.cache_dir import cache_dir


@functools.cache
def from_wheel() -> prebuilt.Prebuilt | prebuilt.NotPrebuilt:
    """The prebuilt library that is taken here, or why none is."""
    try:
        return prebuilt.load(prebuilt.asked())
    except prebuilt.NotPrebuilt as why:
        if isinstance(why, prebuilt.Damaged):
            print(f"{why}: compiled here, if there is a compiler; installing gru-bench again mends it", file=sys.stderr)
        return why


@functools.cache
def build_id() -> str:
    """Which code it is, as a hash: of a prebuilt library, or of sources, flags, compiler and processor.

    Raises:
        CannotBuild: There is no compiler, or it does not answer.
        UserError: ``$GRU_BENCH_NATIVE`` is none of its values.
    """
    ready = from_wheel()
    if isinstance(ready, prebuilt.Prebuilt):
        return ready.build[:20]
    if prebuilt.asked() not in ("auto", "compile"):
        raise CannotBuild(f"{prebuilt.VARIABLE}={prebuilt.asked()}: {ready}")
    try:
        macros = run([compiler(), *FLAGS, "-dM", "-E", "-x", "c++", os.devnull])  # version and instruction sets too
    except CannotBuild as error:
        raise CannotBuild(f"{error}; {ready}" if prebuilt.FOLDER.exists() else str(error)) from error
    text = "\0".join([macros, source_digest(SOURCE), *FLAGS])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled code: prebuilt, from the cache, or made now.

    Raises:
        CannotBuild: There is no compiler, it failed, or the cache cannot be written.
        UserError: ``$GRU_BENCH_NATIVE`` is none of its values.
    """
    if sys.platform == "win32":
        raise CannotBuild("native code is not built on Windows")
    ready = from_wheel()
    loaded = ready.loaded if isinstance(ready, prebuilt.Prebuilt) else _compiled()
    threads = _threads()
    if threads is not None:
        loaded.set_threads(*threads)
    return loaded


def native_code() -> str:
    """Which compiled code runs here, in words; nothing is compiled for the answer.

    Raises:
        CannotBuild, UserError: As :func:`build_id`.
    """
    build, ready = build_id()[:10], from_wheel()
    if isinstance(ready, prebuilt.Prebuilt):
        return f"prebuilt for {ready.level} by {ready.compiler}, build {build}"
    return f"compiled for this processor, build {build}"


def _compiled() -> ctypes.CDLL:
    path = cache_dir() / "native" / f"layer-{build_id()}.so"
    try:
        if not is_whole(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock"), timeout=WITHIN_S):
                if not is_whole(path):  # another process may have made it meanwhile
                    if sealed(path).exists():
                        print(f"{path} is damaged: compiled anew", file=sys.stderr)
                    _compile(path)
        return ctypes.CDLL(str(path))
    except OSError as error:  # filelock's Timeout too
        raise CannotBuild(f"{type(error).__name__}: {error}") from error


def is_whole(path: Path) -> bool:
    """Whether a library is there as it was made, by the file beside it; one without such a file counts as damaged."""
    try:
        return sealed(path).read_text(encoding="ascii", errors="replace").strip() == seal(path)
    except OSError:
        return False


def sealed(path: Path) -> Path:
    """The file beside a library that says how it was made."""
    return path.with_suffix(".sha256")


def _compile(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        compile_library(made, FLAGS, SOURCE)
        said = sealed(made)
        said.write_text(seal(made), encoding="ascii")
        sealed(path).unlink(missing_ok=True)  # never a library beside what is said of another
        os.replace(made, path)
        os.replace(said, sealed(path))


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
