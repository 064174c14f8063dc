"""Fetch the libraries that another machine's Python lacks, as wheels for ``bench/gpu.py --wheels``: no network there.

    make gpu-wheels GPU_PYTHON=3.12 GPU_HAS=has.txt       # or: python bench/gpu_wheels.py --python 3.12 --has has.txt
    python bench/gpu_wheels.py --list                     # only say which

The versions are those of ``requirements.lock``, without torch, what torch itself needs, and what only developers use.
``--has`` names what the other machine has already: names, or a file with one a line, as ``pip list --format=freeze``
prints them there. Where it gives a version, one of an older major version counts as lacking.

Exit 0: every wheel is there; 1: one could not be had; 2: bad input.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
OF_TORCH = ("torch", "triton", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock",
            "typing_extensions", "setuptools")  # fmt: skip
FOR_DEVELOPERS = ("ruff", "mypy", "mypy_extensions", "librt", "pathspec", "ast_serialize", "playwright", "editables",
                  "pandas_stubs", "types_pyyaml", "hatchling", "trove_classifiers", "torchrecurrent")  # fmt: skip
SOURCE_ONLY = ("antlr4_python3_runtime", "docopt", "seqeval")
"""Of which the registry has no wheel."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "_", name).lower()


def read_names(words: Iterable[str]) -> dict[str, str]:
    """Versions by normal name, from words such as ``name==1.2``; an empty one where none is given."""
    parted = (word.partition("==") for word in words if word and not word.startswith(("-", "#")))
    return {normal(name): version.partition("+")[0] for name, _, version in parted}


def locked() -> dict[str, str]:
    """Of ``requirements.lock``."""
    return read_names((CHECKOUT / "requirements.lock").read_text(encoding="utf-8").split())


def is_there(version: str, needed: str) -> bool:
    """Whether an installed version will do: one that is not known, or of no older major version."""
    majors = [re.match(r"\d+", text) for text in (version, needed)]
    return None in majors or int(majors[0][0]) >= int(majors[1][0])  # type: ignore[index]


def wanted(has: dict[str, str]) -> list[str]:
    """What must travel, as ``name==version``.

    Args:
        has: What is there already: versions by normal name.
    """
    left_out = {*OF_TORCH, *FOR_DEVELOPERS}
    return [
        f"{name}=={version}"
        for name, version in sorted(locked().items())
        if name not in left_out and not (name in has and is_there(has[name], version))
    ]


def names_of(text: str) -> dict[str, str]:
    """From a list of names, or from the file that it names."""
    file = Path(text)
    return read_names(
        file.read_text(encoding="utf-8").split() if text and file.is_file() else re.split(r"[\s,]+", text)
    )


def fetch(requirements: Sequence[str], python: str, folder: Path) -> list[str]:
    """The wheels that the other Python can use; a project that publishes its source alone is built here.

    Returns:
        What is wrong, a line each.
    """
    for_python = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        for_python += ["--platform", platform]
    published = [one for one in requirements if one.partition("==")[0] not in SOURCE_ONLY]
    problems: list[str] = []
    if published and pip("download", *for_python, "-d", str(folder), *published):
        for one in published:  # again, one by one: which is it?
            problems += [f"{one}: {text}" for text in pip("download", *for_python, "-d", str(folder), one)]
    for one in requirements:
        if one in published:
            continue
        before = set(folder.glob("*.whl"))
        problems += [f"{one}: {text}" for text in pip("wheel", "-w", str(folder), one)]
        for wheel in set(folder.glob("*.whl")) - before:
            if not wheel.name.endswith("-none-any.whl"):
                wheel.unlink()
                problems.append(f"{one}: its source builds a wheel for this Python alone")
    return problems


def pip(verb: str, *arguments: str) -> list[str]:
    """Run pip. Returns its last line of complaint, or nothing where all went well."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", verb, "--no-deps", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [(done.stderr.strip().splitlines() or ["pip failed"])[-1]]


def main(arguments: Sequence[str] | None = None) -> int:
    """List or fetch. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="of the other")
    parser.add_argument("--has", default="", help="names of what is there, or a file of them")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "wheels")
    parser.add_argument("--list", action="store_true", help="only print what would be fetched")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"3\.1[1-9]", options.python):
        parser.error(f"--python={options.python}: must be 3.11 or newer, such as 3.12")
    names = wanted(names_of(options.has))
    if options.list:
        print("\n".join(names))
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    for old in options.output.glob("*.whl"):
        old.unlink()  # two versions of one library would stop the installation
    problems = fetch(names, options.python, options.output)
    wheels = list(options.output.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{len(wheels)} of {len(names)} wheels in {options.output}, {size:.0f} MiB")
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
