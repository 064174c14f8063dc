"""``gru-bench train until=decided`` for real: rounds, looks, going on after an interruption, and bad input."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from runs import STEPS, TINY, stored
from stores import ENVIRONMENT

from gru_bench.commands import look
from gru_bench.errors import UserError
from gru_bench.report.view import View
from gru_bench.run import train
from gru_bench.run.job import Job
from gru_bench.run.plan import Plan
from gru_bench.run.record import Recorder
from gru_bench.run.resume import growing_key, hold, refuse_two
from gru_bench.run.rounds import Pair, Standing
from gru_bench.store.connect import absolute_uri
from gru_bench.store.done import read_ledger
from gru_bench.store.schema import SWEEP_KEY
from gru_bench.store.source import open_source
from gru_bench.store.write import Store

UNTIL = ["-m", "cell=lstm,gru", "until=decided", *TINY]
QUICKLY = [*UNTIL, "trainer.max_steps=1"]


def fake(monkeypatch: pytest.MonkeyPatch, decided_at: int, needed: tuple[int, int] | None = (8, 6)) -> list[set[int]]:
    """Stands for the comparisons: decided at so many seeds. Returns what every look saw: the looks of each run."""
    looks: list[set[int]] = []

    def standings(view: View) -> dict[Pair, Standing]:
        groups = {group.cell: group for task in view.tasks for group in task.groups}
        if not {"gru", "lstm"} <= groups.keys():
            return {}
        looks.append(set(view.runs["looks"]))
        n = min(len(groups[cell].finished) for cell in ("gru", "lstm"))
        pair = Pair(groups["gru"].key, groups["lstm"].key)
        decided = n >= decided_at
        return {pair: Standing("adding", "GRU" if decided else "undecided", decided, needed=needed, reason="noise")}

    monkeypatch.setattr(look, "standings", standings)
    return looks


def without_training(_: Job, record: Recorder, *__: object, **___: object) -> None:
    record.data()


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that finish without training: what is tested is which of them there are."""
    monkeypatch.setattr(train, "fit_and_score", without_training)


def planned() -> list[list[dict[str, str]]]:
    files = sorted(Path("mlartifacts").rglob("planned.json"), key=lambda path: path.stat().st_mtime)
    return [json.loads(path.read_text()) for path in files]


