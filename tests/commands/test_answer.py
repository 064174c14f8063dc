"""``gru-bench answer``: the order of its steps, going on after a kill, equal trials, and bad input."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from runs import TINY, stored
from tickets import write_tickets

from gru_bench.answer import record as kept
from gru_bench.answer.asked import ask
from gru_bench.answer.record import Chosen, Record
from gru_bench.answer.sizing import LADDER, Size
from gru_bench.commands import answer_plan, cli
from gru_bench.commands.answer import Call, answer
from gru_bench.commands.answer_plan import Question
from gru_bench.tasks.base import Metric

TICKETS = ["task=text_classification", "data.path=tickets.csv", "data.text=text", "data.label=queue"]
SMALL = ["hidden_size=4", "model.embedding_size=4", "trainer.max_epochs=2", "threads=1", "workers=1"]
PATIENCE_S = 300.0
Ran = list[list[str]]


def question(tmp_path: Path, size: Size, *arguments: str, chosen: dict[str, Chosen] | None = None) -> Question:
    """One with a plan, and nothing done."""
    asked = ask([], ["task=adding", *arguments])
    rates = [0.5, 1.0, 2.0] if size.rates == 3 else [1.0]
    record = Record("mine", asked.question, "made", "loop", {"lstm": [1, 1, 1]}, 1, size, rates, [100], chosen or {})
    metric = Metric("mse", "squared error", False)
    return Question(asked, time.time(), "sqlite:///mlflow.db", tmp_path, record, {}, metric, 0.01, False)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, int]], Ran]:
    """Gives the commands that were run, and lets each verb end as it is told instead of running it."""

    def install(codes: dict[str, int]) -> Ran:
        found: Ran = []

        def run_hydra(verb: str, arguments: list[str], *_: object, **__: object) -> int:
            found.append([verb, *arguments])
            return codes.get(verb, 0)

        monkeypatch.setattr(cli, "run_hydra", run_hydra)
        monkeypatch.setattr("gru_bench.commands.answer_told.tell", lambda *_: False)
        return found

    return install


CHOSEN = {cell: Chosen(0.5, [1.0, 2.0, 3.0], "ab") for cell in ("lstm", "gru")}
TRIED = Size(3, 1, 5, True)


def test_the_steps_are_the_other_commands(tmp_path: Path, ran: Callable[[dict[str, int]], Ran]) -> None:
    commands = ran({})
    call = Call(question(tmp_path, TRIED, "tracking.uri=sqlite:///a.db", "output=here"))
    assert call.steps() == 0
    # no rate was kept, since nothing ran: then nothing is compared
    assert [command[0] for command in commands] == ["train", "time", "report"]
    assert "until=tried" in commands[0]
    assert "hydra.sweeper.trials={rates: [0.5, 1.0, 2.0], seeds: [100]}" in commands[0]
    assert all("tracking.uri=sqlite:///a.db" in command for command in commands)
    assert "experiment=mine" in commands[1]
    assert 'output="here"' in commands[2]
    assert "the trials of learning rates are not finished" in call.missing[0]


def test_what_is_chosen_is_not_tried_again(tmp_path: Path, ran: Callable[[dict[str, int]], Ran]) -> None:
    commands = ran({"time": 2})
    call = Call(question(tmp_path, TRIED, chosen=CHOSEN))
    assert call.steps() == 0
    assert [command[:1] + [text for text in command if text.startswith("until=")] for command in commands] == [
        ["train", "until=decided"],
        ["time"],
        ["report"],
    ]
    (hours,) = (float(text.partition("=")[2]) for text in commands[0] if text.startswith("max_hours="))
    assert 0 < hours < 1
    assert call.missing == ["speed was not timed in full, as said above; later: " + call.timing()]


def test_without_trials_and_timing_both_are_missing(tmp_path: Path, ran: Callable[[dict[str, int]], Ran]) -> None:
    commands = ran({})
    call = Call(question(tmp_path, LADDER[0]))
    assert call.steps() == 0
    assert [command[0] for command in commands] == ["train", "report"]
    assert [text.partition(",")[0] for text in call.missing] == [
        "no learning rates were tried on this data",
        "speed was not timed",
    ]


@pytest.mark.parametrize(("verb", "code", "num_run"), [("train", 130, 1), ("train", 2, 1), ("time", 143, 2)])
def test_what_ends_a_step_ends_the_call(
    tmp_path: Path, ran: Callable[[dict[str, int]], Ran], verb: str, code: int, num_run: int
) -> None:
    commands = ran({verb: code})
    assert Call(question(tmp_path, TRIED, chosen=CHOSEN)).steps() == code
    assert len(commands) == num_run


def test_a_failed_run_does_not_keep_the_answer_back(tmp_path: Path, ran: Callable[[dict[str, int]], Ran]) -> None:
    commands = ran({"train": 1})
    assert Call(question(tmp_path, TRIED, chosen=CHOSEN)).steps() == 0
    assert commands[-1][0] == "report"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cells=[gru]"], "cells=[gru]: "),
        (["-m", "task=adding"], "-m: gru-bench answer asks one question"),
        (["adding"], "adding: not a key with a value"),
        (["task=nothing"], "nothing"),
        ([*TICKETS], "tickets.csv"),
        ([*TINY, "task.lengths=long"], "task.lengths"),
        ([*TINY, "backend=scan"], "scan"),
    ],
)
def test_bad_input(gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert gru_bench("answer", *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("gru-bench answer: ")
    assert said in err
    assert "Traceback" not in err


def test_a_name_stands_for_one_question(
    gru_bench: Command, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{empty_folder / 'mlflow.db'}"
    folder = kept.folder_of(uri, "mine")
    kept.write(folder, Record("mine", ["task=adding"], "another", "loop"), "")
    assert gru_bench("answer", *TINY, "name=mine") == 2
    assert "name=mine: the data has changed since its runs (another, now " in capsys.readouterr().err


@pytest.mark.slow
def test_equal_trials_then_seeds_with_the_chosen_rates_and_nothing_twice(
    gru_bench: Command, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sweeps are real; the pilot's seconds are given, so that the plan does not hang on the machine."""

    def piloted(asked: Question, _: object, composed: dict[str, object]) -> Record:
        seconds = {cell: [10.0, 10.0, 10.0] for cell in composed}
        return Record(**{**vars(asked.record), "run_s": asked.record.run_s | seconds, "workers": 1})

    monkeypatch.setattr(answer_plan, "piloted", piloted)
    monkeypatch.setattr(Call, "time", lambda _: 0)
    command = ["answer", *TINY, "trainer.max_steps=4", "trainer.eval_every=2", "max_hours=0.075", "max_seeds=8"]
    assert gru_bench(*command, "name=mine") == 0
    out = capsys.readouterr().out
    assert "1. GRU or LSTM: " in out
    assert "2. mse: LSTM " in out
    assert "3. " in out
    runs = stored("mine").runs
    trials = runs[runs["role"] == "trial"]
    assert trials.groupby("cell")["learning_rate"].agg(sorted).tolist()[0] == sorted(trials["learning_rate"].unique())
    assert trials.groupby("cell").size().to_dict() == {"gru": 3, "lstm": 3}
    compared = runs[runs["role"].isna() | (runs["role"] == "")]
    assert compared.groupby("cell")["learning_rate"].nunique().to_dict() == {"gru": 1, "lstm": 1}
    assert set(compared["learning_rate_from"]) == {"trials"}  # of the seeds that were added, too
    assert compared.groupby("cell")["looks"].max().gt(1).all()  # thresholds are corrected for all looks
    assert compared.groupby("cell")["seed"].nunique().nunique() == 1
    assert not runs["config_key"].duplicated().any()
    assert (empty_folder / "reports" / "mine" / "report.html").is_file()
    assert gru_bench(*command, "name=mine") == 0
    assert "goes on with the plan of an earlier call" in capsys.readouterr().out
    assert len(stored("mine").runs) == len(runs)
    # another cell gets the same trials and seeds, and none of the others runs again
    assert gru_bench(*command, "name=mine", "cells=[lstm,gru,rnn]") == 0
    wider = stored("mine").runs
    assert set(wider["run_id"]) > set(runs["run_id"])
    assert set(wider[~wider["run_id"].isin(runs["run_id"])]["cell"]) == {"rnn"}


