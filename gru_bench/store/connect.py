"""The tracking store: where it is, and whether it answers. Writer and reader share it."""

import hashlib
import logging
import os
import queue
import re
import shlex
import socket
import sqlite3
import sys
import threading
import urllib.parse
import urllib.request
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from gru_bench.cache_dir import cache_dir
from gru_bench.errors import UserError
from gru_bench.redact import remember, without_secrets
from gru_bench.store.database import alone_at_first, reach
from gru_bench.store.sqlite_file import (
    ARTIFACTS,
    LOCK_WITHIN_S,
    bring_home,
    copied,
    is_older,
    locked,
    make_whole,
    to_read,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

ANSWER_WITHIN_S = 4.0
"""Longest wait for a server's first answer. MLflow's own retries run for minutes."""
CONNECT_WITHIN_S = 2.0
DEFAULT_FILE = "mlflow.db"
SERVERS = ("http", "https", "postgresql", "mysql", "mssql", "databricks")
VALID_URIS = "sqlite:///FILE.db, http://HOST:PORT, https://..., postgresql://..., mysql://..., mssql://..."

# MLflow reads these when it is imported, which is why they are set here and why it is imported late
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # a server that is away is asked again by us, while the run goes on
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}.items():
    os.environ.setdefault(_name, _value)


def absolute_uri(uri: str | None) -> str:
    """The URI with an absolute path; None is ``mlflow.db`` in the working folder.

    Raises:
        UserError: Not a URI that can be a store.
    """
    if uri is None:
        uri = f"sqlite:///{DEFAULT_FILE}"
    remember(uri)
    scheme, separator, rest = uri.partition("://")
    if separator and rest and scheme.split("+")[0] in SERVERS:
        return uri.rstrip("/")
    if uri == "databricks":
        return uri
    if not separator or scheme == "file":
        raise UserError(
            f"tracking.uri={without_password(uri)}: MLflow no longer writes to folders; valid: {VALID_URIS}"
        )
    if scheme != "sqlite":
        raise UserError(f"tracking.uri={without_password(uri)}: no such kind of store; valid: {VALID_URIS}")
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        # SQLAlchemy's own reading: whether %20 is a space differs between its versions
        url = make_url(uri)
    except (ArgumentError, ValueError) as error:
        raise UserError(f"tracking.uri={uri}: {one_line(error)}; valid: sqlite:///FILE.db") from error
    path = url.database or ""
    if url.host or url.query or path in ("", ":memory:") or path.startswith("file:"):
        raise UserError(f"tracking.uri={uri}: a SQLite store needs a file and no options; valid: sqlite:///FILE.db")
    path = os.path.abspath(os.path.expanduser(path))
    absolute = URL.create("sqlite", database=path).render_as_string()
    if make_url(absolute).database != path:
        raise UserError(f"tracking.uri={uri}: SQLAlchemy cannot open the path {path}; choose plainer names")
    return absolute


def sqlite_file(uri: str) -> Path | None:
    """The file of an absolute SQLite URI, or None for a server."""
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy import make_url

    return Path(make_url(uri).database or "")


def artifact_root(uri: str) -> Path | None:
    """The folder of the artifacts: beside the SQLite file; None where a server decides."""
    file = sqlite_file(uri)
    return None if file is None else file.parent / ARTIFACTS


def spool_folder(uri: str) -> Path:
    """Where the runs of a store are kept until it has them."""
    return cache_dir() / "spool" / hashlib.sha256(uri.encode()).hexdigest()[:16]


def is_waiting(uri: str) -> bool:
    """Whether anything is kept for a store, of whichever process; quick."""
    return any(any(path.iterdir()) for path in spool_folder(uri).glob("*") if path.is_dir())


def without_password(uri: str) -> str:
    """The URI without a password, for messages."""
    return without_secrets(uri)


