"""One run from its config to its row: what is recorded, and that the same seed gives the same bits."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from runs import STEPS, TINY, stored

from gru_bench.store import read as results


def test_one_run_records_everything(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "cell=lstm", "seed=3", *TINY, *STEPS) == 0
    assert "test mse" in capsys.readouterr().out
    found = stored()
    (run,) = found.runs.to_dict("records")
    expected = {
        "status": "finished",
        "cell": "lstm",
        "family": "lstm",
        "backend": "loop",
        "kernel": "Python loop",
        "task": "adding",
        "seed": 3,
        "hidden_size_asked": 6,
        "hidden_size": 6,
        "num_layers": 1,
        "num_parameters": 4 * 6 * (2 + 6 + 1) + 6 + 1,
        "budget": "hidden",
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 8,
        "learning_rate": 0.064,
        "primary_metric": "mse",
        "generated": True,
    }
    assert {key: run[key] for key in expected} == expected
    for column in ("config_key", "group_key", "machine", "data_source", "data_fingerprint", "env_torch"):
        assert run[column], column
    assert not pd.isna(run["shared"])  # depends on the machine
    values = found.values.set_index(["split", "metric", "slice", "slice_value"])["value"]
    for key in (
        ("test", "mse", "", ""),
        ("test", "mse", "length", "5"),
        ("test", "trivial_mse", "", ""),
        ("valid", "mse", "", ""),
        ("speed", "train_tokens_per_s", "", ""),
        ("speed", "wall_s", "", ""),
        ("memory", "activations_mib", "", ""),
    ):
        assert values[key] > 0, key
    mib = {name: values[("memory", f"{name}_mib", "", "")] for name in ("parameters", "gradients", "optimizer")}
    parameters = 4 * (4 * 6 * (2 + 6 + 1) + 6 + 1)
    assert mib["parameters"] * 2**20 == parameters
    assert mib["optimizer"] * 2**20 == 2 * parameters + 5 * 4  # Adam: two averages, and a count for each of five
    assert (
        values[("memory", "peak_tensor_mib", "", "")]
        == sum(mib.values()) + values[("memory", "activations_mib", "", "")]
    )
    assert values[("speed", "flops_per_token", "", "")] == 2 * 4 * 6 * (2 + 6)
    assert values[("train", "steps", "", "")] == 6
    curves = found.curves.groupby("metric")["step"].apply(list).to_dict()
    assert curves == {"train/loss": [3, 6], "valid/mse": [3, 6], "valid/loss": [3, 6]}
    examples = list(Path("mlartifacts").rglob("test_examples.parquet"))
    assert len(pd.read_parquet(examples[0])) == 16
    config = next(Path("mlartifacts").rglob("config.yaml")).read_text()
    assert "hidden_size: 6" in config
    assert not list(Path().glob("outputs"))


def test_nothing_personal_is_recorded(gru_bench: Command) -> None:
    import getpass
    import socket

    assert gru_bench("train", *TINY, *STEPS) == 0
    text = stored().runs.to_csv()
    for path in Path("mlartifacts").rglob("*"):
        if path.suffix in (".yaml", ".txt", ".json"):
            text += path.read_text()
    assert socket.gethostname() not in text
    if getpass.getuser() != "root":  # a word of three letters or more would be found by chance
        assert getpass.getuser() not in text


def test_the_same_seed_gives_the_same_bits_and_another_does_not(gru_bench: Command) -> None:
    for uri in ("sqlite:///one.db", "sqlite:///two.db"):
        assert gru_bench("train", f"tracking.uri={uri}", *TINY, *STEPS) == 0
    assert gru_bench("train", "tracking.uri=sqlite:///three.db", "seed=1", *TINY, *STEPS) == 0

    def score(uri: str) -> float:
        values = results.read(uri, experiment="adhoc").values
        return values.query("split == 'test' and metric == 'mse' and slice == ''")["value"].item()

    one, two, three = (score(f"sqlite:///{name}.db") for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_a_run_that_diverges_is_a_row_with_its_reason_and_the_sweep_goes_on(gru_bench: Command) -> None:
    overrides = ["optimizer=sgd", "trainer.learning_rate=1e20,0.01", "trainer.clip_norm=null"]
    assert gru_bench("train", "-m", *overrides, *TINY, *STEPS) == 1
    found = stored()
    runs = found.runs.set_index("learning_rate").sort_index()
    assert list(runs["status"]) == ["finished", "failed"]
    assert runs["error"].iloc[1].startswith("Diverged: loss ")
    assert " at step " in runs["error"].iloc[1]
    lost = found.values[found.values["run_id"] == runs["run_id"].iloc[1]]
    assert "wall_s" in set(lost["metric"])


UNLIKE = ["rnn", "irnn", "lstm", "lstm_chrono", "lstm_peephole", "gru", "gru_article", "mgu", "mingru", "sru"]
"""Cells of every family and make: no bound, drawn biases, more parameters, no backward pass, no recurrent weight."""


def test_cells_of_every_make_train(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", f"cell={','.join(UNLIKE)}", *TINY, "trainer.max_steps=2") == 0
    runs = stored().runs
    assert sorted(runs.loc[runs["status"] == "finished", "cell"]) == sorted(UNLIKE)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("backend", ["loop", "vendor"])
def test_other_floating_types(gru_bench: Command, dtype: str, backend: str) -> None:
    assert gru_bench("train", f"dtype={dtype}", f"backend={backend}", *TINY, "trainer.max_steps=2") == 0
    (run,) = stored().runs.to_dict("records")
    assert (run["dtype"], run["parity"]) == (dtype, "passed")
    (audit,) = Path("mlartifacts").rglob("kernel_audit.txt")
    how = "bfloat16 products by autocast, parameters in float32" if dtype == "bfloat16" else dtype
    assert f"T=5 B=8 D=2, {how} on cpu" in audit.read_text()


def test_equal_parameters(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "cell=rnn,lstm,gru", "budget=parameters", *TINY, "hidden_size=40",
                     "trainer.max_steps=2") == 0  # fmt: skip
    runs = stored().runs.set_index("cell")
    assert list(runs.loc[["lstm"], "hidden_size"]) == [40]
    assert set(runs["hidden_size_asked"]) == {40}
    assert runs.loc["rnn", "hidden_size"] > runs.loc["gru", "hidden_size"] > 40
    spread = runs["num_parameters"].max() / runs["num_parameters"].min()
    assert spread < 1.05
