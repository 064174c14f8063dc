"""What runs write is kept on disk first, and sent from there: a store that is away, or a process that dies, loses none.

Each run has a folder ``spool/<digest of the store's URI>/<delivery>`` in ``waiting_dir()``: ``run.json`` says which run
it is, ``journal.jsonl`` has its facts and points, ``files`` its artifacts, ``end.json`` how it ended. The process that
writes the run holds ``lock``; when that process is over, whoever opens the store next sends the rest. All of it may be
sent again: the delivery is a tag of the run, which is looked up before a run is made, and MLflow takes equal points,
params and files as one.

Files are not synced: they survive the end of the process, not that of the machine.
"""

import json
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from gru_bench.cache_dir import replace_text
from gru_bench.process import owner
from gru_bench.store.connect import one_line
from gru_bench.store.connect import spool_folder as spool_folder
from gru_bench.store.dataset import NOT_TAKEN, log_dataset
from gru_bench.store.files import check_arrived, link, remove
from gru_bench.store.line import StoreAway, is_away
from gru_bench.store.models import log_model
from gru_bench.store.outbox import Parcel, Write, send_parcels
from gru_bench.store.private import clean, for_people
from gru_bench.store.schema import BEAT, DELIVERY, ERROR, FINGERPRINT, MODEL_FOLDER, OWNER, STATUS

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABOUT, JOURNAL, FILES, END, LOCK = "run.json", "journal.jsonl", "files", "end.json", "lock"
TRIES = 10
LONGEST_REASON = 120

Experiments = Callable[["MlflowClient", str], str]
"""Gives the id of an experiment by its name, and makes it if there is none."""


@dataclass(frozen=True)
class End:
    """How a run ended: MLflow's status, ours, the reason, and when, in milliseconds."""

    status: str
    tag: str
    reason: str
    ended: int


@dataclass
class About:
    """Which run it is.

    Attributes:
        experiment: Name of the experiment.
        name: What the UI calls it.
        tags: Those that it begins with.
        started: In milliseconds.
        run_id: MLflow's id, once that is known.
        doubtful: Whether the run may have been made without our knowing: then it is looked up first.
    """

    experiment: str
    name: str
    tags: dict[str, str]
    started: int = field(default_factory=lambda: now_ms())
    run_id: str = ""
    doubtful: bool = False


def now_ms() -> int:
    """Now, as MLflow counts."""
    return int(time.time() * 1000)


