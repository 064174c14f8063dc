"""Where runs are read from: MLflow's client, or the tables of its database, which answer twenty times as fast."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from gru_bench.errors import UserError
from gru_bench.store.connect import check_sqlite, connect, one_line, sqlite_file, without_password
from gru_bench.store.sqlite_file import to_read

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from sqlalchemy import Connection, Engine, Select

RUNS_A_PAGE = 1000


@dataclass(frozen=True)
class StoredRun:
    """One run as MLflow keeps it.

    Attributes:
        run_id: MLflow's id.
        experiment_id: Of its experiment.
        status: MLflow's own: ``FINISHED``, ``FAILED``, ``KILLED``, ``RUNNING`` or ``SCHEDULED``.
        started: When, in milliseconds.
        artifact_uri: The folder of its artifacts.
        params: By name.
        tags: By name.
    """

    run_id: str
    experiment_id: str
    status: str
    started: int
    artifact_uri: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


History = dict[str, tuple[float, list[tuple[int, float]]]]
"""By metric: the value that counts as its latest, and all points as step and value, in the order of their writing."""


class Source(Protocol):
    """A store that has answered. Only what was not deleted is seen."""

    @property
    def uri(self) -> str:
        """The store's absolute URI."""

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client on it; its import alone takes seconds."""

    def experiments(self) -> dict[str, str]:
        """Names of the experiments by their ids."""

    def runs(self, experiment_ids: Iterable[str], tags: Mapping[str, str]) -> list[StoredRun]:
        """All runs with these tags, the oldest first."""

    def sketched(
        self,
        experiment_ids: Iterable[str],
        *,
        tags: Sequence[str],
        params: Sequence[str] = (),
        statuses: Sequence[str] = (),
    ) -> list[StoredRun]:
        """All runs, the oldest first, at least with the tags and params of these names.

        Args:
            experiment_ids: Of their experiments.
            tags: Names of tags.
            params: Names of params.
            statuses: MLflow's statuses that they may have; any where none is given.
        """

    def newest(self, experiment_ids: Iterable[str], tags: Mapping[str, str]) -> StoredRun | None:
        """The run with these tags that started last."""

    def history(self, run_id: str) -> History:
        """What MLflow itself kept of a run's metrics."""


def open_source(uri: str) -> Source:
    """The quickest way to read a store.

    Args:
        uri: From :func:`gru_bench.store.connect.absolute_uri`.

    Raises:
        UserError: The store does not exist, or cannot be reached or read.
    """
    file = sqlite_file(uri)
    if file is not None:
        check_sqlite(uri, file)
        return Database(uri)
    client = connect(uri, create=False)
    return Client(uri, client) if uri.startswith("http") or uri == "databricks" else Database(uri)


