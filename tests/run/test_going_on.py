"""The same command again: it does the rest, in the same sweep, and what it gives is what an undisturbed one gives."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from runs import TINY, URI

from gru_bench.errors import UserError
from gru_bench.run import plan, sweep, train
from gru_bench.run.job import Request
from gru_bench.run.known import Known
from gru_bench.store.done import Ledger
from gru_bench.store.read import read
from gru_bench.store.schema import KEPT

SWEEP = ["-m", "cell=rnn,gru", "seed=0,1", *TINY, "trainer.max_steps=2", "trainer.eval_every=1"]
OF_THE_RUN = ["run_id", "sweep", "shared"]


def table(sweep: str | None = None, **select: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All that a report reads of the scores, without ids and times."""
    found = read(URI, sweep=sweep, **select)
    rows = found.runs.drop(columns=OF_THE_RUN)
    scores = found.joined().query("split in ('train', 'valid', 'test')")
    return rows, scores[["job", "split", "metric", "slice", "slice_value", "value"]].reset_index(drop=True)


def test_an_interrupted_sweep_and_its_repetition(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    real = train.train

    def stops_in_the_third(asked: Request, print_line: Callable[[str], None]) -> str:
        begun.append(asked.label)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return real(asked, print_line)

    monkeypatch.setattr(train, "train", stops_in_the_third)
    assert gru_bench("train", *SWEEP) == 130
    said = capsys.readouterr().out
    assert "2 finished, 2 missing" in said
    assert "to go on: the same command" in said
    monkeypatch.setattr(train, "train", real)

    assert gru_bench("train", *SWEEP) == 0
    said = capsys.readouterr().out
    assert "adhoc: 2 of 4 runs are done; 2 to run (2 missing); only=all runs all again" in said
    assert "[3/4] rnn adding seed 1" in said
    assert "[4/4] gru adding seed 1" in said
    assert "[1/4]" not in said
    assert "4 finished" in said
    runs = read(URI, experiment="adhoc").runs
    assert runs["sweep"].nunique() == 1
    assert sorted(runs["job"]) == [0, 1, 2, 3]
    assert f"sweep={runs['sweep'][0]}" in said

    for _ in range(2):
        assert gru_bench("train", *SWEEP) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "adhoc: 4 of 4 runs are done; none to run; only=all runs all again"
        assert lines[1] == f"its report: gru-bench report sweep={runs['sweep'][0]}"
    assert len(read(URI, experiment="adhoc").runs) == 4

    disturbed = table(sweep=runs["sweep"][0])
    assert gru_bench("train", *SWEEP, "only=all") == 0
    undisturbed = table()
    for one, other in zip(disturbed, undisturbed, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_store_that_cannot_be_read_at_first_is_not_one_without_runs(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["-m", "seed=0,1", *TINY, "trainer.max_steps=1"]
    assert gru_bench("train", *short) == 0
    capsys.readouterr()
    real, asked = sweep.read_ledger, []

    def fails_once(*arguments: Any, **named: Any) -> Ledger:
        asked.append(arguments)
        if len(asked) == 1:
            raise UserError("cannot be read: database or disk is full")
        return real(*arguments, **named)

    monkeypatch.setattr(sweep, "read_ledger", fails_once)
    assert gru_bench("train", *short) == 0
    assert "2 of 2 runs are done; none to run" in capsys.readouterr().out
    assert len(asked) == 2


def test_a_run_without_memory_costs_itself_alone(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train.train

    def too_large(asked: Request, print_line: Callable[[str], None]) -> str:
        if asked.config.seed == 0:
            # as torch does where the system gives nothing
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return real(asked, print_line)

    monkeypatch.setattr(train, "train", too_large)
    assert gru_bench("train", "-m", "seed=0,1", *TINY, "trainer.max_steps=1") == 1
    printed = capsys.readouterr()
    assert "failed: out of memory: [enforce fail at" in printed.err
    assert "Traceback" not in printed.err
    assert "1 finished" in printed.out


def test_seeds_that_are_added_share_what_has_run(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    short = [*TINY, "trainer.max_steps=1"]
    assert gru_bench("train", "-m", "seed=0,1", *short) == 0
    capsys.readouterr()
    assert gru_bench("train", "-m", "seed=0,1,2", *short) == 0
    assert "3 finished" in capsys.readouterr().out
    found = read(URI).runs  # of the latest sweep, the second
    assert list(found["seed"]) == [0, 1, 2]
    assert found["sweep"].nunique() == 2
    assert set(found["status"]) == {"finished"}
    assert gru_bench("train", "-m", "seed=0,1,2", *short, "only=failed") == 0
    assert "3 of 3 runs are done; none to run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["only=failed", "until=tried"], "only=failed: not with until=tried, which goes on by itself"),
        (["only=stale", "hydra/sweeper=basic"], "only=stale: not with hydra/sweeper=basic"),
        (["only=some"], "only='some': must be 'missing', 'failed', 'stale' or 'all'"),
    ],
)
def test_what_only_does_not_take(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], keys: list[str], message: str
) -> None:
    assert gru_bench("train", "-m", "seed=0,1", *TINY, *keys) == 2
    assert message in capsys.readouterr().err


# keys that are known without composing


def composed_by(gru_bench: Command, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """How many configs a sweep composed to see what is done."""
    counted: list[plan.Choices] = []
    real = plan.composed_key

    def counting(config: DictConfig, job: plan.Choices, known: Known) -> str | None:
        counted.append(job)
        return real(config, job, known)

    monkeypatch.setattr(plan, "composed_key", counting)
    assert gru_bench("train", "-m", *arguments) == 0
    monkeypatch.setattr(plan, "composed_key", real)
    return len(counted)


def test_keys_are_remembered_until_something_changes(gru_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my own/cell").mkdir(parents=True)
    mine = Path("my own/cell/mine.yaml")
    mine.write_text("# mine\n_target_: gru_bench.cells.gru.GRU\n")
    sweep = ["--config-dir=my own", "cell=gru,mine", "seed=0,1", *TINY, "trainer.max_steps=1"]
    assert composed_by(gru_bench, monkeypatch, *sweep) == 0  # nothing has run: nothing is looked up
    assert composed_by(gru_bench, monkeypatch, *sweep) == 0  # the jobs have left their keys
    assert len(read(URI, experiment="adhoc").runs) == 4
    with closing(sqlite3.connect("mlflow.db")) as store:
        (told,) = zip(*store.execute("SELECT value FROM tags WHERE key = 'mlflow.source.name'"), strict=True)
    assert len(told) == 1 + 4  # a command that lacks the folder would not work
    assert {text.partition(" cell=")[0] for text in told} == {
        "gru-bench train -m --config-dir 'my own'",
        "gru-bench train --config-dir 'my own'",
    }
    mine.write_text("# mine\n_target_: gru_bench.cells.gru.GRU\ninit: keras\n")
    assert composed_by(gru_bench, monkeypatch, *sweep) == 2  # once for both seeds
    runs = read(URI, experiment="adhoc").runs
    assert len(runs) == 6  # the two of the yaml that changed ran anew
    assert composed_by(gru_bench, monkeypatch, *sweep) == 0


def test_data_that_changes_gives_other_keys(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"the quick brown fox number {n} jumps over the lazy dog again\n" for n in range(200)]
    Path("words.csv").write_text("words\n" + "".join(lines))
    data = ["task=language_modeling", "data.path=words.csv", "data.text=words", "task.seq_len=4", "threads=1"]
    sweep = ["-m", "seed=0,1", *data, "hidden_size=4", "trainer.max_steps=1", "model.embedding_size=4"]
    assert gru_bench("train", *sweep) == 0
    assert gru_bench("train", *sweep) == 0
    assert "2 of 2 runs are done" in capsys.readouterr().out
    Path("words.csv").write_text("words\n" + "".join(lines).replace("fox", "cat"))
    assert gru_bench("train", *sweep) == 0
    out = capsys.readouterr().out
    assert "0 of 2 runs are done; 2 to run (2 missing)" in out
    assert len(read(URI, experiment="adhoc").runs) == 4


def test_what_is_drawn_by_the_seed_has_a_key_of_its_own(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own/experiment").mkdir(parents=True)
    rate = "trainer:\n  learning_rate: ${drawn:${seed},rate,0.001,0.01}\n"
    Path("own/experiment/drawn.yaml").write_text(f"# @package _global_\n# drawn rates\n{rate}")
    sweep = ["--config-dir=own", "experiment=drawn", "seed=0,1", *TINY, "trainer.max_steps=1"]
    assert composed_by(gru_bench, monkeypatch, *sweep) == 0
    assert composed_by(gru_bench, monkeypatch, *sweep) == 0
    assert "2 of 2 runs are done" in capsys.readouterr().out
    assert read(URI, experiment="drawn").runs["learning_rate"].nunique() == 2


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["cell", "task", "+x"]), st.text(max_size=5)), st.integers(0, 2**32 - 1))
def test_a_cache_that_holds_nothing_knows_nothing(job: dict[str, str], seed: int) -> None:
    assert Known([]).key(job | {"seed": str(seed)}) is None


def test_a_model_and_a_probe_that_are_asked_for_later(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", "seed=0", *TINY, "trainer.max_steps=1"]
    assert gru_bench("train", *sweep, "save=none") == 0
    assert not list(Path("mlartifacts").glob("*/artifacts/model"))
    capsys.readouterr()
    assert gru_bench("train", *sweep) == 0  # the mere default asks for nothing of what is done
    assert "1 of 1 runs are done; none to run" in capsys.readouterr().out
    assert gru_bench("train", *sweep, "save=best") == 0
    assert "0 of 1 runs are done; 1 to run (1 without what save asks for)" in capsys.readouterr().out
    assert len(list(Path("mlartifacts").glob("*/artifacts/model/model.safetensors"))) == 1
    for again in (["save=best"], [], ["save=none"]):  # what has more than is asked for will do
        assert gru_bench("train", *sweep, *again) == 0
        assert "1 of 1 runs are done; none to run" in capsys.readouterr().out
    asked = ["save=best", "probe=[gates]"]
    for steps in ("200", "100"):  # with other settings it finds something else
        assert gru_bench("train", *sweep, *asked, f"probes.gates.steps={steps}") == 0
        assert "1 to run (1 without what probe asks for)" in capsys.readouterr().out
    runs = read(URI, experiment="adhoc").runs
    assert list(runs["status"]) == ["finished"]


def test_an_older_run_says_in_its_config_what_it_kept(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", "seed=0", *TINY, "trainer.max_steps=1", "save=best"]
    assert gru_bench("train", *sweep) == 0
    with sqlite3.connect("mlflow.db") as database:
        database.execute("DELETE FROM tags WHERE key = ?", (KEPT,))
    capsys.readouterr()
    assert gru_bench("train", *sweep) == 0
    assert "1 of 1 runs are done; none to run" in capsys.readouterr().out
    assert gru_bench("train", *sweep, "probe=[gates]") == 0
    assert "1 to run (1 without what probe asks for)" in capsys.readouterr().out
