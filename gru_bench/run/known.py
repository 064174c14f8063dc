"""Keys of planned jobs, remembered on this machine: to compose a config takes a tenth of a second.

A job writes what decides its result (:func:`gru_bench.config.keys.decisive`) to a small file, one for all seeds of a
combination; a sweep that is planned again reads the files. The folder's name is a digest of all that may change what a
combination means: yaml files, code, versions, the working folder, the data folder. The file lists what else was looked
at, the data files above all, with size and time of change. What cannot be vouched for is not remembered: configs that
read the environment or the clock, tasks and data of classes that are not ours.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from omegaconf import DictConfig, OmegaConf

import gru_bench
from gru_bench.cache_dir import cache_dir, replace_text
from gru_bench.config.canonical import OWN, digest
from gru_bench.config.check import DATA_FOLDER, Node
from gru_bench.config.keys import KEY_VERSION, extras, keys_by_seed

MOST_FOLDERS = 12
"""Folders of plans that are kept, the latest; one is a few kilobytes for each combination."""
MOST_FILES = 20_000
"""Data files below one folder, beyond which a combination is not remembered."""
PURE_RESOLVERS = ("local", "drawn")
"""Resolvers whose answers follow from their arguments, from the seed, and from the data folder."""
RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:")
Files = list[tuple[str, int | None, int | None]]
"""Paths with size and time of change in nanoseconds; None where there is nothing."""
Signatures = dict[str, Files | None]


class Known:
    """What is remembered of the jobs of one sweep.

    Args:
        sources: Where Hydra looks for yaml files: ``hydra.runtime.config_sources``.
    """

    def __init__(self, sources: Any) -> None:
        self.folder = cache_dir() / "plans" / surroundings(sources)
        self._by_seed: dict[frozenset[tuple[str, str]], tuple[Callable[[int], str], list[str]] | None] = {}
        self._extras: dict[str, set[str]] = {}
        self._seen: Signatures = {}

    def key(self, job: Mapping[str, str]) -> str | None:
        """``config_key`` of a job, given by its overrides; None where that is not known."""
        if job.get("seed", "").isdecimal():
            rest = frozenset(item for item in job.items() if item[0] != "seed")
            if rest not in self._by_seed:
                entry = self._read(names(job)[0])
                self._by_seed[rest] = None if entry is None else (keys_by_seed(entry["kept"]), entry["extras"])
            of_seed = self._by_seed[rest]
            if of_seed is not None:
                key = of_seed[0](int(job["seed"]))
                self._extras.setdefault(key, set()).update(of_seed[1])
                return key
        entry = self._read(names(job)[-1])
        if entry is None:
            return None
        key = digest(entry["kept"])
        self._extras.setdefault(key, set()).update(entry["extras"])
        return key

    def extras(self, key: str) -> Set[str]:
        """What the jobs of a key that was asked for here are to keep; see :func:`gru_bench.config.keys.extras`."""
        return self._extras.get(key, frozenset())

    def remember(self, job: Mapping[str, str], config: DictConfig, node: Node, kept: dict[str, Any]) -> None:
        """Keep what decides a job's result, where that can be known again without composing it.

        Args:
            job: Its overrides.
            config: As composed.
            node: The same, checked.
            kept: What :func:`gru_bench.config.keys.decisive` made of it.
        """
        self._extras.setdefault(digest(kept), set()).update(extras(node))
        any_seed = "seed" in job and not mentions(config, "seed")
        path = self._path(names(job)[0 if any_seed else -1])
        if path.exists() or not vouched_for(config, node):
            return
        files = looked_at(node)
        if files is None:
            return
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            if not self.folder.exists():
                prune(self.folder.parent)
            replace_text(path, json.dumps({"kept": kept, "extras": extras(node), "files": files}))
            self._by_seed.pop(frozenset(item for item in job.items() if item[0] != "seed"), None)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            entry: dict[str, Any] = json.loads(self._path(name).read_bytes())
            for path, files in entry["files"].items():
                if path not in self._seen:
                    self._seen[path] = signature(path)
                if json.loads(json.dumps(self._seen[path])) != files:
                    return None
            _ = entry["kept"]["seed"], entry["extras"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return entry


def names(job: Mapping[str, str]) -> list[str]:
    """Under which a job may be found: its combination for any seed, where it names a seed that is a number; itself."""
    whole = digest(sorted(job.items()))
    if not job.get("seed", "").isdecimal():
        return [whole]
    return [digest(["any seed", *sorted((key, value) for key, value in job.items() if key != "seed")]), whole]


def surroundings(sources: Any) -> str:
    """A digest of all that may change what the overrides of a job mean, but for the data files themselves."""
    places = [str(source["path"]) for source in sources if source["schema"] == "file"]
    package = Path(gru_bench.__file__).parent
    files = [stamp(file) for place in places for file in sorted(Path(place).rglob("*.yaml"))]
    files += [stamp(file) for file in sorted(package.rglob("*.py"))]
    versions = [KEY_VERSION, gru_bench.__version__, hydra.__version__, omegaconf.__version__, sys.version]
    data = os.environ.get(DATA_FOLDER, "")
    below = sorted(str(path) for depth in ("*", "*/*") for path in Path(data).expanduser().glob(depth)) if data else []
    return digest([versions, os.getcwd(), places, files, data, below])


def mentions(config: DictConfig, name: str) -> bool:
    """Whether an interpolation in a config names a key."""
    return any(re.search(rf"\$\{{.*\b{name}\b", text) for text in texts(unresolved(config)))


def vouched_for(config: DictConfig, node: Node) -> bool:
    """Whether nothing decides the result of a job but what is looked at again when it is planned again."""
    ours = all(str((node.get(part) or {}).get("_target_", OWN)).startswith(OWN) for part in ("task", "data"))
    return ours and not any(
        "hydra" in text or not set(RESOLVER.findall(text)) <= set(PURE_RESOLVERS)
        for text in texts(unresolved(config))
        if "${" in text
    )


def unresolved(config: DictConfig) -> Any:
    """A composed config with its interpolations as they are written, without what no result depends on."""
    kept = [str(key) for key in config if key not in ("hydra", "tracking")]
    return OmegaConf.to_container(OmegaConf.masked_copy(config, kept), resolve=False)


def texts(node: Any) -> Iterator[str]:
    """All text in nested dictionaries and lists, but for their keys."""
    if isinstance(node, str):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        yield from texts(part)


def looked_at(node: Node) -> dict[str, Files] | None:
    """Every path that the task or its data may read, and the code of classes that are not ours; None if too many."""
    paths = {text for part in ("task", "data") for text in texts(node.get(part)) if "\n" not in text}
    found = {path: signature(path) for path in sorted((paths | set(foreign(node))) - {""})}
    return None if any(files is None for files in found.values()) else {p: f for p, f in found.items() if f is not None}


def foreign(node: Any) -> Iterator[str]:
    """The files of the modules of all classes in a config that are not ours."""
    from hydra.utils import get_object

    if isinstance(node, dict):
        target = node.get("_target_")
        if isinstance(target, str) and not target.startswith(OWN):
            module = sys.modules.get(getattr(get_object(target), "__module__", ""))
            yield getattr(module, "__file__", None) or ""
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        yield from foreign(part)


def signature(path: str) -> Files | None:
    """What lies at a path, without reading it; None if it is too much to list."""
    place = Path(path).expanduser()
    try:
        if not place.is_dir():
            return [stamp(place)]
        files = [file for file in sorted(place.rglob("*")) if file.is_file()]
    except (OSError, ValueError):  # such as a text that is too long for a name
        return [(path, None, None)]
    return None if len(files) > MOST_FILES else [stamp(file) for file in files]


def stamp(file: Path) -> tuple[str, int | None, int | None]:
    """A file with its size and time of change."""
    try:
        stat = file.stat()
    except (OSError, ValueError):
        return str(file), None, None
    return str(file), stat.st_size, stat.st_mtime_ns


def prune(folder: Path) -> None:
    """Leave the latest plans, with room for one more."""
    with suppress(OSError):
        found = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
        for path in found[: -(MOST_FOLDERS - 1)]:
            shutil.rmtree(path, ignore_errors=True)
