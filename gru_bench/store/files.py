"""Files and folders on their way to a store."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gru_bench.errors import UserError
from gru_bench.store.connect import artifact_root, check_still_there
from gru_bench.store.line import StoreAway

if TYPE_CHECKING:
    from mlflow import MlflowClient


def check_arrived(uri: str, client: "MlflowClient", run_id: str, names: Iterable[str]) -> None:
    """Refuse what went to a folder that MLflow has made anew, since that of the store was moved away meanwhile.

    The database would be found where it now is, since it is open. The files are taken away again, and the folders with
    them: in their place the store's own could not be put back.

    Raises:
        StoreAway: The SQLite file is not there.
    """
    try:
        check_still_there(uri, client)
    except UserError as error:
        root = artifact_root(uri)
        if root is not None:
            folder = root / run_id / "artifacts"
            with suppress(OSError):
                for name in names:
                    remove(folder / name)
                for place in (folder, folder.parent, root, root.parent):
                    place.rmdir()  # which takes empty ones alone
        raise StoreAway(str(error)) from error


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link(file: Path, place: Path) -> None:
    """The file, or the folder with all that is in it, at another place, without a copy where the disk can do that."""
    if file.is_dir():
        place.mkdir()
        for part in file.iterdir():
            link(part, place / part.name)
        return
    try:
        place.hardlink_to(file)
    except OSError:
        shutil.copy(file, place)
