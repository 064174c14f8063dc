"""How the sources of this folder become a library, without torch: what builds a wheel needs no more than Python.

Besides the code for this very machine (``build.py``) there are two libraries that a wheel may carry: the same sources
for the two levels of the x86-64 architecture that vectors of 32 and of 64 bytes need (x86-64 psABI, "Micro-architecture
levels").
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).parent
SUFFIXES = (".cpp", ".h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-Wall", "-Wextra")
COMPILERS = ("c++", "g++", "clang++")
WITHIN_S = 300
LEVELS = {"avx512": "x86-64-v4", "avx2": "x86-64-v3"}
"""Instruction sets of a wheel's libraries, best first, and what the compiler calls the processors that have them."""
MANIFEST = "manifest.json"


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


def source_digest(source: Path = SOURCE) -> str:
    """SHA-256 of all C++ files of the folder, names and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in source.iterdir() if path.suffix in SUFFIXES):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compile_library(path: Path, flags: Sequence[str], source: Path = SOURCE) -> None:
    """Compile the sources side by side and link them.

    Args:
        path: The library to be made; object files lie beside it meanwhile.
        flags: Of the compiler.
        source: Where the sources are.

    Raises:
        CannotBuild: There is no compiler, or it failed.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = {file: str(Path(folder) / f"{file.stem}.o") for file in sorted(source.glob("*.cpp"))}
        commands = [[compiler(), *flags, "-c", str(file), "-o", made] for file, made in objects.items()]
        with ThreadPoolExecutor(len(commands)) as together:
            list(together.map(run, commands))
        run([compiler(), *flags, "-shared", *objects.values(), "-o", str(path)])


def compile_for_wheel(folder: Path) -> list[Path]:
    """Make the libraries of all :data:`LEVELS` and the file that says what they are made from.

    Args:
        folder: An empty one.

    Returns:
        The files that belong into the wheel.

    Raises:
        CannotBuild: There is no compiler, or it knows one of the levels not (GCC does since 11, Clang since 12).
    """
    told = run([compiler(), "--version"]).splitlines()
    flags = [flag for flag in FLAGS if not flag.startswith("-march")]
    libraries = {}
    for name, level in LEVELS.items():
        path = folder / f"layer-{name}.so"
        own = [*flags, f"-march={level}", "-DGRU_BENCH_FOR_WHEEL", "-s"]
        compile_library(path, own)
        libraries[name] = {"file": path.name, "seal": seal(path), "flags": " ".join(own)}
    facts = {"sources": source_digest(), "compiler": told[0] if told else "?", "libraries": libraries}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return [manifest, *(folder / f"layer-{name}.so" for name in LEVELS)]


def seal(path: Path) -> str:
    """Size and SHA-256 of a library."""
    content = path.read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def run(command: list[str]) -> str:
    """What a compiler prints.

    Raises:
        CannotBuild: It does not start, does not end, or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise CannotBuild(f"{command[0]} failed: {complaints[0]}")
    return done.stdout
