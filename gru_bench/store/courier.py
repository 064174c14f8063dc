"""Brings to a store what runs wrote: at once where it answers, later where it does not, and holds nothing up."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from gru_bench.errors import UserError
from gru_bench.store.connect import LOCK_WITHIN_S, check_still_there, connect, one_line, without_password
from gru_bench.store.experiments import find_experiment
from gru_bench.store.left import left_packages
from gru_bench.store.line import Line, StoreAway
from gru_bench.store.schema import BEAT
from gru_bench.store.spool import Package, is_deleted, said_plainly, spool_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_WITHIN_S = 2.0
"""Longest that a flush holds up a run; what is then not sent goes on its way beside it."""
OPEN_WITHIN_S = 60.0
"""Longest wait for a store that others had open before; one that does not answer says so sooner."""
BEGIN_WITHIN_S = 20.0
"""Longest wait for a run's row before it begins without one."""
END_WITHIN_S = 15.0
"""Longest wait for a store at the end of a run; of one that was away already, ``FLUSH_WITHIN_S``."""
CLOSE_WITHIN_S = 20.0
"""Longest wait for a store that is away at the end of a sweep."""
ANSWER_WITHIN_S = 120.0
"""Longest wait for the answer to one question that a sweep cannot go on without."""
AGAIN_AFTER_S = 1.0
"""Between two tries of what did not work."""
BEAT_EVERY_S = 50.0
"""How often an open run, or sweep, says that its process lives, when it writes nothing else."""

Result = TypeVar("Result")


