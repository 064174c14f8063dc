"""What a call of ``gru-bench answer`` leaves for the next one: its pilot, its plan, and the rates that trials chose.

Two files in a folder of the question's own: ``record.json``, and ``experiment/NAME.yaml``, which every command takes
with ``--config-dir``. Which runs are done stands in the store alone. Without the files the next call plans anew.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from gru_bench.answer.sizing import Size
from gru_bench.cache_dir import cache_dir, replace_text
from gru_bench.config.canonical import digest

VERSION = 1


@dataclass(frozen=True)
class Chosen:
    """What the trials of one cell gave.

    Attributes:
        rate: The best by validation; None where every trial failed.
        scores: Mean validation score by rate, in the metric's own direction; None where a run failed.
        settings: Digest of what the rate depends on.
    """

    rate: float | None
    scores: list[float | None]
    settings: str


@dataclass(frozen=True)
class Record:
    """The files' content.

    Attributes:
        name: Of the experiment.
        question: What is trained on what.
        source_id: What the data was.
        backend: On which all cells run.
        run_s: By cell: seconds of a run, fewest, likely and most, by the pilot.
        workers: Runs at once.
        size: What each cell gets; None before the first plan.
        rates: That are tried, ascending.
        trial_seeds: On which.
        chosen: What that gave, by cell; empty before.
    """

    name: str
    question: list[str]
    source_id: str
    backend: str
    run_s: dict[str, list[float]] = field(default_factory=dict)
    workers: int = 1
    size: Size | None = None
    rates: list[float] = field(default_factory=list)
    trial_seeds: list[int] = field(default_factory=list)
    chosen: dict[str, Chosen] = field(default_factory=dict)

    def with_trials(self, rates: list[float], seeds: list[int]) -> Self:
        """The same with what is to be tried; what was chosen of other trials counts no more."""
        kept = self.chosen if (rates, seeds) == (self.rates, self.trial_seeds) else {}
        return replace(self, rates=rates, trial_seeds=seeds, chosen=kept)


def folder_of(uri: str, name: str) -> Path:
    """Where the files are of one experiment in one store."""
    return cache_dir() / "answers" / digest(uri)[:8] / name


def read(folder: Path) -> Record | None:
    """What an earlier call left; None for nothing that can be used."""
    try:
        known: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        if known.pop("version") != VERSION:
            return None
        size = known.pop("size")
        chosen = {cell: Chosen(**one) for cell, one in known.pop("chosen").items()}
        return Record(**known, size=size and Size(**size), chosen=chosen)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(folder: Path, record: Record, experiment: str) -> None:
    """Keep both files.

    Raises:
        OSError: They cannot be written.
    """
    replace_text(folder / "experiment" / f"{record.name}.yaml", experiment)
    replace_text(folder / "record.json", json.dumps({"version": VERSION, **asdict(record)}, indent=1))