class Package:
    """All that one run wrote, on its way to the store. Only one thread sends it.

    Args:
        uri: Of the store.
        folder: Of the run, in the spool; or elsewhere, where that cannot be written.
        about: Which run it is.
        experiments: Finds its experiment.
        is_kept: Whether another process will find the folder.
    """

    def __init__(self, uri: str, folder: Path, about: About, experiments: Experiments, *, is_kept: bool = True) -> None:
        self.uri = uri
        self.folder, self.about, self.is_kept = folder, about, is_kept
        self.end: End | None = None
        self.is_delivered = self.was_left = False
        self._experiments = experiments
        self._parcels: list[Parcel] = []
        self._files: dict[str, int] = {}
        self._unwritten: dict[str, Write] = {}
        self._sent, self._files_sent = 0, dict[str, int]()
        self._model_tried = self._model_sent = False
        self._experiment_id = ""
        self._lock: FileLock | None = None

    @classmethod
    def begin(cls, uri: str, experiment: str, name: str, tags: dict[str, str], experiments: Experiments) -> "Package":
        """The package of a run that begins now, locked for this process.

        Raises:
            OSError: There is no place to write to.
        """
        delivery = uuid.uuid4().hex
        of_process = {DELIVERY: delivery, OWNER: owner(), BEAT: f"{time.time():.0f}"}
        about = About(experiment, clean(name), clean(tags) | of_process)
        with suppress(OSError, RuntimeError):
            package = cls(uri, spool_folder(uri) / delivery, about, experiments)
            package._begin()
            return package
        package = cls(uri, Path(tempfile.mkdtemp(prefix="gru_bench_run_")), about, experiments, is_kept=False)
        package._begin()
        return package

    @classmethod
    def load(cls, uri: str, folder: Path, experiments: Experiments) -> "Package":
        """The package that another process left.

        Raises:
            OSError, ValueError, TypeError: It was not even begun.
        """
        about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        about.doubtful = not about.run_id
        package = cls(uri, folder, about, experiments)
        package.was_left = True
        with suppress(FileNotFoundError):
            for line in (folder / JOURNAL).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, TypeError):  # the last line of a process that was killed
                    params, tags, points = json.loads(line)
                    package._parcels.append(Parcel(params, tags, [tuple(point) for point in points]))
        if (folder / END).is_file():
            package.end = End(**json.loads((folder / END).read_text(encoding="utf-8")))
        package._files = {path.name: 1 for path in sorted((folder / FILES).iterdir()) if not path.name.startswith(".")}
        return package

    def _begin(self) -> None:
        for _ in range(TRIES):
            with suppress(FileNotFoundError):  # another process has just removed the empty folder of the store
                (self.folder / FILES).mkdir(parents=True)
                break
        self._lock = FileLock(self.folder / LOCK, thread_local=False)
        self._lock.acquire(timeout=5)  # whoever looks for what was left has it for a moment
        self._keep_about()

    def _keep_about(self) -> None:
        replace_text(self.folder / ABOUT, json.dumps(asdict(self.about)))

    @property
    def written(self) -> float:
        """When something was last written, in seconds of ``time.time()``."""
        paths = [self.folder / name for name in (ABOUT, JOURNAL, FILES, END)]
        return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)

    def put(self, parcel: Parcel) -> None:
        """Keep a parcel. Facts and points that the disk does not take are kept in memory all the same.

        Raises:
            Exception: A file cannot be written; all the rest has been. The next parcel tries it again.
        """
        tags = parcel.tags | {BEAT: f"{time.time():.0f}"}
        if parcel.params or parcel.tags or parcel.points:
            with suppress(OSError), (self.folder / JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(json.dumps([parcel.params, tags, parcel.points]) + "\n")
            self._parcels.append(Parcel(parcel.params, tags, parcel.points))
        self._unwritten |= parcel.files
        problem: Exception | None = None
        for name, write in list(self._unwritten.items()):
            new = self.folder / FILES / f".{name}"
            try:
                write(new)
                if new.is_dir():  # which nothing but an empty folder makes room for
                    remove(self.folder / FILES / name)
                new.replace(self.folder / FILES / name)
                self._files[name] = self._files.get(name, 0) + 1
                del self._unwritten[name]
            except Exception as error:
                with suppress(OSError):
                    remove(new)
                problem = problem or error
        if problem is not None:
            raise problem

    def finish(self, end: End) -> None:
        """Keep how it ended."""
        self.end = end
        with suppress(OSError):
            replace_text(self.folder / END, json.dumps(asdict(end)))

    def begin_in(self, client: "MlflowClient") -> None:
        """Make the run in the store, if it is not there.

        Raises:
            StoreAway: For now that does not work.
            Exception: It never will.
        """
        if self.about.run_id:
            return
        with said_plainly():
            self._experiment_id = experiment_id = self._experiments(client, self.about.experiment)
            known = self._found(client, experiment_id) if self.about.doubtful else []
            if known:
                self.about.run_id = known[0]
            else:
                self.about.doubtful = True  # from now on, whatever becomes of the call
                created = client.create_run(
                    experiment_id, start_time=self.about.started, tags=self.about.tags, run_name=self.about.name
                )
                self.about.run_id = created.info.run_id
                self.about.doubtful = False
            with suppress(OSError):
                self._keep_about()

    def _found(self, client: "MlflowClient", experiment_id: str) -> list[str]:
        """The runs that this delivery has made; where an answer was lost there may be two, and one is left."""
        condition = f"tags.`{DELIVERY}` = '{self.about.tags[DELIVERY]}'"
        found = [run.info.run_id for run in client.search_runs([experiment_id], condition)]
        for twice in sorted(found)[1:]:
            client.delete_run(twice)
        return sorted(found)[:1]

    def send(self, client: "MlflowClient") -> None:
        """Send what was not yet sent, and the end last.

        Raises:
            StoreAway: For now that does not work; it can be tried again.
            Exception: MLflow refuses something. All the rest was sent, and the run is not FINISHED.
        """
        from mlflow.exceptions import MlflowException

        self.begin_in(client)
        try:
            self._send(client)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            # another store lies where the first one did
            self.about.run_id, self.about.doubtful, self._sent, self._files_sent = "", True, 0, {}
            self._model_sent = False
            self.begin_in(client)
            self._send(client)

    def _send(self, client: "MlflowClient") -> None:
        from mlflow.exceptions import MlflowException

        problems: list[Exception] = []
        for send in (self._send_parcels, self._send_files, self._send_model):
            if problems and send == self._send_model:
                break  # of a run that will not be FINISHED
            try:
                with said_plainly():
                    send(client)
            except StoreAway:
                raise
            except Exception as problem:
                problems.append(problem)
        if self.end is not None:
            if problems and self.end.status == "FINISHED":
                reason = for_people(f"could not be stored: {clean(one_line(problems[0]))}")
                self.finish(End("FAILED", "failed", reason, self.end.ended))
            with said_plainly():
                if self.was_left and not self.end.reason:  # others may have taken it for lost
                    with suppress(MlflowException):
                        client.delete_tag(self.about.run_id, ERROR)
                end_run(client, self.about.run_id, self.end)
            self.is_delivered = True
        if problems:
            raise problems[0]

    def _send_parcels(self, client: "MlflowClient") -> None:
        upto = len(self._parcels)
        new = self._parcels[self._sent : upto]
        send_parcels(client, self.about.run_id, new)
        if any(FINGERPRINT in parcel.params for parcel in new):  # with all facts that it is told by
            params = {name: text for parcel in self._parcels[:upto] for name, text in parcel.params.items()}
            log_dataset(client, self.about.run_id, params)
        self._sent = upto

    def _send_files(self, client: "MlflowClient") -> None:
        files = {name: version for name, version in self._files.items() if self._files_sent.get(name) != version}
        if not files:
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as chosen:
            for name in files:
                link(self.folder / FILES / name, Path(chosen, name))
            client.log_artifacts(self.about.run_id, chosen)
        check_arrived(self.uri, client, self.about.run_id, files)
        self._files_sent |= files

    def _send_model(self, client: "MlflowClient") -> None:
        folder = self.folder / FILES / MODEL_FOLDER
        if self._model_sent or self.end is None or self.end.status != "FINISHED" or not folder.is_dir():
            return
        from mlflow.exceptions import MlflowException

        again, self._model_tried = self._model_tried or self.was_left, True
        params = {name: text for parcel in self._parcels for name, text in parcel.params.items()}
        points = [point for parcel in self._parcels for point in parcel.points]
        experiment_id = self._experiment_id or self._experiments(client, self.about.experiment)
        try:
            log_model(
                client, self.uri, experiment_id, self.about.run_id, folder, self.about.tags, params, points, again=again
            )
        except MlflowException as error:
            if error.error_code not in NOT_TAKEN:
                raise
        self._model_sent = True

    def release(self) -> None:
        """Let other processes have it."""
        if self._lock is not None:
            self._lock.release()

    def leave(self) -> None:
        """Let other processes have what was not yet delivered."""
        if self.is_delivered:
            self.remove()
        else:
            self.release()

    def remove(self) -> None:
        """Once the store has all of it."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # others are there
            self.folder.parent.rmdir()


def end_run(client: "MlflowClient", run_id: str, end: End) -> None:
    """Write how a run or a sweep ended."""
    client.set_tag(run_id, STATUS, end.tag)
    if end.reason:
        client.set_tag(run_id, ERROR, clean(end.reason))
    client.set_terminated(run_id, end.status, end_time=end.ended)


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn the many errors of a store that is away into :class:`StoreAway`."""
    try:
        yield
    except StoreAway:
        raise
    except Exception as error:
        if is_away(error):
            raise StoreAway(plainly(error)) from error
        raise


def plainly(error: Exception) -> str:
    """Why a store does not answer, in a few words: MLflow and urllib3 tell it in several hundred letters."""
    text = one_line(getattr(error, "orig", None) or error)
    if "Max retries exceeded" in text or "NewConnectionError" in text:
        return "cannot connect"
    text = re.sub(r"^\(sqlite3\.\w+\) |\(Background on this error at: .*$|\[SQL: .*$", "", text).strip()
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"


def is_deleted(problem: Exception) -> bool:
    """Whether MLflow refused a run because somebody deleted it."""
    return "'active' state" in str(problem)
