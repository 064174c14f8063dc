"""The hand-derived backward passes, in compiled code and in plain torch."""

import functools
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from bptt_cells import COMPILED, MISSING, MODES, RUN, WITH_BACKWARD, backend, draw
from made_cells import CPU, build, equations, seeded
from scipy.special import expit
from torch import Tensor

from gru_bench.backends.base import State
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.rnn import RNN
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure.kernel import kernel_name


def test_all_cells_of_the_article_and_both_grus_declare_their_backward_pass() -> None:
    assert set(WITH_BACKWARD) >= {*COMPILED, "janet", "lstm_cifg"}


@pytest.mark.parametrize(("chunk", "ragged"), [(None, False), (2, True)])
@pytest.mark.parametrize(("name", "mode"), RUN)
def test_gradcheck(name: str, mode: str, chunk: int | None, ragged: bool) -> None:
    cell = build(name, input_size=2, hidden_size=3)
    stack = backend(mode, name, chunk).stack([cell], CPU, torch.float64)
    x = draw(5, 3, 2).requires_grad_()
    state = [draw(1, 3, 3, seed=2 + k).requires_grad_() for k in range(len(cell.states))]
    names, parameters = zip(*cell.named_parameters(), strict=True)
    lengths = torch.tensor([5, 1, 3]) if ragged else None

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip((f"cells.0.{name}" for name in names), rest[len(state) :], strict=True))
        h, final = torch.func.functional_call(stack, values, (x, rest[: len(state)], lengths))
        return h, *final

    assert torch.autograd.gradcheck(run, (x, *state, *parameters), fast_mode=False)


@pytest.mark.parametrize(("name", "mode"), RUN)
def test_gradients_are_those_of_the_written_equations(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complex step through the numpy statement: the derivative without a difference, exact to rounding."""
    step = equations(name)
    names = getattr(step, "func", step).__globals__
    monkeypatch.setitem(names, "sigmoid", lambda a: 1 / (1 + np.exp(-a)))  # expit takes no complex number
    assert expit(0.3) == pytest.approx(names["sigmoid"](0.3))
    cell = build(name, input_size=2, hidden_size=3)
    stack = backend(mode, name).stack([cell], CPU, torch.float64)
    x, weight = draw(4, 2, 2), draw(4, 2, 3, seed=9)
    (stack(x)[0] * weight).sum().backward()
    found = stack.cell_tensors(grad=True)[0]

    def loss(values: dict[str, np.ndarray]) -> complex:
        state = tuple(np.zeros((2, 3), dtype=complex) for _ in cell.states)
        total = 0j
        for x_BD, weight_BH in zip(x.numpy(), weight.numpy(), strict=True):
            state = step(values, x_BD, *state)
            total += (state[0] * weight_BH).sum()
        return total

    plain = {key: p.detach().numpy().astype(complex) for key, p in cell.named_parameters()}
    for key, value in plain.items():
        for index in np.ndindex(value.shape):
            moved = value.copy()
            moved[index] += 1e-30j
            wanted = loss(plain | {key: moved}).imag / 1e-30
            assert found[key][index].item() == pytest.approx(wanted, rel=1e-11, abs=1e-12), (key, index)


@pytest.mark.parametrize("chunk", [1, 4, 9])
@pytest.mark.parametrize(("name", "mode"), RUN)
def test_chunks_change_the_memory_and_nothing_else(name: str, chunk: int, mode: str) -> None:
    results = []
    for steps in (None, chunk):
        cell = build(name)
        stack = backend(mode, name, steps).stack([cell], CPU, torch.float64)
        x = draw(9, 4, 3).requires_grad_()
        h, final = stack(x, None, torch.tensor([9, 1, 4, 5]))
        (h.square().sum() + torch.stack([s.sum() for s in final]).sum()).backward()
        results.append((h.detach(), *(s.detach() for s in final), x.grad, *stack.cell_tensors(grad=True)[0].values()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_of_the_gradient_is_refused(mode: str) -> None:
    stack = backend(mode, "gru").stack([build("gru")], CPU, torch.float64)
    x = draw(3, 2, 3).requires_grad_()
    with pytest.raises(UserError, match=r"backend=bptt has no second derivative .*backend=loop"):
        torch.autograd.grad(stack(x)[0].sum(), x, create_graph=True)


@pytest.mark.parametrize("mode", MODES)
def test_the_graph_can_be_walked_twice_and_weights_may_not_move_in_between(mode: str) -> None:
    cell = build("lstm")
    stack = backend(mode, "lstm").stack([cell], CPU, torch.float64)
    x = draw(4, 2, 3).requires_grad_()
    loss = stack(x)[0].square().sum()
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    with torch.no_grad():
        cell.U.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, x)


def test_what_it_does_not_run_it_refuses_by_name() -> None:
    class OwnStep(GRU):
        def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
            return state[0], state

    class NoBackward(Cell):
        family: ClassVar[str] = "gru"
        gates: ClassVar[tuple[str, ...]] = ("h",)

        def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
            return gx_BG, (gx_BG,)

    for cell in (OwnStep(2, 3, seeded()), NoBackward(2, 3, seeded())):
        with pytest.raises(Unsupported, match=rf"does not run {type(cell).__name__}: .*backend=loop runs every cell"):
            BPTT().stack([cell], CPU, torch.float32)
    with pytest.raises(Unsupported, match="backend=bptt is not there on cuda: it runs on the CPU"):
        BPTT().stack([GRU(2, 3, seeded())], torch.device("cuda"), torch.float32)


def test_a_partial_and_its_options_make_another_cell() -> None:
    sigmoid = functools.partial(RNN, activation="sigmoid")
    assert (RNN(1, 1, seeded()).name, sigmoid(1, 1, seeded()).name) == ("RNN_tanh", "RNN_sigmoid")

    class Derived(RNN):
        pass

    assert Derived(1, 1, seeded()).name == "Derived_tanh"  # no compiled code answers to it
    stack = BPTT().stack([Derived(1, 1, seeded())], CPU, torch.float32)
    assert kernel_name(stack, BPTT(), 1, CPU, torch.float32) == "hand-derived torch"


@pytest.mark.parametrize("mode", MODES)
def test_sequences_and_batches_of_nothing_are_refused(mode: str) -> None:
    stack = backend(mode, "gru").stack([GRU(3, 5, seeded())], CPU, torch.float32)
    bad: list[tuple[Callable[[], Tensor], list[int] | None]] = [
        (lambda: torch.ones(0, 2, 3), None),
        (lambda: torch.ones(2, 0, 3), None),
        (lambda: torch.ones(2, 2, 3), [1, 3]),
        (lambda: torch.ones(2, 2, 3), [0, 1]),
    ]
    for make, lengths in bad:
        with pytest.raises(UserError):
            stack(make(), None, None if lengths is None else torch.tensor(lengths))


def test_the_loop_is_the_reference_of_both() -> None:
    cell = build("gru")
    x = draw(6, 2, 3)
    wanted = Loop().stack([cell], CPU, torch.float64)(x)[0]
    for mode in ["never"] + (["auto"] if MISSING is None else []):
        torch.testing.assert_close(backend(mode, "gru").stack([cell], CPU, torch.float64)(x)[0], wanted)
