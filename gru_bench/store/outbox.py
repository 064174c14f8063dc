"""What a run has still to send to MLflow: kept together, since a call costs milliseconds however little it holds."""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gru_bench.store.facts import as_params_and_tags
from gru_bench.store.private import clean

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

Write = Callable[[Path], object]
"""Writes one file to a path."""


class Outbox:
    """The unsent facts, points and files of one run.

    Args:
        client: On the store.
        run_id: MLflow's id of the run.
        kind: Which of the schema's kinds the run is.
    """

    def __init__(self, client: "MlflowClient", run_id: str, kind: str) -> None:
        self._client, self._run_id, self._kind = client, run_id, kind
        self._given: dict[str, str] = {}
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._points: list[Metric] = []
        self._files: dict[str, Write] = {}
        self._sent = -math.inf

    def facts(self, facts: Mapping[str, object]) -> None:
        """Keep facts, each as param and tag as the schema has it.

        Raises:
            ValueError: A fact is not declared for that kind of run, or was given before with another value.
            UserError: A value is not what its fact holds.
        """
        params, tags = as_params_and_tags(facts, self._run_id, self._kind)
        for name, text in params.items():
            if self._given.get(name, text) != text:
                raise ValueError(f"{name}={text}: was {self._given[name]} before, and MLflow changes no param")
        self._given |= params
        self._params |= params
        self._tags |= tags

    def point(self, key: str, step: int, value: float) -> None:
        """Keep one point of a metric."""
        from mlflow.entities import Metric

        # MLflow turns infinity into 1.8e308, which no chart survives
        charted = float(value) if math.isfinite(value) else math.nan
        self._points.append(Metric(key, charted, int(time.time() * 1000), step))

    def forget(self, key: str) -> None:
        """Drop the unsent points of a metric."""
        self._points = [point for point in self._points if point.key != key]

    def text(self, name: str, text: str) -> None:
        """Keep a text as an artifact, without secrets and private paths."""
        kept = clean(text)
        self._files[name] = lambda path: path.write_text(kept, encoding="utf-8", newline="\n")

    def file(self, name: str, write: Write) -> None:
        """Keep an artifact, to be written when it is sent."""
        self._files[name] = write

    @property
    def age_s(self) -> float:
        """Seconds since something was last sent; infinite before."""
        return time.monotonic() - self._sent

    def send(self) -> None:
        """Send all of it.

        Raises:
            Exception: Something could not be sent; all the rest has been. It is kept, and sent with the next call.
        """
        problems = []
        for part in (self._send_facts_and_points, self._send_files):
            try:
                part()
            except Exception as problem:
                problems.append(problem)
        if problems:
            raise problems[0]
        self._sent = time.monotonic()

    def _send_facts_and_points(self) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, text) for name, text in self._params.items()]
        tags = [RunTag(name, text) for name, text in self._tags.items()]
        try:
            self._client.log_batch(self._run_id, metrics=self._points, params=params, tags=tags)
        except Exception:
            if not self._points:
                raise
            self._client.log_batch(self._run_id, params=params, tags=tags)  # a point that MLflow refuses costs no facts
            self._params, self._tags = {}, {}
            raise
        self._params, self._tags, self._points = {}, {}, []

    def _send_files(self) -> None:
        if not self._files:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, write in self._files.items():
                write(Path(folder) / name)
            self._client.log_artifacts(self._run_id, folder)
        self._files = {}
