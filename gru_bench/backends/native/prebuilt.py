"""The libraries that a wheel may carry, and which of them this machine can run.

They are taken only as they were made: from the very sources that lie beside them, every byte in place, for instructions
that this processor has. Anything else is a reason not to take one, and then the sources are compiled.
"""

import ctypes
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gru_bench.backends.native import compiling
from gru_bench.errors import UserError

FOLDER = Path(__file__).parent / "libraries"
CPUINFO = Path("/proc/cpuinfo")
VARIABLE = "GRU_BENCH_NATIVE"
Choice = Literal["auto", "prebuilt", "avx512", "avx2", "compile"]

_V3 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
NEEDS = {
    "avx512": frozenset(f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl".split()),
    "avx2": frozenset(_V3.split()),
}
"""What the two levels consist of, in Linux's names; Linux lists only what it also saves when threads take turns."""


class NotPrebuilt(Exception):
    """Why no library of the wheel is taken, in one line."""


class Damaged(NotPrebuilt):
    """The installation is not as it was made: worth a word even where a compiler makes up for it."""


@dataclass(frozen=True)
class Prebuilt:
    """A library that was checked and loaded.

    Attributes:
        level: ``avx512`` or ``avx2``.
        build: SHA-256 of the file: which build it is.
        compiler: What made it.
        flags: How.
        loaded: The code.
    """

    level: str
    build: str
    compiler: str
    flags: str
    loaded: ctypes.CDLL


def asked() -> Choice:
    """``$GRU_BENCH_NATIVE``: which native code is wanted.

    ``auto`` (also where it is unset or empty) takes a prebuilt library where one fits, else compiles; ``prebuilt``
    does not compile; ``avx512`` or ``avx2`` is that prebuilt library or none; ``compile`` takes no prebuilt one.

    Raises:
        UserError: It is none of these.
    """
    value = os.environ.get(VARIABLE) or "auto"
    for choice in get_args(Choice):
        if value == choice:
            return choice
    raise UserError(f"{VARIABLE}={value}: valid: {', '.join(get_args(Choice))}")


def processor_flags() -> frozenset[str]:
    """The instruction sets that this processor and its system offer, in Linux's names; empty where it does not say."""
    try:
        lines = CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = [line.partition(":")[2].split() for line in lines if line.partition(":")[0].strip() == "flags"]
    return frozenset.intersection(*map(frozenset, found)) if found else frozenset()


def level_for(choice: Choice, flags: frozenset[str]) -> str:
    """The best level that a processor with these flags runs.

    Args:
        choice: As :func:`asked` gives it; a level caps it to that one.
        flags: As :func:`processor_flags` gives them.

    Raises:
        NotPrebuilt: It runs none that may be taken.
    """
    levels = [choice] if choice in NEEDS else list(NEEDS)
    for level in levels:
        if NEEDS[level] <= flags:
            return level
    missing = ", ".join(sorted(NEEDS[levels[-1]] - flags)[:4])
    raise NotPrebuilt(f"the prebuilt library for {levels[-1]} needs a processor with {missing}")


def load(choice: Choice) -> Prebuilt:
    """The library of the wheel for this processor, checked and loaded.

    Raises:
        NotPrebuilt: There is none that may be taken here.
        Damaged: There is one that is not as it was made.
    """
    if choice == "compile":
        raise NotPrebuilt(f"{VARIABLE}=compile")
    manifest = FOLDER / compiling.MANIFEST
    if not manifest.exists():
        raise NotPrebuilt("this installation carries no prebuilt library")
    level = level_for(choice, processor_flags())
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        sources, compiler, library = facts["sources"], str(facts["compiler"]), facts["libraries"][level]
        path, sealed, flags = FOLDER / library["file"], str(library["seal"]), str(library["flags"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Damaged(f"{manifest} is damaged ({type(error).__name__})") from error
    if sources != compiling.source_digest():
        raise NotPrebuilt("the prebuilt libraries were made from other sources")
    try:
        if compiling.seal(path) != sealed:
            raise Damaged(f"{path} is damaged")
        return Prebuilt(level, sealed.split()[-1], compiler, flags, ctypes.CDLL(str(path)))
    except OSError as error:
        raise Damaged(f"{path} cannot be loaded ({error})") from error