def one_line(error: BaseException, limit: int = 300) -> str:
    """An error's message without line breaks, cut to a length; its class where it has no message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def connect(uri: str, *, create: bool) -> "MlflowClient":
    """MLflow's client on a store that has answered.

    Args:
        uri: From :func:`absolute_uri`.
        create: Make a SQLite file that does not exist; otherwise that is an error.

    Raises:
        UserError: The store cannot be reached, read or (with ``create``) written. Takes at most ten seconds,
            unless other processes are making the same SQLite file.
    """
    file = sqlite_file(uri)
    if file is None:
        return connect_server(uri)
    if create:
        return create_sqlite(uri, file)
    return open_sqlite(uri, file)


def create_sqlite(uri: str, file: Path) -> "MlflowClient":
    """Open a SQLite file for writing, and make it if it is not there.

    MLflow migrates a new file without a lock: of several processes that start at once most die with "duplicate
    column name" or the like. Hence the lock around the first call.
    """
    if not file.parent.is_dir():
        raise UserError(f"tracking.uri={uri}: there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise UserError(f"tracking.uri={uri}: that is a folder; name a file in it, such as {file / DEFAULT_FILE}")
    import mlflow  # noqa: F401  # before the lock: others would wait for the seconds that it takes

    try:
        with locked(file):
            unfinished = make_whole(file, make_tables)
            # by hand before MLflow, which tries a file that it cannot open ten times over
            with closing(sqlite3.connect(file, timeout=5)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # kept in the file; one writer blocks no reader
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
            with suppress(sqlite3.Error):  # tables of another version, of which MLflow speaks
                bring_home(file)
            client = first_call(uri)
    except Timeout as error:
        raise UserError(f"tracking.uri={uri}: {file}.lock has been held for {LOCK_WITHIN_S:.0f} s") from error
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"tracking.uri={uri}: cannot be written: {one_line(error)}") from error
    if unfinished is not None:
        print(
            f"gru-bench: {file} was left half-made by a start that was interrupted; it is made anew, and the old one, "
            f"without any run, is now {unfinished}",
            file=sys.stderr,
        )
    return client


def make_tables(file: Path) -> None:
    """Let MLflow make its tables in a new file, and close it.

    Raises:
        OSError: That did not work.
    """
    from sqlalchemy import URL

    try:
        client = first_call(URL.create("sqlite", database=str(file)).render_as_string())
    except UserError as error:
        raise OSError(str(error).partition(": ")[2] or str(error)) from error
    client._tracking_client.store.engine.dispose()


def open_sqlite(uri: str, file: Path) -> "MlflowClient":
    """MLflow's client on a SQLite file that exists and is an MLflow store. Never makes one."""
    check_sqlite(uri, file)
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        with suppress(OSError, sqlite3.Error):
            bring_home(file)
    return first_call(uri)


def to_serve(uri: str) -> str:
    """The store for a server that shows it: a copy of the database where nothing can be written, since MLflow writes.

    Raises:
        UserError: It cannot be copied.
    """
    file = sqlite_file(uri)
    if file is None or not file.is_file() or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        return uri
    try:
        copy = copied(file)
        bring_home(copy, file.parent / ARTIFACTS)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"tracking.uri={uri}: cannot be read: {one_line(error)}") from error
    print(
        f"gru-bench: {file} cannot be written; a copy is shown, and what is changed there is not kept", file=sys.stderr
    )
    return absolute_uri(f"sqlite:///{copy}")


def check_sqlite(uri: str, file: Path) -> None:
    """Refuse a SQLite file that does not exist or holds no MLflow store. Waits for a process that is making it.

    Raises:
        UserError: There is no such file, it cannot be read, or it holds no runs.
    """
    try:
        if not file.is_file():
            raise UserError(f"tracking.uri={uri}: there is no such file; `gru-bench train` makes it")
        # another process may be in the middle of making it; a folder that cannot be written has no such process
        with locked(file) if os.access(file.parent, os.W_OK) else nullcontext():
            with closing(sqlite3.connect(to_read(file), uri=True, timeout=5)) as connection:
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            if "experiments" not in tables:
                raise UserError(f"tracking.uri={uri}: the file holds no runs; `gru-bench train` writes some")
    except Timeout as error:
        raise UserError(f"tracking.uri={uri}: {file}.lock has been held for {LOCK_WITHIN_S:.0f} s") from error
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"tracking.uri={uri}: cannot be read: {one_line(error)}") from error


