"""Weights of a kept model that cannot be used: one line, whatever is wrong with the file."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gru_bench.errors import UserError
from gru_bench.run.rebuild import load_weights, refuse_foreign

CPU = torch.device("cpu")


def kept(folder: Path) -> Path:
    path = folder / "model.pt"
    torch.save(nn.Linear(2, 3).state_dict(), path)
    return path


@pytest.mark.parametrize("cut", [0, 2, 100, -20])
def test_an_empty_or_cut_file_is_bad_input(tmp_path: Path, cut: int) -> None:
    path = kept(tmp_path)
    load_weights(nn.Linear(2, 3), path, CPU)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"^model.pt: cannot be read as weights; valid: [^\n]*$"):
        load_weights(nn.Linear(2, 3), path, CPU)


def test_something_else_and_another_models_weights_are_bad_input(tmp_path: Path) -> None:
    path = kept(tmp_path)
    with pytest.raises(UserError, match=r"^model.pt: does not fit the model [^\n]*$"):
        load_weights(nn.Linear(2, 4), path, CPU)
    path.write_text("hello world")
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_weights(nn.Linear(2, 3), path, CPU)


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.Popen", "gru_bench.run.rebuild.pickle.loads", "builtins.eval"]
)
def test_a_config_of_a_store_runs_nothing_of_its_own(target: str) -> None:
    with pytest.raises(UserError, match=r"config\.yaml\.a\.0\.b\._target_=.*no part of an experiment"):
        refuse_foreign({"a": [{"b": {"_target_": target}}]})


def test_a_config_of_a_store_may_name_parts_of_an_experiment() -> None:
    targets = ["gru_bench.cells.gru.GRU", "torch.optim.Adam", "gru_bench.training.schedules.Constant"]
    refuse_foreign({"a": [{"_target_": target} for target in targets]})
