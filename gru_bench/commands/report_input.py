"""Results that ``report --diff`` and ``--check`` are given by name: a file, a folder, a store or an experiment."""

import re
from pathlib import Path

from gru_bench.errors import UserError
from gru_bench.store.read import Results, read
from gru_bench.store.results_csv import read_csv


def named(text: str, uri: str | None, select: dict[str, str | None]) -> Results:
    """The results of that name.

    Args:
        text: A ``results.csv``, a report's folder, the file or URI of a store, the name of an experiment in the store,
            or the id of a sweep in it.
        uri: The store of ``tracking.uri``.
        select: The keys ``experiment`` and ``sweep``, which choose the runs where the name is that of a store.

    Raises:
        UserError: Nothing of that name, or not readable.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        path = path / "results.csv"
        if not path.is_file():
            raise UserError(f"{text}: a folder without a results.csv is no report")
    if path.suffix == ".csv":
        if not path.is_file():
            raise UserError(f"{text}: there is no such file")
        return read_csv(path)
    if "://" in text:
        return read(text, **select)
    if path.is_file() or path.suffix == ".db":
        return read(f"sqlite:///{path}", **select)
    if re.fullmatch(r"[0-9a-f]{32}", text):
        return read(uri, sweep=text)
    return read(uri, experiment=text)