def in_order(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """The oldest first."""
    return sorted(runs, key=lambda run: (run.started, run.run_id))


class Client:
    """A store behind MLflow's client."""

    def __init__(self, uri: str, client: "MlflowClient") -> None:
        self.uri, self.client = uri, client

    def experiments(self) -> dict[str, str]:
        return {found.experiment_id: found.name for found in self.client.search_experiments()}

    def runs(self, experiment_ids: Iterable[str], tags: Mapping[str, str]) -> list[StoredRun]:
        return self._searched(experiment_ids, condition(tags))

    def sketched(
        self,
        experiment_ids: Iterable[str],
        *,
        tags: Sequence[str],
        params: Sequence[str] = (),
        statuses: Sequence[str] = (),
    ) -> list[StoredRun]:
        ids = list(experiment_ids)  # MLflow's filter knows no OR
        filters = [f"attributes.status = '{status}'" for status in statuses] or [""]
        return in_order(run for one in filters for run in self._searched(ids, one))

    def _searched(self, experiment_ids: Iterable[str], where: str) -> list[StoredRun]:
        runs: list[StoredRun] = []
        token: str | None = None
        ids = list(experiment_ids)
        while ids:  # MLflow refuses to search in no experiment
            page = self.client.search_runs(
                ids,
                where,
                max_results=RUNS_A_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs += map(stored_run, page)
            token = page.token
            if not token:
                break
        return in_order(runs)

    def newest(self, experiment_ids: Iterable[str], tags: Mapping[str, str]) -> StoredRun | None:
        order = ["attributes.start_time DESC"]
        ids = list(experiment_ids)
        found = ids and self.client.search_runs(ids, condition(tags), max_results=1, order_by=order)
        return stored_run(found[0]) if found else None

    def history(self, run_id: str) -> History:
        latest = self.client.get_run(run_id).data.metrics
        points = {key: self.client.get_metric_history(run_id, key) for key in latest}
        return {key: (latest[key], [(point.step, point.value) for point in points[key]]) for key in latest}


def condition(tags: Mapping[str, str]) -> str:
    """Tags as MLflow's filter."""
    return " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())


def stored_run(run: "MlflowRun") -> StoredRun:
    """A run of MLflow's client."""
    info = run.info
    facts = (info.run_id, info.experiment_id, info.status, info.start_time or 0, info.artifact_uri)
    return StoredRun(*facts, run.data.params, run.data.tags)


class Database:
    """A store whose database is read directly and never written to.

    Raises:
        UserError: Its tables are not those that MLflow 3 makes.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._engine: Engine | None = None
        self._client: MlflowClient | None = None

    @property
    def client(self) -> "MlflowClient":
        if self._client is None:
            self._client = connect(self.uri, create=False)
        return self._client

    def experiments(self) -> dict[str, str]:
        from sqlalchemy import column, select, table

        experiments = table("experiments", column("experiment_id"), column("name"), column("lifecycle_stage"))
        active = experiments.c.lifecycle_stage == "active"
        found = self._rows(select(experiments.c.experiment_id, experiments.c.name).where(active))
        return {str(number): name for number, name in found}

    def runs(self, experiment_ids: Iterable[str], tags: Mapping[str, str]) -> list[StoredRun]:
        return self._with_facts(self._chosen(list(experiment_ids), tags))

    def sketched(
        self,
        experiment_ids: Iterable[str],
        *,
        tags: Sequence[str],
        params: Sequence[str] = (),
        statuses: Sequence[str] = (),
    ) -> list[StoredRun]:
        chosen = self._chosen(list(experiment_ids), {})
        if statuses:
            chosen = chosen.where(chosen.selected_columns.status.in_(statuses))
        return self._with_facts(chosen, {"tags": tags, "params": params})

    def newest(self, experiment_ids: Iterable[str], tags: Mapping[str, str]) -> StoredRun | None:
        chosen = self._chosen(list(experiment_ids), tags)
        columns = chosen.selected_columns
        found = self._rows(chosen.order_by(columns.start_time.desc()).limit(1))
        runs = self._with_facts(chosen.where(columns.run_uuid == found[0][0])) if found else []
        return runs[0] if runs else None

    def history(self, run_id: str) -> History:
        from sqlalchemy import column, select, table

        names = ("run_uuid", "key", "value", "step", "timestamp", "is_nan")
        latest, metrics = (table(name, *map(column, names)) for name in ("latest_metrics", "metrics"))
        kept = self._rows(select(latest.c.key, latest.c.value, latest.c.is_nan).where(latest.c.run_uuid == run_id))
        found: History = {key: (number(value, is_nan), []) for key, value, is_nan in kept}
        points = select(metrics.c.key, metrics.c.step, metrics.c.value, metrics.c.is_nan)
        points = points.where(metrics.c.run_uuid == run_id)
        for key, step, value, is_nan in self._rows(
            points.order_by(metrics.c.timestamp, metrics.c.step, metrics.c.value)
        ):
            if key in found:
                found[key][1].append((step, number(value, is_nan)))
        return found

    def _with_facts(self, chosen: "Select[Any]", names: Mapping[str, Sequence[str]] | None = None) -> list[StoredRun]:
        """The runs of such a question with their params and tags, or with those that are named, the oldest first."""
        from sqlalchemy import column, select, table

        found = {run.run_id: run for run in map(row_run, self._rows(chosen))}
        params: dict[str, dict[str, str]] = {run_id: {} for run_id in found}
        tags: dict[str, dict[str, str]] = {run_id: {} for run_id in found}
        same = dict[str, str]().setdefault  # most runs have most texts in common: each is kept once
        for name, kept in (("params", params), ("tags", tags)):
            if names is not None and not names[name]:
                continue
            facts = table(name, column("run_uuid"), column("key"), column("value"))
            ids = chosen.with_only_columns(chosen.selected_columns.run_uuid)
            question = select(*facts.columns).where(facts.c.run_uuid.in_(ids))
            if names is not None:
                question = question.where(facts.c.key.in_(names[name]))
            for run_id, key, text in self._rows(question):
                if run_id in kept and text is not None:  # a run may have begun between two questions
                    kept[run_id][same(key, key)] = same(text, text)
        return in_order(replace(run, params=params[id_], tags=tags[id_]) for id_, run in found.items())

    def _chosen(self, experiment_ids: Sequence[str], tags: Mapping[str, str]) -> "Select[Any]":
        from sqlalchemy import column, select, table

        names = ("run_uuid", "experiment_id", "status", "start_time", "artifact_uri", "lifecycle_stage")
        runs = table("runs", *map(column, names))
        chosen = select(*(runs.c[name] for name in names[:-1])).where(runs.c.lifecycle_stage == "active")
        chosen = chosen.where(runs.c.experiment_id.in_([int(experiment) for experiment in experiment_ids]))
        of_tags = table("tags", column("run_uuid"), column("key"), column("value"))
        for key, value in tags.items():
            ids = select(of_tags.c.run_uuid).where(of_tags.c.key == key, of_tags.c.value == value)
            chosen = chosen.where(runs.c.run_uuid.in_(ids))
        return chosen

    def _rows(self, question: "Select[Any]") -> Sequence[Any]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._connect() as connection:
                # the driver's own rows: SQLAlchemy would spend as long again on dressing a million of them
                cursor = connection.execute(question).cursor
                return [] if cursor is None else cursor.fetchall()
        except (SQLAlchemyError, sqlite3.Error) as error:
            reason = one_line(getattr(error, "orig", None) or error)
            raise UserError(
                f"tracking.uri={without_password(self.uri)}: cannot be read ({reason}); "
                "is it a store of MLflow 3? `mlflow db upgrade` on a copy makes it one"
            ) from error

    def _connect(self) -> "Connection":
        from sqlalchemy import NullPool, create_engine

        if self._engine is None:
            file = sqlite_file(self.uri)
            if file is None:
                self._engine = create_engine(self.uri, poolclass=NullPool)
            else:
                path = to_read(file)
                self._engine = create_engine(
                    "sqlite://", creator=lambda: sqlite3.connect(path, uri=True, timeout=20), poolclass=NullPool
                )
        return self._engine.connect()


def row_run(row: Sequence[Any]) -> StoredRun:
    """A run of a row of MLflow's table, with params and tags still to come."""
    run_id, experiment_id, status, started, artifact_uri = row
    return StoredRun(run_id, str(experiment_id), status, started or 0, artifact_uri)


def number(value: float, is_nan: bool) -> float:
    """A value as it was written: MLflow keeps what is not a number beside it."""
    return float("nan") if is_nan else value
