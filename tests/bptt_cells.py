"""The cells of backend bptt, and whether there is compiled code here."""

from typing import Any

import pytest
import torch
from backend_pairs import EQUATIONS
from made_cells import maker, seeded
from torch import Tensor

from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native.build import CannotBuild

try:
    native_build.build_id()
    MISSING = None
except CannotBuild as error:
    MISSING = str(error)
needs_native = pytest.mark.skipif(MISSING is not None, reason=f"no compiled code here: {MISSING}")
MODES = [pytest.param("required", marks=needs_native), "never"]
WITH_BACKWARD = [name for name in EQUATIONS if maker(name)(1, 1, seeded()).has_backward]
COMPILED = ["rnn", "rnn_article", "irnn", "lstm", "gru", "gru_reset_before", "mgu", "gru_article", "gru_no_reset"]
RUN = [
    *(pytest.param(name, "required", marks=needs_native) for name in COMPILED),
    *((name, "never") for name in WITH_BACKWARD),
]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def backend(mode: Any, cell: str, chunk: int | None = None) -> BPTT:
    """``required`` only where compiled code is promised: the others run in plain torch in both modes."""
    return BPTT(native=mode if cell in COMPILED else "never", chunk=chunk)
