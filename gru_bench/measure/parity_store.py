"""Answers of the parity check that this machine has given before: one small file per question, read by any process.

A file that cannot be read or written costs a new measurement, and never an error. Deleting the folder is harmless.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gru_bench.backends.base import Backend
from gru_bench.cache_dir import cache_dir, replace_text
from gru_bench.measure.environment import machine_id

PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = ("backends", "cells", "models/encoder.py", "models/streams.py", "measure/parity.py")
"""What the answer depends on in this package: files of these suffixes in these folders."""
SUFFIXES = (".py", ".cpp", ".h")


@dataclass(frozen=True)
class Key:
    """One question.

    Attributes:
        text: Everything that the answer may depend on, as JSON.
        lasting: Whether that text means the same to another process.
        own: The very class or function that makes the cell, and the backend's class: two of one name in this process
            are two questions.
    """

    text: str
    lasting: bool = field(compare=False)
    own: tuple[object, ...] = ()

    @property
    def path(self) -> Path:
        """The answer's file."""
        return folder() / f"{digest(self.text)}.json"


def folder() -> Path:
    """Where the answers lie."""
    return cache_dir() / "parity"


def question(
    make_cell: Callable[..., Any],
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    cases: str,
    autocast: bool = False,
) -> Key:
    """The question put to ``parity``, with everything about this machine that may matter.

    Args:
        make_cell: Makes one cell.
        backend: What is compared.
        device: Where it runs.
        dtype: In which floating type.
        cases: Names of the shapes.
        autocast: Whether in mixed precision.
    """
    maker, options = make_cell, ""
    if isinstance(make_cell, functools.partial):
        maker = make_cell.func
        options = f"{make_cell.args!r} {sorted(make_cell.keywords.items())!r}"
    name, source = described(maker)
    backend_name, backend_source = described(type(backend))
    facts = {
        "cell": f"{name} {options}",
        "cell_source": source,
        "backend": f"{backend_name} {sorted(vars(backend).items())!r}",
        "backend_source": backend_source,
        "package_source": package_source(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(dtype),
        "autocast": autocast,
        "cases": cases,
        "torch": torch.__version__,
        "machine": machine_id(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled),
        "cudnn": torch.backends.cudnn.version(),
        "tf32": torch.backends.cudnn.allow_tf32,
    }
    text = json.dumps(facts, sort_keys=True)
    # an address in memory, a class inside a function or a file that is not there name nothing to another process
    lasting = bool(source and backend_source) and not any(sign in text for sign in (" at 0x", "<locals>", "<lambda>"))
    return Key(text, lasting, (maker, type(backend)))


def recall(key: Key) -> tuple[float, float] | None:
    """The errors of outputs and of gradients that were measured before, or None."""
    if not key.lasting:
        return None
    # whatever is wrong with the folder or the file, the answer can be measured
    with suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
        kept = json.loads(key.path.read_text(encoding="utf-8"))
        if json.dumps(kept["question"], sort_keys=True) == key.text:
            return float(kept["output_error"]), float(kept["gradient_error"])
    return None


def keep(key: Key, errors: tuple[float, float]) -> None:
    """Keep what was measured, green or red."""
    if key.lasting:
        answer = {"output_error": errors[0], "gradient_error": errors[1], "question": json.loads(key.text)}
        with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home folder
            replace_text(key.path, json.dumps(answer, indent=1) + "\n")


@functools.cache
def described(thing: object) -> tuple[str, str]:
    """The full name of a class, and a digest of the files that define it; no digest where these cannot be found.

    Read once: this process goes on with the code that it has imported, whatever becomes of the file.
    """
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(thing))}"
    if not isinstance(thing, type):
        return name, ""  # a function may call anything
    own = [base for base in thing.__mro__ if base.__module__.split(".")[0] not in ("builtins", "abc", "torch")]
    try:
        files = [Path(inspect.getfile(base)) for base in own]
        return name, digest(*(file.read_bytes() for file in files))
    except (OSError, TypeError):
        return name, ""


@functools.cache
def package_source() -> str:
    """A digest of everything in this package that decides what a backend computes."""
    files = [file for part in SOURCES for file in sorted([PACKAGE / part, *(PACKAGE / part).rglob("*")])]
    kept = [file for file in files if file.suffix in SUFFIXES and file.is_file()]
    return digest(*(part for file in kept for part in (file.relative_to(PACKAGE).as_posix(), file.read_bytes())))


def digest(*parts: str | bytes) -> str:
    """24 hexadecimal digits of the SHA-256 of the parts, each set apart from the next by its length."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        sha.update(len(raw).to_bytes(8, "little") + raw)
    return sha.hexdigest()[:24]
