"""What the report reads of paired timings: which count, which comparison they make, and how they are told."""

import made_timings
import pytest
from made_timings import timing

from gru_bench.report.timings import FASTEST, VENDORS, card, families, timings_of
from gru_bench.report.view import View


def read(*rows: dict[str, object]) -> View:
    return View(made_timings.alone(rows))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.31, "GRU 1.31 times as fast (1.28 to 1.34; floor 1.01)"),
        (0.8, "LSTM 1.25 times as fast (1.23 to 1.28; floor 1.01)"),
        (1.005, "inside noise (1.00, 0.985 to 1.03; floor 1.01)"),
    ],
)
def test_a_ratio_comes_with_interval_floor_and_the_faster_one(ratio: float, words: str) -> None:
    (one,) = read(timing(ratio=ratio)).timings
    assert one.words() == words


def test_backends_of_one_cell_are_called_by_the_backend() -> None:
    (one,) = read(timing(("gru", "native"), ("gru", "vendor"), ratio=3.2)).timings
    assert one.words().startswith("native 3.20 times as fast")
    assert not one.is_families


def test_of_equal_pairs_the_latest_counts() -> None:
    early, late = (timing(ratio=ratio, measured_at=at) for ratio, at in ((2.0, "2026-01-01"), (3.0, "2026-01-02")))
    for rows in ((early, late), (late, early)):
        view = read(*rows)
        assert [one.ratio for one in view.timings] == [pytest.approx(3.0)]
        assert [one.ratio for one in view.timed_before] == [pytest.approx(2.0)]


def test_of_equal_pairs_one_of_a_quiet_machine_counts() -> None:
    clean = timing(ratio=2.0, measured_at="2026-01-01")
    forced = timing(ratio=3.0, measured_at="2026-01-02", forced=True, finding="noise")
    failed = timing(measured_at="2026-01-03") | {"status": "failed", "error": "busy", "ratio": None, "finding": ""}
    for rows in ((clean, forced, failed), (failed, forced, clean)):
        view = read(*rows)
        assert [one.ratio for one in view.timings] == [pytest.approx(2.0)]
        assert [one.ratio for one in view.timed_before] == [pytest.approx(3.0)]
        assert not view.not_timed
    assert [one.ratio for one in read(forced, failed).timings] == [pytest.approx(3.0)]


def test_what_did_not_finish_is_no_timing() -> None:
    failed = timing(situation="batch") | {"status": "failed", "error": "too loud", "ratio": None, "finding": None}
    view = read(timing(), failed)
    assert len(view.timings) == 1
    assert [row["error"] for row in view.not_timed] == ["too loud"]


def test_the_fastest_pair_of_a_point_is_the_one_of_least_time() -> None:
    native = timing(("gru", "native"), ("lstm", "native"))
    found = families(read(timing(), native, timing(("gru", "native"), ("gru", "vendor"))).timings)
    assert [one.first.backend for one in found[FASTEST]] == ["native"]
    assert [one.first.backend for one in found[VENDORS]] == ["vendor"]
    assert list(families(read(timing()).timings)) == [VENDORS]


def test_the_card_counts_several_tasks_and_gives_one_in_full() -> None:
    rows = [timing(task=task, ratio=ratio) for task, ratio in (("a", 1.5), ("b", 2.0), ("c", 0.5), ("d", 1.0))]
    assert card(read(*rows).timings) == (
        "of 4 tasks: GRU faster on 2 (1.50 to 2.00 times), LSTM faster on 1 (2.00 times), inside noise on 1; "
        "largest floor 1.01; GRU on ATen loop, LSTM on oneDNN"
    )
    assert card(read(rows[0]).timings) == (
        "GRU 1.50 times as fast (1.47 to 1.53; floor 1.01), GRU on ATen loop, LSTM on oneDNN, a"
    )


def test_a_forced_timing_is_marked() -> None:
    view = read(timing(task="a", forced=True), timing(task="b"))  # it was quiet when the pair was measured
    assert view.timings[0].words().endswith("*")
    assert "1 of them measured on a busy machine*" in card(view.timings)
    view = read(timing(task="a", forced=True, finding="noise", ratio=1.5), timing(task="b", ratio=1.2))
    assert view.timings[0].words() == "not decided, the machine was busy (1.50, 1.47 to 1.53)*"
    assert card(view.timings).startswith(
        "of 2 tasks: GRU faster on 1 (1.20 times), not decided on 1, the machine was busy*; largest floor 1.01; GRU on"
    )
    assert card([one for one in view.timings if one.is_forced]).startswith("not decided")


def test_of_one_point_the_fastest_of_a_quiet_machine_counts() -> None:
    native = timing(("gru", "native"), ("lstm", "native"), forced=True)
    tried = timing(("gru", "native"), ("gru", "vendor"))
    assert [one.first.backend for one in families(read(timing(), native, tried).timings)[FASTEST]] == ["vendor"]


def test_the_order_does_not_depend_on_the_frame() -> None:
    frame = made_timings.frame(made_timings.regimes((1,)))
    names = [
        [one.row["run_id"] for one in timings_of(part)[0]] for part in (frame, frame.sample(frac=1, random_state=1))
    ]
    assert names[0] == names[1]
    assert len(names[0]) == len(frame)
