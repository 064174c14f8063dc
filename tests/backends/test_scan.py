"""The parallel form of a linear recurrence: the numbers of the sequential one, at every length and in every form."""

import numpy as np
import pytest
import torch
from backend_pairs import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import CPU, build, maker, seeded
from torch import Tensor

from gru_bench.backends import scan as scan_module
from gru_bench.backends.loop import Loop
from gru_bench.backends.scan import RADIX, Scan, scan, scan_back
from gru_bench.cells.gru import GRU
from gru_bench.errors import Unsupported, UserError

LINEAR = ["mingru", "minlstm"]


@pytest.fixture(params=["in pieces", "step by step"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both forms, whatever the size of a step."""
    monkeypatch.setattr(scan_module, "fills_a_core", lambda _: request.param == "step by step")
    return request.param


@pytest.mark.usefixtures("form")
def test_a_sum_of_halves_written_out() -> None:
    """a = 1/2, b = 1, from 4: 3, 2.5, 2.25, ... = 2 + 2 ** (1 - t), in numbers that are exact in binary."""
    T = 50
    a, b, start = torch.full((T, 1, 1), 0.5).double(), torch.ones(T, 1, 1).double(), torch.full((1, 1), 4.0).double()
    assert scan(a, b, start).flatten().tolist() == [2 + 2.0 ** (1 - t) for t in range(1, T + 1)]


@pytest.mark.usefixtures("form")
def test_the_gradient_of_a_leaky_integrator_is_a_power_of_its_leak() -> None:
    """The last output's gradient at lag k is a ** k."""
    T = 70
    dout = torch.zeros(T, 1, 1).double()
    dout[-1] = 1.0
    found = scan_back(torch.full((T, 1, 1), 0.9, dtype=torch.float64), dout).flatten()
    torch.testing.assert_close(found, 0.9 ** torch.arange(T - 1, -1, -1, dtype=torch.float64), rtol=1e-13, atol=0)


@given(T=st.integers(1, 700), B=st.integers(1, 3), H=st.integers(1, 3), pieces=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_length_is_the_recurrence(T: int, B: int, H: int, pieces: bool, seed: int) -> None:
    a, b, start = torch.sigmoid(3 * draw(T, B, H, seed=seed)), draw(T, B, H, seed=seed + 1), draw(B, H, seed=seed + 2)
    h, wanted = start.numpy(), np.empty((T, B, H))
    for t in range(T):
        wanted[t] = h = a[t].numpy() * h + b[t].numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_module, "fills_a_core", lambda _: not pieces)
        np.testing.assert_allclose(scan(a, b, start).numpy(), wanted, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("form")
def test_what_follows_a_step_changes_no_bit_of_it() -> None:
    a, b, start = torch.sigmoid(draw(600, 2, 3)), draw(600, 2, 3, seed=1), draw(2, 3)
    whole = scan(a, b, start)
    for T in (1, RADIX - 1, RADIX, RADIX + 1, 2 * RADIX, 63, RADIX**2, RADIX**2 + 1, RADIX**3 + 5):
        assert torch.equal(scan(a[:T], b[:T], start), whole[:T])


@pytest.mark.usefixtures("form")
def test_gates_that_are_0_or_1_to_rounding_give_numbers() -> None:
    a = torch.tensor([0.0, 1.0, 1e-38, 1.0 - 2**-24]).repeat(150).view(600, 1, 1)
    h = scan(a, torch.ones(600, 1, 1), torch.ones(1, 1))
    assert h.isfinite().all()
    assert h[-1].item() == pytest.approx(2.0)  # all forgotten one step before, then 1 * 1 + 1


@pytest.mark.parametrize("T", [1, 63, 600])
@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.usefixtures("form")
def test_both_forms_are_step_by_step_forward_and_back(name: str, T: int) -> None:
    found: list[list[Tensor]] = []
    lengths = torch.tensor([T, 1, (T + 1) // 2])
    for backend in (Loop(), Scan()):
        stack = backend.stack([build(name)], CPU, torch.float64)
        x, start = draw(T, 3, 3).requires_grad_(), draw(1, 3, 5).requires_grad_()
        h, (final,) = stack(x, (start,), lengths)
        ((h * draw(T, 3, 5, seed=4)).sum() + final.square().sum()).backward()
        assert x.grad is not None
        assert start.grad is not None
        found.append([h, final, x.grad, start.grad, *stack.cell_tensors(grad=True)[0].values()])
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.usefixtures("form")
def test_gradcheck(name: str) -> None:
    cell = build(name, input_size=2, hidden_size=2)
    stack = Scan().stack([cell], CPU, torch.float64)
    x, start = draw(2 * RADIX + 1, 2, 2).requires_grad_(), draw(1, 2, 2).requires_grad_()
    lengths = torch.tensor([2 * RADIX + 1, 3])

    def run(x: Tensor, start: Tensor, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        h, (final,) = torch.func.functional_call(stack, {"cells.0.W": W, "cells.0.b": b}, (x, (start,), lengths))
        return h, final

    assert torch.autograd.gradcheck(run, (x, start, cell.W, cell.b), fast_mode=True)


@pytest.mark.usefixtures("form")
def test_ten_adam_steps_of_600_are_those_of_the_loop() -> None:
    trained: list[list[Tensor]] = []
    for backend in (Loop(), Scan()):
        stack = backend.stack([maker("mingru")(2, 4, seeded()).double()], CPU, torch.float64)
        optimizer = torch.optim.Adam(stack.parameters(), lr=0.01)
        start = [p.detach().clone() for p in stack.parameters()]
        for step in range(10):
            optimizer.zero_grad()
            (stack(draw(600, 2, 2, seed=step))[0][-1] - 0.3).square().mean().backward()
            optimizer.step()
        trained.append([p.detach() for p in stack.parameters()])
        assert all((a - b).abs().max() > 0.02 for a, b in zip(start, trained[-1], strict=True))
    for wanted, got in zip(*trained, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)


def test_the_share_of_the_forget_gate_survives_gates_that_are_both_0_in_float32() -> None:
    cell = maker("minlstm")(1, 1, seeded())
    with torch.no_grad():
        cell.W.zero_()
        cell.b.copy_(torch.tensor([-200.0, -201.0, 1.0]))  # f = exp(-200), i = exp(-201), both 0 in float32
    for backend in (Loop(), Scan()):
        (h,), _ = backend.stack([cell], CPU, torch.float32)(torch.zeros(1, 1, 1))
        assert h.item() == pytest.approx(1 / (1 + np.e), rel=1e-5)


def test_a_long_or_small_step_takes_the_form_that_suits_it() -> None:
    """Which form runs where; that they agree is tested above."""
    assert scan_module.fills_a_core(torch.empty(32, 64))
    assert not scan_module.fills_a_core(torch.empty(8, 16))
    assert not scan_module.fills_a_core(torch.empty(32, 64, device="meta"))


def test_a_gradient_of_the_gradient_is_refused() -> None:
    stack = Scan().stack([build("mingru")], CPU, torch.float64)
    x = draw(3, 2, 3).requires_grad_()
    with pytest.raises(UserError, match=r"backend=scan has no second derivative .*backend=loop"):
        torch.autograd.grad(stack(x)[0].sum(), x, create_graph=True)


def test_what_is_not_linear_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"backend=scan does not run GRU: .*not linear.*backend=loop runs every cell"):
        Scan().stack([GRU(3, 5, seeded())], CPU, torch.float32)
