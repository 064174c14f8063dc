"""Every cell on disk, made small, and its independent equations."""

import functools
import inspect
import runpy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from conftest import REPOSITORY, yaml_names
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from gru_bench.cells.base import Cell
from gru_bench.models.encoder import MakeCell

CELLS = yaml_names("cell")
CPU = torch.device("cpu")
Array = npt.NDArray[np.float64]
EQUATIONS = REPOSITORY / "tests" / "equations"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def node(name: str) -> DictConfig:
    """The yaml of a cell."""
    loaded = OmegaConf.load(REPOSITORY / "conf" / "cell" / f"{name}.yaml")
    assert isinstance(loaded, DictConfig)
    return loaded


def maker(name: str) -> MakeCell:
    """The yaml's cell, still to be given its sizes."""
    return instantiate(node(name), _partial_=True)


def build(name: str, input_size: int = 3, hidden_size: int = 5, seed: int = 0) -> Cell:
    """A float64 cell whose every parameter is away from zero."""
    cell = maker(name)(input_size, hidden_size, seeded(seed)).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=seeded(seed + 1), dtype=torch.float64))
    return cell


def equations(name: str) -> Callable[..., tuple[Array, ...]]:
    """The independent statement of a cell: ``step`` in ``tests/equations/NAME.py``.

    What it takes by keyword are options of the cell, with the values of its yaml.
    """
    file = EQUATIONS / f"{name}.py"
    assert file.is_file(), f"write the equations of cell={name} out in tests/equations/{name}.py"
    return with_options(runpy.run_path(str(file))["step"], node(name))


def with_options(step: Callable[..., tuple[Array, ...]], options: DictConfig) -> Callable[..., tuple[Array, ...]]:
    """The step with the options that it names."""
    parameters = inspect.signature(step).parameters.values()
    named = {one.name: options[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}
    return functools.partial(step, **named) if named else step
