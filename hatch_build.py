"""Puts compiled libraries into the wheel where ``GRU_BENCH_PREBUILT=1`` asks for it; else the wheel is for any system.

The libraries are for Linux on x86-64; ``make wheel`` asks for them. Editable installs and source distributions never
carry them.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "gru_bench/backends/native"
TAG = "py3-none-manylinux_2_28_x86_64"
# what a manylinux_2_28 system has (PEP 600 and auditwheel's policy of that name); torch's own wheels ask for the same
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}
LIBRARIES = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}


class PrebuiltLibraries(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles before the wheel is written, and clears away after."""

    folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the libraries and name them and the wheel's tag to the builder."""
        if self.target_name != "wheel" or version == "editable" or os.environ.get("GRU_BENCH_PREBUILT", "0") != "1":
            return
        if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
            raise RuntimeError("GRU_BENCH_PREBUILT=1: libraries are made on Linux on x86-64 with glibc alone")
        self.folder = Path(tempfile.mkdtemp(prefix="gru_bench_"))
        for path in compiling(Path(self.root)).compile_for_wheel(self.folder):
            if path.suffix == ".so":
                check_needs(path)
            build_data["force_include"][str(path)] = f"{NATIVE}/libraries/{path.name}"
        build_data["pure_python"] = False
        build_data["tag"] = TAG

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the libraries: they are in the wheel."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def compiling(root: Path) -> Any:
    """The module that compiles, without the package around it: that needs torch."""
    spec = importlib.util.spec_from_file_location("compiling", root / NATIVE / "compiling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_needs(path: Path) -> None:
    """Refuse a library that asks for more than the tag promises.

    Raises:
        RuntimeError: It needs a newer symbol or another library.
    """
    command = ["readelf", "--wide", "--dynamic", "--version-info", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", text))
    newer = [
        f"{name}_{version}"
        for name, version in set(re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)", text))
        if tuple(map(int, version.split("."))) > NEWEST[name]
    ]
    if not needed or newer or needed - LIBRARIES:
        asks = sorted(newer) + sorted(needed - LIBRARIES) or ["nothing, which cannot be"]
        raise RuntimeError(f"{path.name} is not for {TAG}: it asks for {', '.join(asks)}")