class Courier:
    """The way of one process to a store.

    Args:
        uri: From :func:`gru_bench.store.connect.absolute_uri`.

    Attributes:
        open_ids: Runs and sweeps of this process that are not over.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.open_ids: set[str] = set()
        self._client: MlflowClient | None = None
        self._line = Line(self._beat, BEAT_EVERY_S)
        self._left: list[Package] = []
        self._is_away = False

    def open(self, *, later: bool = False) -> None:
        """Make the store if it is a SQLite file that does not exist yet; several processes may do so at once.

        Args:
            later: Go on where a store does not answer that did so before: runs are kept until it does. None is made.

        Raises:
            UserError: It cannot be reached or written. Raised within ten seconds.
        """
        if self._client is not None:
            return
        import mlflow  # noqa: F401  # before the wait: that it takes seconds is not the store's fault

        try:
            self._line.ask(lambda: self._connect(create=not later), OPEN_WITHIN_S if later else LOCK_WITHIN_S)
        except (UserError, StoreAway) as error:
            if not later:
                raise UserError(str(error)) from error
            self.say_away(str(error))

    def opened(self) -> "MlflowClient":
        """MLflow's client on the open store."""
        self.open()
        assert self._client is not None
        return self._client

    def _connect(self, *, create: bool) -> "MlflowClient":
        """In the line's thread: the client, on the file that was opened first and no other."""
        if self._client is None:
            self._client = connect(self.uri, create=create)
        else:
            check_still_there(self.uri, self._client)
        return self._client

    def ask(self, question: "Callable[[MlflowClient], Result]", within_s: float) -> Result:
        """Ask the store something; Ctrl-C acts while it is waited for.

        Raises:
            StoreAway: It does not answer.
            Exception: What the question raised.
        """

        def asked() -> Result:
            try:
                client = self._connect(create=False)
            except UserError as error:
                raise StoreAway(str(error)) from error
            with said_plainly():
                return question(client)

        return self._line.ask(asked, within_s)

    def needed(self, question: "Callable[[MlflowClient], Result]") -> Result:
        """Ask something that nothing can go on without.

        Raises:
            UserError: The store does not answer.
        """
        self.open()
        try:
            return self.ask(question, ANSWER_WITHIN_S)
        except StoreAway as error:
            raise UserError(f"tracking.uri={without_password(self.uri)}: does not answer ({error})") from error

    def _beat(self) -> None:
        """In the line's thread: say that this process lives."""
        if self._client is None or self._is_away:
            return
        with suppress(Exception):
            client = self._connect(create=False)
            for run_id in list(self.open_ids):
                client.set_tag(run_id, BEAT, f"{time.time():.0f}")

    def say_away(self, why: str) -> None:
        """Say it once, until the store answers again."""
        self._is_away = True
        if self.uri not in _told:
            _told.add(self.uri)
            say(f"the store does not answer ({why}); results are kept in {spool_folder(self.uri)} and delivered later")

    def deliver(self) -> int:
        """Send what processes that are over, this one's ended runs included, have left for this store.

        Returns:
            The number of runs.

        Raises:
            StoreAway: The store does not answer; the rest is still there.
        """
        number = 0
        for package in chain(self._left, left_packages(self.uri, self.find_experiment)):
            try:
                self.ask(package.send, ANSWER_WITHIN_S)
            except Exception as problem:
                if isinstance(problem, StoreAway):
                    self._leave(package)
                    raise
                if not package.is_delivered and not is_deleted(problem):
                    self._leave(package)
                    say(f"{package.about.name} is kept in {package.folder}: {one_line(problem)}")
                    continue
            except BaseException:
                self._leave(package)
                raise
            package.remove()
            number += 1
        self._left = [package for package in self._left if package.folder.exists()]
        self._is_away = False
        if self.uri in _told:
            _told.discard(self.uri)
            say("the store answers again; what was kept has been delivered")
        return number

    def _leave(self, package: Package) -> None:
        """Let others have a package, once no call is on its way that sends it."""
        self._line.start(package.leave)

    def find_experiment(self, client: "MlflowClient", name: str) -> str:
        """As :func:`find_experiment`, in this store."""
        return find_experiment(client, self.uri, name)

    def begin(self, package: Package) -> None:
        """Make a run's row where the store answers.

        Raises:
            UserError: The experiment was deleted, or its name is not valid.
        """
        try:
            self.ask(package.begin_in, FLUSH_WITHIN_S if self._is_away else BEGIN_WITHIN_S)
        except StoreAway as error:
            self.say_away(str(error))
        else:
            self.open_ids.add(package.about.run_id)
            self._catch_up()

    def _catch_up(self) -> None:
        """Where the store was away and is not any more: bring it what waits."""
        if self._is_away:
            with suppress(StoreAway):
                self.deliver()

    def flush(self, package: Package) -> None:
        """Send what a package has, unless that takes long.

        Raises:
            Exception: MLflow refuses something.
        """
        self.send(package, FLUSH_WITHIN_S)

    def send(self, package: Package, within_s: float) -> bool:
        """Send what a package has; whether all of it has been sent.

        Raises:
            Exception: MLflow refuses something.
        """
        if not self._line.is_free and within_s <= FLUSH_WITHIN_S:
            return False
        try:
            self.ask(package.send, within_s)
        except StoreAway as error:
            if self._line.is_free or within_s > FLUSH_WITHIN_S:
                self.say_away(str(error))
            return False
        self.open_ids.add(package.about.run_id)
        return True

    def end(self, package: Package) -> None:
        """Send a run's end, and wait a little for a store that is away; then leave it for whoever comes next.

        Raises:
            Exception: MLflow refuses something.
        """
        until = time.monotonic() + (FLUSH_WITHIN_S if self._is_away else END_WITHIN_S)
        try:
            while not self.send(package, max(FLUSH_WITHIN_S, until - time.monotonic())):
                if time.monotonic() > until:
                    if package.is_kept:
                        self._leave(package)
                    else:
                        self._left.append(package)
                    return
                time.sleep(AGAIN_AFTER_S / 4)
        except BaseException as problem:  # Ctrl-C while it waits, or MLflow refuses something
            if isinstance(problem, Exception) and is_deleted(problem):
                package.remove()
            else:
                self._leave(package)
            raise
        finally:
            self.open_ids.discard(package.about.run_id)
        package.remove()
        self._catch_up()


_told: set[str] = set()
"""The stores of which this process has said that they do not answer."""


def say(text: str) -> None:
    """A line on the error stream, at once."""
    print(f"gru-bench: {text}", file=sys.stderr, flush=True)