@pytest.mark.slow
@pytest.mark.usefixtures("untrained")
def test_seeds_are_added_until_it_is_decided_in_one_sweep(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = fake(monkeypatch, decided_at=8)
    assert gru_bench("train", *QUICKLY, "seed=0,1", "max_seeds=12") == 0
    runs = stored().runs
    assert set(zip(runs["cell"], runs["seed"], strict=True)) == {(c, s) for c in ("lstm", "gru") for s in range(8)}
    assert set(runs["looks"]) == {3}  # at 5, 8 and 12
    assert seen == [{3}, {3}]
    assert runs["sweep"].nunique() == 1
    (plan,) = planned()
    assert [job["job"] for job in plan] == [str(number) for number in range(16)]
    assert not {"until", "max_seeds", "max_hours"} & plan[0].keys()
    out = capsys.readouterr().out
    assert out.count("verdict so far") == 2
    assert "sweep adhoc ended: every pair is decided" in out
    assert re.search(r"sweep adhoc \(\w+\): 16 finished", out)
    assert "[11/16] " in out
    # the same command runs nothing that has finished, and opens no second sweep for nothing
    assert gru_bench("train", *QUICKLY, "seed=0,1", "max_seeds=12") == 0
    out = capsys.readouterr().out
    assert "sweep adhoc ended: every pair is decided" in out
    assert "its report: gru-bench report experiment=adhoc" in out
    assert len(stored().runs) == 16
    assert len(planned()) == 1
    # and runs what is new in it
    assert gru_bench("train", *QUICKLY, "seed=0,1", "max_seeds=12", "cell=lstm,gru,rnn") == 0
    assert [(job["cell"], job["seed"]) for job in planned()[1]] == [("rnn", "0"), ("rnn", "1")]
    assert len(stored().runs) == 18


@pytest.mark.slow
@pytest.mark.usefixtures("untrained")
def test_runs_of_a_plain_sweep_are_the_first_look(gru_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake(monkeypatch, decided_at=8)
    assert gru_bench("train", "-m", "cell=lstm,gru", "seed=0,1,2,3,4", *TINY, "trainer.max_steps=1") == 0
    assert set(stored().runs["looks"]) == {1}
    assert gru_bench("train", *QUICKLY, "seed=0,1,2,3,4", "max_seeds=8") == 0
    assert seen == [{2}, {2}]
    runs = stored().runs
    assert sorted(runs["looks"]) == [1] * 10 + [2] * 6


def test_a_seed_that_fails_is_replaced(gru_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, decided_at=5)

    def fails(job: Job, *_: object, **__: object) -> None:
        if job.settings.seed == 1 and job.facts["cell"] == "gru":
            raise RuntimeError("it fails")

    monkeypatch.setattr(train, "fit_and_score", fails)
    assert gru_bench("train", *QUICKLY) == 1
    runs = stored().runs
    finished = runs[runs["status"] == "finished"].groupby("cell")["seed"].agg(list)
    assert finished["gru"] == [0, 2, 3, 4, 5]
    assert finished["lstm"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("untrained")
def test_a_sweep_ends_when_its_time_is_over(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, decided_at=99)
    assert gru_bench("train", *QUICKLY, "max_hours=1e-9") == 1
    out = capsys.readouterr().out
    assert "10 missing" in out
    assert "leaves 0 s" in out
    assert "the same command goes on where this one ended" in out
    assert list(stored().runs["status"]) == ["missing"] * 10


def test_the_reports_own_comparisons_decide(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is faked: a tiny task with two cells, to its end."""
    assert gru_bench("train", *UNTIL, *STEPS, "max_seeds=8") == 0
    out = capsys.readouterr().out
    assert "sweep adhoc ended: " in out
    runs = stored().runs
    assert set(runs["status"]) == {"finished"}
    assert len(runs) in (10, 16)
    assert any(re.match(r"adding +gru, lstm +[58] +\S+ \.\. \S+ s", line) for line in out.splitlines())


def test_interrupted_and_gone_on(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A real Ctrl-C in the first round; then the same command."""
    command = [sys.executable, "-m", "gru_bench", "train", *QUICKLY, "max_seeds=5"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[3/10]"):
                break
        os.kill(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 130
    assert "the same command goes on where this one ended" in rest
    before = stored().runs.query("status == 'finished'")["run_id"]
    assert 3 <= len(before) < 10
    assert gru_bench("train", *QUICKLY, "max_seeds=5") == 0
    runs = stored().runs
    assert list(runs["status"]) == ["finished"] * 10
    assert set(before) <= set(runs["run_id"])
    assert capsys.readouterr().out.count(": test mse") == 10 - len(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["until=decided"], "until=decided: adds runs to a sweep; valid: with -m or experiment=NAME"),
        (["-m", "until=decided", "cell=rnn,gru"], "until=decided: compares gru with lstm, so the sweep needs both"),
        (["-m", "until=other", "cell=lstm,gru"], "until='other': must be 'decided'"),
        (["-m", "until=decided", "cell=lstm,gru", "max_hours=0"], "max_hours=0: must be greater than 0"),
        (["-m", "until=decided", "cell=lstm,gru", "max_hours=1,2"], "max_hours: one value for the whole sweep"),
        (["-m", "cell=lstm,gru", "max_hours=1"], "max_hours=1: only limits a sweep that adds runs"),
        (["-m", "until=decided", "cell=lstm,gru", "max_seeds=4"], "max_seeds=4: must be greater than or equal to 5"),
        (["-m", "until=decided", "cell=lstm,gru", "seed=range(9)", "max_seeds=8"], "max_seeds=8: the sweep lists 9"),
        (["-m", "until=decided", "cell=lstm,gru", "max_seeds=999"], "max_seeds=999: "),
        (["-m", "until=decided", "cell=lstm,gru", "hydra/sweeper=basic"], "not with hydra/sweeper=hydra."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert gru_bench("train", *TINY, *STEPS, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not Path("mlartifacts").exists()


def test_two_cannot_add_seeds_to_one_experiment_at_once(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held: list[str] = []

    def meanwhile(_: Job, record: Recorder, *__: object, **___: object) -> None:
        record.data()
        if not held:
            (parent,) = read_ledger(open_source(absolute_uri(None)), "adhoc").sweeps
            with pytest.raises(UserError, match="the same command is still running in process"):
                refuse_two(parent)
            held.append(hold_again(parent.tags[SWEEP_KEY]))

    def hold_again(key: str) -> str:
        with pytest.raises(UserError) as caught:
            hold(absolute_uri(None), key)
        return str(caught.value)

    monkeypatch.setattr(train, "fit_and_score", meanwhile)
    fake(monkeypatch, decided_at=1)
    assert gru_bench("train", *QUICKLY, "seed=0") == 0
    assert held == ["the same command is still running in another process; wait for it, or end it first"]

    # from another machine, where only the parent run tells
    plan = Plan("adhoc", [], {}, {})
    monkeypatch.setattr("gru_bench.run.sweep.growing_key", lambda *_: growing_key(plan, "x"))
    sweep_id = Store().open_sweep("adhoc", [], {}, key=growing_key(plan, "x"))
    capsys.readouterr()
    assert gru_bench("train", *QUICKLY, "seed=0") == 2
    assert f"sweep {sweep_id}: the same command is still running in process" in capsys.readouterr().err
