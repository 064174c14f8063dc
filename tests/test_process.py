"""Which process is which: the owner of a run is known to live, known to be over, or not known."""

import subprocess
import sys

import psutil

from gru_bench.process import is_alive, owner, started


def test_this_process_is_alive() -> None:
    assert is_alive(owner()) is True


def test_a_process_that_has_ended_is_not() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    described = owner().split(" ")
    described[:2] = [str(child.pid), started(child.pid) or ""]
    assert is_alive(" ".join(described)) is True
    child.communicate(b"\n")
    assert is_alive(" ".join(described)) is False


def test_a_number_that_was_given_again_is_another_process() -> None:
    described = owner().split(" ")
    described[1] = str(int(described[1]) - 1) if described[1].isdecimal() else "1.00"
    assert is_alive(" ".join(described)) is False


def test_a_zombie_is_over() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    psutil.Process(child.pid)  # it is not fetched yet
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert started(child.pid) is None
    child.wait()


def test_nothing_is_known_of_another_machine() -> None:
    assert is_alive(owner() + "x") is None
    assert is_alive("") is None
    assert is_alive("nonsense") is None
