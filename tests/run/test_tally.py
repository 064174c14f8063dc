"""How far a sweep has come, and the board that says so."""

import pytest

from gru_bench.run import sweep_board
from gru_bench.run.rounds import Looked, Pair, Standing
from gru_bench.run.sweep_board import SweepBoard
from gru_bench.run.tally import Tally


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    for room in ("tally", "sweep_board"):
        monkeypatch.setattr(f"gru_bench.run.{room}.time.monotonic", lambda: now[0])
    return now


def tally(jobs: int = 6, workers: int = 2) -> Tally:
    made = Tally()
    made.expect(
        0, [{"cell": "gru", "task": "adding", "seed": str(seed), "threads": "1"} for seed in range(jobs)], [], 1
    )
    made.workers = workers
    return made


def test_counts_and_time_left(clock: list[float]) -> None:
    made = tally()
    assert made.seconds_left() is None
    made.began(0)
    made.began(1)
    clock[0] += 20.0
    made.over(0, "finished")
    made.over(1, "failed")
    made.began(2)
    clock[0] += 5.0
    assert made.counts() == {"done": 1, "failed": 1, "running": 1, "left": 3}
    assert list(made.now(3)) == ["gru adding seed 2 for 5 s"]
    assert made.seconds_left() == pytest.approx((15 + 3 * 20) / 2)
    assert made.line() == "1 done, 1 failed, 1 running, 3 left, about 38 s"


def test_a_lost_job_that_is_tried_again_is_left_and_one_that_was_not_begun_too() -> None:
    made = tally(2)
    made.began(0)
    made.over(0, "killed", again=True)
    made.over(1, "")
    assert made.counts() == {"done": 0, "running": 0, "left": 2}


def test_a_log_gets_a_line_a_minute_with_the_verdict_so_far(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    looks = []

    def look() -> Looked:
        looks.append(clock[0])
        pair = Pair("a", "b")
        seeds = frozenset({0, 1, 2})
        return Looked({"a": seeds, "b": seeds}, {}, {pair: Standing("adding", "gru", True)})

    made = tally()
    with SweepBoard(made, look) as board:
        assert not board.live
        for number in range(4):
            made.began(number)
            clock[0] += sweep_board.LOG_EVERY_S / 2 + 1
            made.over(number, "finished")
            board.update()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "2 done, 0 running, 4 left, about 62 s; adding: gru (3 seeds)",
        "4 done, 0 running, 2 left, about 31 s; adding: gru (3 seeds)",
    ]
    assert len(looks) == 4


def test_a_store_that_is_away_does_not_end_the_sweep(clock: list[float]) -> None:
    def look() -> Looked:
        raise OSError("away")

    made = tally(1)
    board = SweepBoard(made, look)
    made.began(0)
    clock[0] += 100.0
    made.over(0, "finished")
    board.update()
    assert board.verdicts() == []


def test_a_launcher_that_does_not_tell(capsys: pytest.CaptureFixture[str]) -> None:
    made = tally()
    made.tells = False
    with SweepBoard(made, None) as board:
        assert not board.live
    assert capsys.readouterr().out == "6 runs; this launcher does not tell how they go\n"


def test_jobs_that_share_a_worker_share_its_time(clock: list[float]) -> None:
    made = tally(jobs=6, workers=1)
    for job in range(3):
        made.began(job)
    clock[0] += 30.0
    for job in range(3):
        made.over(job, "finished")
    assert list(made.took.values()) == [10.0] * 3
    assert made.seconds_left() == pytest.approx(30.0)