def finished(folder: Path, name: str) -> pd.DataFrame:
    """The runs of an experiment that finished."""
    from gru_bench.store import read

    runs = read.read(f"sqlite:///{folder / 'mlflow.db'}", experiment=name).runs
    return runs[runs["status"] == "finished"]


@pytest.mark.slow
@pytest.mark.usefixtures("gru_bench")
def test_killed_and_started_again_it_goes_on(empty_folder: Path) -> None:
    """On tickets with quotes, line breaks, emoji and missing labels, with too little time for a plan that fits."""
    write_tickets(empty_folder / "tickets.csv", rows=120)
    arguments = ["answer", *TICKETS, *SMALL, "max_hours=0.02", "name=mine"]
    command = [sys.executable, "-m", "gru_bench", *arguments]
    environment = os.environ | {"GRU_BENCH_CACHE": os.environ["GRU_BENCH_CACHE"], "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=empty_folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for text in process.stdout:
            if text.startswith("[3/"):
                break
        os.killpg(process.pid, signal.SIGKILL)
    before = finished(empty_folder, "mine")
    assert len(before) >= 3
    ended = subprocess.run(
        command, cwd=empty_folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "goes on with the plan of an earlier call" in ended.stdout
    assert "no learning rates were tried on this data" in ended.stdout
    assert [text[0] for text in ended.stdout.splitlines() if text[:3] in ("1. ", "2. ", "3. ")] == ["1", "2", "3"]
    after = finished(empty_folder, "mine")
    assert set(before["run_id"]) <= set(after["run_id"])
    assert not after["config_key"].duplicated().any()
    assert (empty_folder / "reports" / "mine" / "report.html").is_file()


def test_interrupted_it_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def run_hydra(verb: str, _: list[str], instead: Callable[..., int] | None = None, **__: object) -> int:
        if instead is not None:
            instead(None, None)
        return 0 if verb == "answer" else 130

    def look_at(_: object, __: float, found: list[Question], ___: object) -> int:
        found.append(question(tmp_path, TRIED, chosen=CHOSEN))
        return 0

    monkeypatch.setattr(cli, "run_hydra", run_hydra)
    monkeypatch.setattr(answer_plan, "look_at", look_at)
    assert answer(["task=adding"]) == 130
    by_hand = f"gru-bench train --config-dir {tmp_path} experiment=mine until=decided"
    assert f"to go on: the same command, or {by_hand}" in capfd.readouterr().err
