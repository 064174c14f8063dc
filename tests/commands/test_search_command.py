"""``gru-bench train until=tried`` and ``until=horizon``: rounds, roles, going on, what fails, and bad input."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from runs import STEPS, TINY, stored

from gru_bench.errors import Diverged
from gru_bench.run import train
from gru_bench.run.job import Job
from gru_bench.run.record import Recorder
from gru_bench.run.searching import Searching

LAGS = "hydra.sweeper.horizon={key: task.lengths, lags: [5, 10, 20]}"
TRIALS = "hydra.sweeper.trials={rates: [0.01, 0.04], seeds: [100]}"
SMALL = [*TINY, "task.beyond=[]", "task.num_eval=10", "trainer.max_steps=1"]
BOTH = ["-m", "cell=lstm,gru", TRIALS, "hydra.sweeper.seeds=2", *SMALL]
HORIZON = [*(text for text in BOTH if text != "task.lengths=[5]"), "until=horizon", LAGS]
TRIED = [*BOTH, "until=tried"]

Went = Callable[[str, int, float, int], int | None]
"""Of cell, lag, rate and seed: the step at which such a run solves its task, or None."""


@pytest.fixture
def runs_go(monkeypatch: pytest.MonkeyPatch) -> Callable[[Went], list[int]]:
    """Gives runs that go as they are told instead of training. Returns the seeds of those that began, as they do."""

    def install(went: Went) -> list[int]:
        seeds: list[int] = []

        def fit_and_score(job: Job, record: Recorder, *_: object, **__: object) -> None:
            record.data()
            node, seed = job.node, job.settings.seed
            seeds.append(seed)
            rate = node["trainer"]["learning_rate"]
            solved_at = went(str(job.facts["cell"]), node["task"]["lengths"][-1], rate, seed)
            for step in (10, 20, 30):
                done = solved_at is not None and step >= solved_at
                record.run.curve("valid/mse", step, 0.0 if done else 0.2)

        monkeypatch.setattr(train, "fit_and_score", fit_and_score)
        return seeds

    return install


def by_cell(runs: pd.DataFrame, role: str) -> dict[str, list[tuple[float, int]]]:
    """Rate and seed of each cell's runs with one role, in the order of their jobs."""
    kept = runs[runs["role"] == role].sort_values("job")
    pairs = zip(kept["cell"], kept["learning_rate"], kept["seed"], strict=True)
    found: dict[str, list[tuple[float, int]]] = {}
    for cell, rate, seed in pairs:
        found.setdefault(str(cell), []).append((float(rate), int(seed)))
    return found


