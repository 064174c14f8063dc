"""Parity finds rounding where there is rounding, and errors where there are errors."""

import functools
from collections.abc import Sequence

import pytest
import torch
from conftest import yaml_names
from test_backends import AGAINST_LOOP, PAIRS, backend
from test_cells import CPU, maker
from torch import Tensor

from gru_bench.backends import parity
from gru_bench.backends.base import Stack, State
from gru_bench.backends.loop import Loop, LoopStack
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.gru_article import GRUArticle
from gru_bench.cells.lstm import LSTM
from gru_bench.errors import Unsupported

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "_checked", {})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_every_backend_passes_for_every_cell_that_it_claims(cell: str, runner: str, dtype: torch.dtype) -> None:
    found = parity.check(maker(cell), backend(runner), CPU, dtype, quick=dtype is not torch.float32)
    assert found.passed
    assert found.tolerance == parity.TOLERANCES[dtype]
    if (runner, dtype) != ("loop", torch.float64):  # the loop in float64 is the reference itself
        assert 0 < found.output_error <= found.tolerance
        assert 0 < found.gradient_error <= found.tolerance


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_on_cuda_too(cell: str, runner: str, dtype: torch.dtype) -> None:
    assert parity.check(maker(cell), backend(runner), torch.device("cuda"), dtype).passed


class SlightlyOff(LoopStack):
    """A loop that is wrong in one place."""

    def __init__(self, cells: Sequence[Cell], fault: str) -> None:
        super().__init__(cells, 0.0)
        self.fault = fault

    def forward(self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        if self.fault == "ignores the state":
            state = None
        if self.fault == "ignores lengths":
            lengths = None
        h_TBH, final = super().forward(x_TBD, state, lengths)
        if self.fault == "output":
            h_TBH = h_TBH * 1.001
        if self.fault == "late output":
            h_TBH = torch.cat([h_TBH[:-1], h_TBH[-1:] * 1.001]) if len(h_TBH) > 60 else h_TBH
        if self.fault == "gradient":
            h_TBH = h_TBH + 1e-3 * (h_TBH - h_TBH.detach())  # the same values
        if self.fault == "nan gradient" and h_TBH.requires_grad:
            h_TBH.register_hook(lambda grad: grad * float("nan"))
        if self.fault == "final state":
            final = (final[0] + 1e-3, *final[1:])
        if self.fault == "detached state":
            final = tuple(s_LBH.detach() for s_LBH in final)
        return h_TBH, final


class Faulty(Loop):
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return SlightlyOff(cells, self.fault)


@pytest.mark.parametrize(
    "fault",
    [
        "output",
        "late output",
        "gradient",
        "nan gradient",
        "final state",
        "detached state",
        "ignores the state",
        "ignores lengths",
    ],
)
@pytest.mark.parametrize("quick", [True, False])
def test_a_fault_is_red(fault: str, quick: bool) -> None:
    found = parity.check(GRU, Faulty(fault), CPU, torch.float32, quick=quick)
    assert not found.passed
    if "gradient" in fault:
        assert found.output_error < found.tolerance < found.gradient_error
    assert parity.check(GRU, Faulty("none"), CPU, torch.float32, quick=quick).passed


class ForgetsB(GRU):
    """Its bias does nothing; the vendor's kernel, which takes it for a GRU, uses it."""

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        return x_TBD @ self.W.T + self.b - self.b.detach()  # the gradient is right where b is zero


def test_a_wrong_bias_is_red_although_biases_start_at_zero() -> None:
    found = parity.check(ForgetsB, Vendor(), CPU, torch.float64, quick=True)
    assert not found.passed


def test_what_is_not_supported_is_refused_and_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(Unsupported, match="GRUArticle"):
            parity.check(GRUArticle, Vendor(), CPU, torch.float32)


def test_an_answer_is_kept_for_the_same_question_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[parity.Case] = []
    compare = parity.compare

    def count(case: parity.Case, *rest: object) -> tuple[float, float]:
        asked.append(case)
        return compare(case, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(parity, "compare", count)

    def ask(make: object, *, dtype: torch.dtype = torch.float64, runner: object = None, quick: bool = True) -> int:
        before = len(asked)
        parity.check(make, runner or Loop(), CPU, dtype, quick=quick)  # type: ignore[arg-type]
        return len(asked) - before

    assert ask(functools.partial(LSTM, forget_bias=1.0)) == len(parity.QUICK)
    assert ask(functools.partial(LSTM, forget_bias=1.0)) == 0
    assert ask(functools.partial(LSTM, forget_bias=0.0)) == len(parity.QUICK)
    assert ask(functools.partial(GRU, init="keras")) == len(parity.QUICK)
    assert ask(GRU) == len(parity.QUICK)
    assert ask(GRU) == 0
    assert ask(GRU, dtype=torch.float32) == len(parity.QUICK)
    assert ask(GRU, runner=Vendor()) == len(parity.QUICK)
    assert ask(GRU, runner=Faulty("none")) == len(parity.QUICK)
    assert ask(GRU, runner=Faulty("output")) == len(parity.QUICK)
    assert ask(GRU, quick=False) == len(parity.FULL)


def test_a_check_leaves_random_state_and_threads_alone() -> None:
    before = torch.get_rng_state()
    torch.set_num_threads(2)
    parity.check(LSTM, Vendor(), CPU, torch.float32, quick=True)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 2


def test_relative_error_by_hand() -> None:
    wanted = torch.tensor([1.0, -4.0, 0.0], dtype=torch.float64)
    assert parity.relative_error(torch.tensor([1.0, -4.0, 0.5]), wanted) == 0.125
    assert parity.relative_error(torch.tensor([1.0, float("nan"), 0.0]), wanted) == float("inf")
    assert parity.relative_error(torch.tensor([0.25]), torch.zeros(1)) == 0.25
    with pytest.raises(ValueError, match="shape"):
        parity.relative_error(torch.zeros(2), wanted)


def test_the_cases_cover_what_they_should() -> None:
    for cases in (parity.QUICK, parity.FULL):
        assert {1, 63} <= {case.T for case in cases}
        assert any(case.ragged for case in cases)
        assert any(case.bidirectional for case in cases)
        assert any(case.num_layers > 1 for case in cases)
        assert {case.given_state for case in cases} == {True, False}
    assert {1, 33} <= {case.B for case in parity.FULL}


def test_the_yaml_of_every_backend_is_compared_somewhere() -> None:
    assert {runner for _, runner in AGAINST_LOOP} | {"loop"} == set(yaml_names("backend"))
