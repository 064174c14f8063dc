"""Every backend on disk, and the cells that it claims."""

import itertools

import torch
from conftest import REPOSITORY, yaml_names
from hydra.utils import instantiate
from made_cells import CELLS, CPU, maker, seeded
from omegaconf import OmegaConf
from torch import Tensor

from gru_bench.backends.base import Backend


def backend(name: str) -> Backend:
    return instantiate(OmegaConf.load(REPOSITORY / "conf" / "backend" / f"{name}.yaml"))


def runs(cell_name: str, backend_name: str) -> bool:
    """Whether the backend claims the cell."""
    cell = maker(cell_name)(1, 1, seeded())
    return backend(backend_name).refusal(cell, CPU, torch.float64) is None


def one_of_each() -> list[str]:
    """Cells of different equations: of those that differ in their initial values alone, the first."""
    found: dict[str, str] = {}
    for cell in CELLS:
        found.setdefault(maker(cell)(1, 1, seeded()).name, cell)
    return list(found.values())


EQUATIONS = one_of_each()
PAIRS = [(c, b) for c, b in itertools.product(EQUATIONS, yaml_names("backend")) if runs(c, b)]
AGAINST_LOOP = [(c, b) for c, b in PAIRS if b != "loop"]
A_CELL_OF = {b: "gru" if ("gru", b) in PAIRS else next(c for c, one in PAIRS if one == b) for _, b in PAIRS}
"""A cell that the backend runs: the GRU where it can."""


def draw(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