def test_horizons_are_found_in_one_sweep_and_not_again(
    gru_bench: Command, runs_go: Callable[[Went], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The GRU solves every lag, at the larger rate alone; the LSTM 5 steps, and 10 with all seeds but one."""

    def went(cell: str, lag: int, rate: float, seed: int) -> int | None:
        if cell == "gru":
            return 10 if rate == 0.04 else None
        return 10 if lag == 5 or (lag == 10 and seed != 0) else None

    began = runs_go(went)
    assert gru_bench("train", *HORIZON) == 0
    out = capsys.readouterr().out
    assert "sweep adhoc ended: longest task.lengths solved: lstm 5; gru 20 or more" in out
    runs = stored().runs
    assert set(runs["role"]) == {"trial", "horizon"}
    # the middle lag first, then the shorter or the longer one; two rates on one seed at each; of equal ones the smaller
    assert by_cell(runs, "trial") == {cell: [(0.01, 100), (0.04, 100)] * 2 for cell in ("lstm", "gru")}
    assert by_cell(runs, "horizon") == {
        "lstm": [(0.01, 0), (0.01, 0), (0.01, 1)],  # after the failure no further seed
        "gru": [(0.04, 0), (0.04, 1)] * 2,
    }
    assert set(runs.query("role == 'horizon'")["learning_rate_from"]) == {"trials"}
    assert set(runs.query("role == 'horizon'")["learning_rate_trials"]) == {2}
    assert set(runs.query("role == 'trial'")["learning_rate_from"]) == {"user"}
    assert (set(runs["search_seeds"]), set(runs["search_share"])) == ({2}, {0.9})
    assert runs["sweep"].nunique() == 1
    assert len(began) == len(runs)
    assert gru_bench("train", *HORIZON) == 0
    assert len(began) == len(runs)
    out = capsys.readouterr().out
    assert "longest task.lengths solved: lstm 5; gru 20 or more" in out
    assert "its report: gru-bench report experiment=adhoc" in out
    # a further lag needs what is new alone: 5, 10 and 20 are known
    assert gru_bench("train", *HORIZON[:-1], LAGS.replace("20", "20, 40")) == 0
    assert "lstm 5; gru 40 or more" in capsys.readouterr().out
    assert len(began) == len(runs) + 4


def test_the_best_rate_by_validation_goes_on_with_the_seeds(
    gru_bench: Command, runs_go: Callable[[Went], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs_go(lambda cell, _, rate, __: 10 if (cell == "gru") == (rate == 0.04) else 20)
    assert gru_bench("train", *TRIED) == 0
    assert "sweep adhoc ended: 2 of 2 rows have their rate and their seeds" in capsys.readouterr().out
    runs = stored().runs
    assert by_cell(runs, "trial") == {cell: [(0.01, 100), (0.04, 100)] for cell in ("lstm", "gru")}
    best = {"lstm": 0.01, "gru": 0.04}
    assert by_cell(runs, "") == {cell: [(rate, seed) for seed in range(2)] for cell, rate in best.items()}
    compared = runs[runs["role"] == ""]
    assert set(compared["learning_rate_from"]) == {"trials"}
    assert runs["search_seeds"].isna().all()
    assert set(zip(compared["learning_rate_trials"], compared["learning_rate_trial_seeds"], strict=True)) == {(2, 1)}


@pytest.mark.slow
def test_a_divergence_is_a_result_and_another_failure_is_tried_again(
    gru_bench: Command, runs_go: Callable[[Went], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [True]

    def went(cell: str, _: int, rate: float, __: int) -> int | None:
        if rate == 0.04:
            raise Diverged("the loss was lost")
        if cell == "gru" and broken[0]:
            raise RuntimeError("it fails")
        return 10

    began = runs_go(went)
    assert gru_bench("train", *TRIED) == 1
    assert "(1 run failed and counts as not solved until the same command is run again)" in capsys.readouterr().out
    assert by_cell(stored().runs, "") == {"lstm": [(0.01, 0), (0.01, 1)]}
    assert len(began) == 6
    broken[0] = False
    capsys.readouterr()
    assert gru_bench("train", *TRIED) == 0
    assert began[6:] == [100, 0, 1]
    assert by_cell(stored().runs, "").keys() == {"lstm", "gru"}


@pytest.mark.slow
def test_time_is_over(
    gru_bench: Command,
    runs_go: Callable[[Went], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = runs_go(lambda *_: 10)
    assert gru_bench("train", *TRIED, "cell=gru", "max_hours=1e-9") == 0
    ended = "ended: max_hours=1e-09 is over with 1 of 1 rows unfinished, and the same command goes on; 0 of 1 rows"
    assert ended in capsys.readouterr().out
    monkeypatch.setattr(Searching, "seconds_left", lambda self: 1.0 - self.round)  # it ends in the first round
    assert gru_bench("train", *TRIED, "cell=gru", "max_hours=1e-9") == 0
    assert ended in capsys.readouterr().out
    assert not began
    monkeypatch.undo()
    runs_go(lambda *_: 10)
    assert gru_bench("train", *TRIED, "cell=gru") == 0
    assert set(stored().runs["status"]) == {"finished"}


@pytest.mark.slow
def test_a_row_that_cannot_be_run_does_not_count_as_unsolved(
    gru_bench: Command, runs_go: Callable[[Went], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs_go(lambda *_: 10)
    assert gru_bench("train", *HORIZON, "cell=gru,gru_no_reset", "backend=vendor") == 1
    assert "longest task.lengths solved: gru 20 or more; gru_no_reset cannot be run" in capsys.readouterr().out
    refused = stored().runs.query("cell == 'gru_no_reset'")
    assert set(zip(refused["status"], refused["role"], strict=True)) == {("unsupported", "trial")}
    assert len(refused) == 2


def test_it_is_the_curve_of_a_real_run_that_says_solved(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is faked: an error that any model reaches, after one step."""
    easy = ["cell=gru", "stopping=solved", "task.goal.ceiling=9", "trainer.eval_every=1", *STEPS]
    assert gru_bench("train", *HORIZON, "hydra.sweeper.horizon={key: task.lengths, lags: [5]}", *easy) == 0
    assert "longest task.lengths solved: gru 5 or more" in capsys.readouterr().out
    assert set(stored().runs["stopped"].str.split(":").str[0]) == {"solved"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*HORIZON, "hydra.sweeper.trials=null"], "hydra.sweeper.trials: missing; until=horizon needs it, such as"),
        ([*TRIED, "hydra.sweeper.trials.seeds=[1]"], "hydra.sweeper.trials.seeds: 1 is a seed of the sweep itself"),
        (
            [*TRIED, "trainer.learning_rate=0.1"],
            "trainer.learning_rate: until=tried sets it, from hydra.sweeper.trials",
        ),
        ([*HORIZON, "hydra.sweeper.horizon.lags=[1,5]"], "task.lengths[0]=1: must be greater than or equal to 2"),
        ([*HORIZON, "hydra.sweeper.horizon.key=task.lag"], "horizon.key=task.lag: task=adding has no such key"),
        (["until=tried", *SMALL], "until=tried: adds runs to a sweep; valid: with -m or experiment=NAME"),
    ],
    ids=lambda value: " ".join(value[-1:]) if isinstance(value, list) else "",
)
def test_bad_input(gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert gru_bench("train", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not Path("mlartifacts").exists()
