"""Every cell on disk, made small, and its independent equations."""

import runpy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from conftest import REPOSITORY, yaml_names
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gru_bench.cells.base import Cell
from gru_bench.models.encoder import MakeCell

CELLS = yaml_names("cell")
CPU = torch.device("cpu")
Array = npt.NDArray[np.float64]
EQUATIONS = REPOSITORY / "tests" / "equations"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maker(name: str) -> MakeCell:
    """The yaml's cell, still to be given its sizes."""
    return instantiate(OmegaConf.load(REPOSITORY / "conf" / "cell" / f"{name}.yaml"), _partial_=True)


def build(name: str, input_size: int = 3, hidden_size: int = 5, seed: int = 0) -> Cell:
    """A float64 cell whose every parameter is away from zero."""
    cell = maker(name)(input_size, hidden_size, seeded(seed)).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=seeded(seed + 1), dtype=torch.float64))
    return cell


def equations(name: str) -> Callable[..., tuple[Array, ...]]:
    """The independent statement of a cell: ``step`` in ``tests/equations/NAME.py``."""
    file = EQUATIONS / f"{name}.py"
    assert file.is_file(), f"write the equations of cell={name} out in tests/equations/{name}.py"
    return runpy.run_path(str(file))["step"]
