import json
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.errors import UserError
from gru_bench.statistics.looks import POINTS, TABLE, nominal_level, overall_level, schedule

sys.path.insert(0, str(REPOSITORY / "bench"))

import looks as program


def test_schedule() -> None:
    assert schedule(5, 40) == [5, 8, 12, 18, 27, 40]
    assert schedule(8, 30) == [8, 12, 18, 27, 30]
    assert schedule(3, 10) == [5, 8, 10]  # below five seeds there is no verdict to look for
    assert schedule(5, 5) == [5]
    assert schedule(2, 3) == [3]


def test_one_look_needs_no_correction() -> None:
    assert nominal_level(0.05, 1) == 0.05
    assert overall_level(0.03, 1) == 0.03


def test_table_is_what_its_program_simulates() -> None:
    smallest = program.smallest_p(schedule(5, 40), 60_000, np.random.default_rng(3))
    for look, least in enumerate(smallest, 1):
        for alpha in (0.05, 0.1):
            assert (least <= nominal_level(alpha, look)).mean() == pytest.approx(alpha, abs=0.004)
    # uncorrected, the error is what the issue is about
    assert (smallest[-1] <= 0.05).mean() > 0.15


def test_between_the_tables_levels_the_promise_holds() -> None:
    smallest = program.smallest_p(schedule(8, 60), 60_000, np.random.default_rng(4))[-1]
    for alpha in (0.05 / 3, 0.05 / 6, 0.035):
        assert (smallest <= nominal_level(alpha, 6)).mean() <= alpha * 1.1


def test_program_writes_the_table(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "looks.json"
    monkeypatch.setattr(sys, "argv", ["looks.py", "--simulations", "20000", "--out", str(out)])
    program.main()
    made, committed = json.loads(out.read_text()), json.loads(TABLE.read_text())
    assert made["alphas"] == committed["alphas"]
    assert made["points"] == committed["points"] == list(POINTS)
    at = made["alphas"].index(0.05)
    for looks, levels in committed["nominal"].items():
        assert made["nominal"][looks][at] == pytest.approx(levels[at], rel=0.15)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(committed["nominal"])


@given(st.floats(1e-6, 0.999), st.integers(1, 8))
def test_nominal_and_overall_are_each_others_inverse(alpha: float, looks: int) -> None:
    nominal = nominal_level(alpha, looks)
    assert nominal <= alpha
    assert nominal >= alpha / looks * 0.5  # Bonferroni over the looks is stricter, but for noise in the far tail
    assert overall_level(nominal, looks) == pytest.approx(alpha, rel=1e-9)


@given(st.floats(1e-4, 0.5), st.integers(1, 7))
def test_more_looks_lower_each_level(alpha: float, looks: int) -> None:
    assert nominal_level(alpha, looks + 1) < nominal_level(alpha, looks)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nominal_level(0.05, 40), "1 to 8"),
        (lambda: nominal_level(0.05, 0), "1 to 8"),
        (lambda: schedule(8, 5), "from 8 to 5 seeds"),
    ],
)
def test_bad_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