def check_still_there(uri: str, client: "MlflowClient") -> None:
    """Refuse a SQLite file that is gone, and open anew where another lies in its place.

    The driver keeps a file open that was deleted, and would write to it as if nothing had happened; and it would make
    a new one without tables.

    Raises:
        UserError: There is no such file any more.
    """
    file = sqlite_file(uri)
    if file is None:
        return
    try:
        found = file.stat()
    except OSError as error:
        raise UserError(f"tracking.uri={uri}: {file} is gone") from error
    identity = (found.st_dev, found.st_ino)
    if _opened.setdefault(uri, identity) != identity:
        client._tracking_client.store.engine.dispose()
        _opened[uri] = identity


_opened: dict[str, tuple[int, int]] = {}
"""Which file this process has open, by the store's URI."""


def connect_server(uri: str) -> "MlflowClient":
    """Ask a server one question, with a deadline for the answer: MLflow would retry for minutes."""
    import mlflow  # noqa: F401  # before the clock starts: that it takes a second is not the server's fault

    answer: queue.SimpleQueue[MlflowClient | UserError | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            if is_database(uri):
                reach(uri)
                answer.put(None)
            else:
                knock(uri)
                answer.put(first_call(uri))
        except UserError as error:
            answer.put(error)
        except Exception as error:  # the drivers have errors of their own
            answer.put(UserError(f"tracking.uri={without_password(uri)}: {one_line(error)}"))

    # a thread, since name look-up, drivers and MLflow's retries each have their own idea of a timeout
    threading.Thread(target=ask, daemon=True).start()
    try:
        client = answer.get(timeout=ANSWER_WITHIN_S)
    except queue.Empty:
        raise UserError(
            f"tracking.uri={without_password(uri)}: no answer within {ANSWER_WITHIN_S:g} s; "
            "is an MLflow server running there?"
        ) from None
    if isinstance(client, UserError):
        raise client
    if client is None:  # it answers; that its tables are made may take longer
        with alone_at_first(uri):
            return first_call(uri)
    return client


def is_database(uri: str) -> bool:
    """Whether MLflow's client itself works on a database there, without a server."""
    return uri.partition("://")[0].partition("+")[0] in ("postgresql", "mysql", "mssql")


def knock(uri: str) -> None:
    """Fail at once where nothing listens on an HTTP server's port."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    try:
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        # not in the error's words, which quote what may be a part of a password
        raise UserError(
            f"tracking.uri={without_password(uri)}: its host and port cannot be read; valid: http://HOST:PORT; "
            "in a password / is written %2F, @ %40, : %3A"
        ) from error
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # only the proxy can reach it
    try:
        socket.create_connection((host, port), timeout=CONNECT_WITHIN_S).close()
    except OSError as error:
        raise UserError(
            f"tracking.uri={without_password(uri)}: cannot connect ({one_line(error)}); "
            "is an MLflow server running there?"
        ) from error


def first_call(uri: str) -> "MlflowClient":
    """MlflowClient without its chatter, after the one call that builds tables, checks versions and permissions."""
    from mlflow import MlflowClient

    for name, level in {
        "mlflow": logging.WARNING,
        "mlflow.store.db": logging.CRITICAL,
        "alembic": logging.WARNING,
        "urllib3": logging.ERROR,
    }.items():
        logging.getLogger(name).setLevel(level)
    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # SQLAlchemy and the drivers have errors of their own
        where = f"tracking.uri={without_password(uri)}"
        if "out-of-date database schema" in str(error):
            raise UserError(f"{where}: {of_another_version(uri, str(error))}") from error
        raise UserError(f"{where}: {one_line(error)}") from error
    return client


def of_another_version(uri: str, problem: str) -> str:
    """What to do with tables that another version of MLflow made, in a line."""
    import mlflow

    found = re.search(r"found version (\w+)", problem)
    if found is None or is_older(found[1]) is None:
        return (
            f"written by a newer version of MLflow than the one here ({mlflow.__version__}); install the version that "
            "wrote it, or choose another store"
        )
    copy = "sqlite:///COPY.db" if uri.startswith("sqlite:") else "the URI of that copy"
    return (
        f"written by an older version of MLflow than the one here ({mlflow.__version__}); copy it, run "
        f"`{python_command()} -m mlflow db upgrade {copy}`, and give the copy as tracking.uri"
    )


def python_command() -> str:
    """The Python that runs this, as a shell finds it without anything on its PATH."""
    return shlex.quote(sys.executable or "python")
