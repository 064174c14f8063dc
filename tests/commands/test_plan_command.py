"""``gru-bench plan``: what it says of a sweep, and that it leaves the store as it was."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import CONF, Command, yaml_names
from hydra import compose, initialize_config_dir
from runs import STEPS, TINY

from gru_bench.commands import plan as command
from gru_bench.commands.plan import Cost, fill_from_others, in_order, shown, table
from gru_bench.run.estimate import Pace, Span
from gru_bench.run.outlook import Line, lines_of
from gru_bench.run.pilot import Problem, Subject
from gru_bench.run.plan import list_plan
from gru_bench.store.done import Ledger

SWEEP = ["-m", "cell=gru,lstm", "seed=0,1", *TINY, *STEPS]
MIB = 2**20


@pytest.fixture
def pilots(monkeypatch: pytest.MonkeyPatch) -> list[Subject]:
    """Pilots that take no time: each measures the same; gives what they were asked for."""
    asked: list[Subject] = []

    def measured(subjects: Sequence[Subject], _: float) -> list[Pace | Problem]:
        asked.extend(subjects)
        return [Pace(1.0, Span(1.0, 2.0, 3.0), 4.0, peak_bytes=100 * MIB) for _ in subjects]

    monkeypatch.setattr(command, "pilots", measured)
    monkeypatch.setattr(command, "cores_used_by_others", lambda _: 0.0)
    monkeypatch.setattr(command, "usable_cores", lambda: 4)
    monkeypatch.setattr(command, "room", lambda _: 300 * MIB)
    return asked


def rows(text: str) -> dict[str, list[str]]:
    """The lines of the table, by cell."""
    found = [line.split() for line in text.splitlines() if line.startswith("adding ")]
    return {cells[1]: cells[2:] for cells in found}


def test_all_of_it_by_a_pilot(gru_bench: Command, capsys: pytest.CaptureFixture[str], pilots: list[Subject]) -> None:
    before = hashlib.sha256(Path("mlflow.db").read_bytes()).digest()
    assert gru_bench("plan", *SWEEP) == 0
    out = capsys.readouterr().out
    # 6 steps with an evaluation every three, and the test: 1 + 6 * (1, 2, 3) + 3 * 4
    assert rows(out)["gru"] == ["2", "0", "2", "0", "19", "to", "31", "s", "100", "pilot"]
    assert "76 s to 2 min with 1 worker, 38 to 62 s with 2 workers" in out
    assert "safe: 2 workers (limited by memory)" in out
    assert out.splitlines()[-1].endswith("hydra/launcher=workers hydra.launcher.n_jobs=2")
    assert "gru-bench train -m cell=gru,lstm seed=0,1 task=adding 'task.lengths=[5]'" in out
    assert len(pilots) == 2
    assert {subject.threads for subject in pilots} == {1}
    assert hashlib.sha256(Path("mlflow.db").read_bytes()).digest() == before
    assert not [path.name for path in Path().iterdir() if not path.name.startswith(("mlflow.db", "cache"))]


@pytest.mark.usefixtures("pilots")
def test_what_is_done_counts_and_says_more_than_a_pilot(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "-m", "cell=gru", "seed=0,1", *TINY, *STEPS) == 0
    before = hashlib.sha256(Path("mlflow.db").read_bytes()).digest()
    capsys.readouterr()
    assert gru_bench("plan", "-m", "cell=gru,rnn", "seed=0,1,2", *TINY, *STEPS) == 0
    out = capsys.readouterr().out
    assert rows(out)["gru"][:4] == ["3", "2", "1", "0"]
    assert rows(out)["gru"][-2:] == ["2", "runs"]
    assert rows(out)["rnn"][:4] == ["3", "0", "3", "0"]
    assert rows(out)["rnn"][-1] == "pilot"
    assert "2 of 6 runs are done; 4 to run" in out
    assert gru_bench("plan", "-m", "cell=gru", "seed=0,1", *TINY, *STEPS) == 0
    assert "nothing to run" in capsys.readouterr().out
    assert hashlib.sha256(Path("mlflow.db").read_bytes()).digest() == before


@pytest.mark.usefixtures("pilots")
def test_a_single_run(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("plan", "cell=rnn", *TINY, *STEPS) == 0
    out = capsys.readouterr().out
    assert rows(out)["rnn"][:4] == ["1", "0", "1", "0"]
    assert "time: 19 to 31 s with 1 worker" in out
    assert out.splitlines()[-1].startswith("to run it: gru-bench train cell=rnn task=adding")
    assert "launcher" not in out


@pytest.mark.usefixtures("pilots")
def test_a_sweep_until_it_is_decided(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["until=decided", "max_seeds=7", "max_hours=2", "hydra.sweeper.seeds=5"]
    assert gru_bench("plan", "-m", "cell=gru,lstm,rnn", *more, *TINY, *STEPS) == 0
    out = capsys.readouterr().out
    assert rows(out)["lstm"][:3] == ["5", "0", "5"]
    assert "up to 7 seeds, at most 4 runs in all" in out  # two each of gru and lstm, which alone are a pair
    assert "max_hours=2: no run is begun after that" in out
    assert "more for the seeds that may be added" in out


@pytest.mark.usefixtures("pilots")
def test_a_search_shows_its_next_round(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    trials = "hydra.sweeper.trials={rates: [0.002, 0.008], seeds: [100]}"
    assert gru_bench("plan", "-m", "cell=gru,lstm", "seed=0,1", "until=tried", trials, *TINY, *STEPS) == 0
    out = capsys.readouterr().out
    assert rows(out)["gru"][:3] == ["2", "0", "2"]
    assert "the table is the next round" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cell=grru"], "gru-bench plan: cell=grru: no such choice"),
        (["-m", "cell=gru", "hidden_size=0"], "gru-bench plan: hidden_size=0"),
        (["hidden_size=0"], "gru-bench plan: hidden_size=0"),
        (["cell=gru,lstm"], "several values are a sweep, which needs -m"),
        (["-m", "seed=0,1", "only=some"], "only='some'"),
        (["until=decided"], "valid: with -m or experiment=NAME"),
        (["pilot=soon"], "pilot=soon: must be a number of seconds"),
        (["pilot=-1"], "pilot=-1: must be a number of seconds"),
        (["pilot=nan"], "pilot=nan: must be a number of seconds"),
        (["--foo"], "--foo: no such flag"),
    ],
)
def test_bad_input_is_refused_as_by_train(
    gru_bench: Command,
    capsys: pytest.CaptureFixture[str],
    pilots: list[Subject],
    arguments: list[str],
    message: str,
) -> None:
    assert gru_bench("plan", *TINY, *STEPS, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not pilots


@pytest.mark.usefixtures("pilots")
def test_a_kind_of_run_without_a_pilot_is_taken_for_its_like(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_failed(_: Sequence[Subject], __: float) -> list[Pace | Problem]:
        return [Pace(0.0, Span(1.0, 1.0, 1.0), 1.0), Problem("out of memory")]

    monkeypatch.setattr(command, "pilots", one_failed)
    assert gru_bench("plan", *SWEEP) == 0
    assert "as other runs of the task (out of memory)" in capsys.readouterr().out


def test_each_task_has_its_pilot_first() -> None:
    lines = [Line({"task": task, "cell": cell}, {}) for task in "ab" for cell in ("gru", "lstm", "rnn")]
    assert in_order(lines, [0, 1, 2, 3, 4, 5]) == [0, 3, 1, 4, 2, 5]


def test_a_line_of_another_task_is_the_last_resort() -> None:
    lines = [Line({"task": task, "cell": "gru"}, {}, planned=1, todo=1) for task in "abb"]
    costs = [Cost(), Cost(), Cost(Span(1.0, 2.0, 3.0), "pilot")]
    fill_from_others(lines, costs)
    assert costs[0] == Cost(Span(1.0, 2.0, 3.0), "as other tasks")
    assert costs[1] == Cost(Span(1.0, 2.0, 3.0), "as other runs of the task")
    assert table(lines, costs)[0].split()[:6] == ["task", "cell", "planned", "done", "to", "run"]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Span(1.0, 2.0, 3.0), "1.0 to 3.0 s"),
        (Span(19.0, 20.0, 20.5), "20 s"),
        (Span(90.0, 100.0, 700.0), "90 s to 12 min"),
        (Span(700.0, 800.0, 900.0), "12 to 15 min"),
        (Span(5000.0, 6000.0, 7300.0), "83 min to 2.0 h"),
        (Span(0.0, 0.0, 0.0), "0.0 s"),
    ],
)
def test_spans_read_well(span: Span, text: str) -> None:
    assert shown(span) == text


@pytest.mark.parametrize("name", yaml_names("experiment"))
def test_the_matrix_of_every_experiment(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = compose("train", overrides=[f"experiment={name}"], return_hydra_config=True)
        config.hydra.overrides.task = [f"experiment={name}"]
        plan = list_plan(config)
    lines = lines_of(plan.jobs, plan.shared, [None] * len(plan.jobs), Ledger([], []), range(len(plan.jobs)), None)
    assert sum(line.planned for line in lines) == sum(line.todo for line in lines) == len(plan.jobs) > 0
    assert len({tuple(line.names.items()) for line in lines}) == len(lines)
    assert len(table(lines, [Cost() for _ in lines])) == len(lines) + 2


def test_the_real_thing(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashlib.sha256(Path("mlflow.db").read_bytes()).digest()
    assert gru_bench("plan", "-m", "cell=rnn", "seed=0,1", "pilot=1", *TINY, *STEPS) == 0
    out = capsys.readouterr().out
    found = rows(out)["rnn"]
    assert found[:4] == ["2", "0", "2", "0"]
    assert found[-1] == "pilot", out
    assert 50 < float(found[-2]) < 5000  # MiB of a process with torch in it
    assert "n_jobs=" in out
    assert hashlib.sha256(Path("mlflow.db").read_bytes()).digest() == before
