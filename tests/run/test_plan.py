"""The jobs of a sweep: seeds by cell, their order, and what is composed beforehand."""

import json
from pathlib import Path

import pytest
from conftest import Command
from omegaconf import OmegaConf
from runs import STEPS, TINY, stored

from gru_bench.errors import UserError
from gru_bench.run.plan import Choices, covering, seed_by_seed, with_seeds

CELLS: list[Choices] = [{"task": task, "cell": cell} for task in ("words", "adding") for cell in ("lstm", "gru", "rnn")]


def test_each_cell_gets_its_seeds_and_no_more() -> None:
    jobs = list(with_seeds(CELLS, OmegaConf.create({"lstm": 3, "gru": 3, "default": 1}), "gru"))
    of = {(job["task"], job["cell"], job["seed"]) for job in jobs}
    assert len(jobs) == len(of) == 2 * (3 + 3 + 1)
    assert ("adding", "lstm", "2") in of
    assert ("adding", "rnn", "1") not in of


def test_a_job_that_names_no_cell_has_the_one_that_is_chosen() -> None:
    jobs = list(with_seeds([{"task": "adding"}], OmegaConf.create({"lstm": 2, "default": 1}), "lstm"))
    assert [job["seed"] for job in jobs] == ["0", "1"]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ({"lstm": 2}, "no number of seeds for cell=gru"),
        ({"lstm": 2, "default": 0}, "seeds.default=0"),
        ({"lstm": "2", "default": 1}, "seeds.lstm='2'"),
    ],
)
def test_a_number_of_seeds_that_is_none(seeds: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(with_seeds(CELLS, OmegaConf.create(seeds), "gru"))


def test_pairs_are_complete_early() -> None:
    jobs = seed_by_seed(list(with_seeds(CELLS, OmegaConf.create({"lstm": 3, "gru": 3, "default": 1}), "gru")))
    assert [job["seed"] for job in jobs] == ["0"] * 6 + ["1"] * 4 + ["2"] * 4
    assert [(job["task"], job["cell"]) for job in jobs[6:10]] == [
        ("words", "lstm"), ("words", "gru"), ("adding", "lstm"), ("adding", "gru"),
    ]  # fmt: skip


def test_few_jobs_show_every_value() -> None:
    jobs = [job | {"seed": str(seed)} for seed in (*range(9), "abc") for job in CELLS]
    chosen = covering(jobs)
    assert len(chosen) <= 4
    assert {pair for job in chosen for pair in job.items() if not pair[1].isdecimal()} == {
        pair for job in jobs for pair in job.items() if not pair[1].isdecimal()
    }
    assert covering([]) == []


def test_a_sweep_plans_and_runs_the_seeds_of_each_cell(gru_bench: Command) -> None:
    sweep = ["-m", "cell=lstm,rnn", "hydra.sweeper.seeds={lstm: 2, default: 1}", *TINY, *STEPS]
    assert gru_bench("train", *sweep) == 0
    planned = json.loads(next(Path("mlartifacts").rglob("planned.json")).read_text())
    wanted = [("0", "lstm", "0"), ("1", "rnn", "0"), ("2", "lstm", "1")]
    assert [(job["job"], job["cell"], job["seed"]) for job in planned] == wanted
    runs = stored().runs
    assert sorted(zip(runs["job"].astype(str), runs["cell"], runs["seed"].astype(str), strict=True)) == wanted
    assert set(runs["looks"]) == {1}


def test_a_seed_on_the_command_line_takes_the_place_of_how_many(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", "cell=lstm,rnn", "hydra.sweeper.seeds={lstm: 2, default: 1}", "seed=7", *TINY, "trainer.max_steps=1"]
    assert gru_bench("train", *sweep) == 0
    assert list(stored().runs["seed"]) == [7, 7]
    capsys.readouterr()
    assert gru_bench("train", "-m", "hydra.sweeper.seeds=zero", *TINY, *STEPS) == 2
    assert "hydra.sweeper.seeds='zero': must be a number of seeds" in capsys.readouterr().err
    assert gru_bench("train", "-m", "hydra.sweeper.seeds=1", "+hydra.sweeper.params.seed='0,1'", *TINY, *STEPS) == 2
    assert "one of them" in capsys.readouterr().err


def test_hydras_own_sweeper_still_sweeps(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "hydra/sweeper=basic", "cell=lstm,rnn", *TINY, "trainer.max_steps=1") == 0
    assert list(stored().runs["status"]) == ["finished", "finished"]


def test_an_override_keeps_its_sign(gru_bench: Command) -> None:
    adds = ["-m", "seed=0,1", "+trainer.optimizer.amsgrad=true", *TINY, "trainer.max_steps=1"]
    assert gru_bench("train", *adds) == 0
    planned = json.loads(next(Path("mlartifacts").rglob("planned.json")).read_text())
    assert {job["trainer.optimizer.amsgrad"] for job in planned} == {"True"}
