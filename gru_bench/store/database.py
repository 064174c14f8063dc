"""A database as the store: reached within a deadline, and used for the first time by one client at a time.

MLflow makes its tables at the first call, without a lock: of several clients that start at once on an empty database
most die, and some migrations then cannot be repeated. A tracking server in front of the database avoids that for its
clients, but the servers of two sweeps, or clients without a server, meet there as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gru_bench.errors import UserError

FIRST_USE_WITHIN_S = 120
"""Longest wait for another client that makes the tables; it takes ten seconds or so."""
LOCK_NUMBER, LOCK_NAME = 0x6772755F, "gru_bench"
"""Known to all clients: PostgreSQL counts its advisory locks, MySQL names them."""
DRIVERS = {"postgresql": "pip install 'gru-bench[postgres]'", "mysql": "pip install mysqlclient"}


def reach(uri: str) -> None:
    """Connect once.

    Raises:
        UserError: The database's driver is not installed.
        Exception: Whatever the driver says.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    try:
        engine = create_engine(uri, poolclass=NullPool)
    except ImportError as error:
        kind = uri.partition(":")[0].partition("+")[0]
        raise UserError(
            f"tracking.uri: {kind} needs a driver ({error}); install it with: {DRIVERS.get(kind, 'pip')}"
        ) from error
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


@contextmanager
def alone_at_first(uri: str) -> Iterator[None]:
    """Let no other client make or check the tables, for the time of the block; the lock ends with its connection."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SET lock_timeout = '{FIRST_USE_WITHIN_S}s'"))
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": LOCK_NUMBER})
        elif engine.dialect.name == "mysql":
            connection.execute(text("SELECT GET_LOCK(:name, :s)"), {"name": LOCK_NAME, "s": FIRST_USE_WITHIN_S})
        yield
