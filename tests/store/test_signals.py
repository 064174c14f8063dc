"""Signals: the first Ctrl-C of a sweep, limits of time, and a store that does not answer."""

import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from gru_bench.store import signals
from gru_bench.store.ending import how_it_ended


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.LEAVING}
    for name, value in (("finishing", False), ("_finish_line", ""), ("received", None)):
        monkeypatch.setattr(signals, name, value)
    signals.raise_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_ctrl_c_of_a_sweep_only_finishes(capfd: pytest.CaptureFixture[str]) -> None:
    signals.finish_first("once more to stop now")
    signal.raise_signal(signal.SIGINT)
    signals.check_signals()
    assert signals.finishing
    assert capfd.readouterr().err == "once more to stop now\n"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("block", [signals.at_next_step, signals.deferred_signals])
def test_it_only_finishes_within_a_step_and_a_write_too(block: object) -> None:
    signals.finish_first("")  # an empty line is no first Ctrl-C
    signals.finish_first("once more")
    with block():  # type: ignore[operator]
        signal.raise_signal(signal.SIGINT)
    signals.check_signals()
    assert signals.finishing


class Thing:
    """What is thrown away while a signal comes."""


def throw_away(then: Callable[[], object]) -> None:
    """Call something in a weak reference's callback, whose exceptions Python drops."""
    thing = Thing()
    kept = weakref.ref(thing, lambda _: then())
    del thing
    assert kept() is None


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, signals.Leave), (signal.SIGINT, KeyboardInterrupt)], ids=["term", "int"]
)
def test_a_signal_that_python_drops_prints_nothing_and_counts(
    number: signal.Signals, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(signals, "_otherwise", lambda unraisable: told.append(str(unraisable.exc_value)))
    throw_away(lambda: signal.raise_signal(number))
    assert not told
    with pytest.raises(raised):
        signals.check_signals()


def test_another_error_that_python_drops_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(signals, "_otherwise", lambda unraisable: told.append(str(unraisable.exc_value)))
    throw_away(lambda: 1 // 0)
    throw_away(lambda: sys.exit("a callback's own"))
    assert told == ["integer division or modulo by zero", "a callback's own"]


def test_a_run_that_takes_too_long_is_killed_with_its_reason() -> None:
    with pytest.raises(signals.TimedOut) as caught, signals.time_limit(0.05, "run_timeout=0.05: too long"):
        time.sleep(60)
    assert how_it_ended(caught.value) == ("KILLED", "killed", "run_timeout=0.05: too long")
    signals.raise_on_signals()
    signals.check_signals()  # the next run is not ended by it


def test_the_limit_is_over_with_its_block() -> None:
    with signals.time_limit(3600.0, ""):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@signals.deferred_signals()
def write_for_long() -> None:
    signal.raise_signal(signal.SIGINT)
    time.sleep(60)


def test_what_is_written_for_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a server does not answer: the block would go on for a minute."""
    monkeypatch.setattr(signals, "PATIENCE_S", 0.1)
    with pytest.raises(KeyboardInterrupt):
        write_for_long()


# nohup, and some runners of tests, have processes ignore it from their start, and so does the product then
@pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="SIGHUP is ignored here")
def test_a_hangup_has_its_own_reason() -> None:
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGHUP)
    assert caught.value.code == signals.SIGTERM_EXIT_CODE
    assert how_it_ended(caught.value) == ("KILLED", "killed", "SIGHUP")
