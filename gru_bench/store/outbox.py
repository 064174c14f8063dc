"""What a run has still to send to MLflow: kept together, since a call costs milliseconds however little it holds."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gru_bench.store.facts import as_params_and_tags
from gru_bench.store.private import clean

if TYPE_CHECKING:
    from mlflow import MlflowClient

Write = Callable[[Path], object]
"""Writes one file to a path."""
Point = tuple[str, float, int, int]
"""Of a metric: its name, value, when in milliseconds, and the step."""


@dataclass
class Parcel:
    """Facts, points and files that go together.

    Attributes:
        params: By name.
        tags: By name.
        points: In the order in which they were measured.
        files: What writes each artifact, by its name.
    """

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    files: dict[str, Write] = field(default_factory=dict)


class Outbox:
    """The unsent facts, points and files of one run.

    Args:
        run: What messages call the run.
        kind: Which of the schema's kinds it is.
    """

    def __init__(self, run: str, kind: str) -> None:
        self._run, self._kind = run, kind
        self._given: dict[str, str] = {}
        self._parcel = Parcel()
        self._taken = -math.inf

    def facts(self, facts: Mapping[str, object]) -> None:
        """Keep facts, each as param and tag as the schema has it.

        Raises:
            ValueError: A fact is not declared for that kind of run, or was given before with another value.
            UserError: A value is not what its fact holds.
        """
        params, tags = as_params_and_tags(facts, self._run, self._kind)
        for name, text in params.items():
            if self._given.get(name, text) != text:
                raise ValueError(f"{name}={text}: was {self._given[name]} before, and MLflow changes no param")
        self._given |= params
        self._parcel.params |= params
        self._parcel.tags |= tags

    def point(self, key: str, step: int, value: float) -> None:
        """Keep one point of a metric."""
        # MLflow turns infinity into 1.8e308, which no chart survives
        charted = float(value) if math.isfinite(value) else math.nan
        self._parcel.points.append((key, charted, int(time.time() * 1000), step))

    def forget(self, key: str) -> None:
        """Drop the unsent points of a metric."""
        self._parcel.points = [point for point in self._parcel.points if point[0] != key]

    def text(self, name: str, text: str) -> None:
        """Keep a text as an artifact, without secrets and private paths."""
        kept = clean(text)
        self.file(name, lambda path: path.write_text(kept, encoding="utf-8", newline="\n"))

    def file(self, name: str, write: Write) -> None:
        """Keep an artifact, to be written when it is sent."""
        self._parcel.files[name] = write

    @property
    def age_s(self) -> float:
        """Seconds since something was last taken; infinite before."""
        return time.monotonic() - self._taken

    def take(self) -> Parcel:
        """All that is here, which is then empty."""
        taken, self._parcel = self._parcel, Parcel()
        self._taken = time.monotonic()
        return taken


def send_parcels(client: "MlflowClient", run_id: str, parcels: Iterable[Parcel]) -> None:
    """Send facts and points in one call. Done again, it changes nothing.

    Raises:
        Exception: Something could not be sent; where MLflow refuses a point, all facts have been.
    """
    from mlflow.entities import Metric, Param, RunTag

    together = Parcel()
    for parcel in parcels:
        together.params |= parcel.params
        together.tags |= parcel.tags
        together.points += parcel.points
    points = [Metric(*point) for point in together.points]
    params = [Param(name, text) for name, text in together.params.items()]
    tags = [RunTag(name, text) for name, text in together.tags.items()]
    if not (points or params or tags):
        return
    try:
        client.log_batch(run_id, metrics=points, params=params, tags=tags)
    except Exception:
        if points:  # a point that MLflow refuses costs no facts
            client.log_batch(run_id, params=params, tags=tags)
        raise


def send_now(client: "MlflowClient", run_id: str, parcel: Parcel) -> None:
    """Send a parcel with its files.

    Raises:
        Exception: Something could not be sent; all the rest has been.
    """
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for name, write in parcel.files.items():
            write(Path(folder) / name)
        for send in (
            lambda: send_parcels(client, run_id, [parcel]),
            lambda: client.log_artifacts(run_id, folder) if parcel.files else None,
        ):
            try:
                send()
            except Exception as problem:
                problems.append(problem)
    if problems:
        raise problems[0]
