"""The compiled backend: gradients on every compiled path, few compilations, and never eager in silence.

What it promises together with all backends is in ``test_backends.py`` and ``test_parity.py``.
"""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from backend_pairs import AGAINST_LOOP, EQUATIONS, draw
from made_cells import CPU, maker, seeded
from torch import Tensor

from gru_bench.backends import compiled
from gru_bench.backends.base import Backend, Stack
from gru_bench.backends.compiled import STEPS, Compiled, run_steps
from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell, State
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.errors import Unsupported
from gru_bench.measure import parity

REFERENCE = [RNN, LSTM, GRU]
slow = pytest.mark.slow


def stack_of(make: type[Cell], backend: Backend, *, num_layers: int = 1, dropout: float = 0.0, H: int = 5) -> Stack:
    cells = [make(3 if layer == 0 else H, H, seeded(layer)) for layer in range(num_layers)]
    return backend.stack(cells, CPU, torch.float64, dropout=dropout).double()


def gradients(stack: Stack, x_TBD: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    """Outputs, final states and all gradients of a stack."""
    x_TBD = x_TBD.clone().requires_grad_()
    stack.zero_grad()
    h_TBH, final = stack(x_TBD, None, lengths)
    loss = (h_TBH * draw(*h_TBH.shape, seed=1)).sum() + sum(s.square().sum() for s in final)
    loss.backward()
    assert x_TBD.grad is not None
    (values,) = stack.cell_tensors(grad=True)
    return [h_TBH, *final, x_TBD.grad, *(values[name] for name in sorted(values))]


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def compilations() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_it_is_offered_for_the_reference_cells_and_no_other() -> None:
    assert {cell for cell, runner in AGAINST_LOOP if runner == "compiled"} == {"rnn", "irnn", "lstm", "gru"}


@pytest.mark.parametrize("name", sorted(set(EQUATIONS) - {"rnn", "irnn", "lstm", "gru"}))
def test_another_cell_is_refused_by_name(name: str) -> None:
    cell = maker(name)(3, 5, seeded())
    with pytest.raises(Unsupported, match=rf"^backend=compiled does not run {type(cell).__name__}.*backend=loop runs"):
        Compiled().stack([cell], CPU, torch.float32)


def test_without_a_compiler_it_is_refused_before_anything_runs() -> None:
    from torch._inductor import config, cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}), pytest.raises(Unsupported) as refused:
        stack_of(GRU, Compiled())
    assert "needs a C++ compiler, and no-such-compiler does not work here" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_on_other_devices_it_says_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for found in (True, False):
        monkeypatch.setattr("torch.utils._triton.has_triton", lambda found=found: found)
        why = Compiled().refusal(GRU(3, 5, seeded()), cuda, torch.float32)
        assert (why is None) if found else (why is not None and "needs Triton" in why)
    assert "not on mps" in str(Compiled().refusal(GRU(3, 5, seeded()), torch.device("mps"), torch.float32))


def test_it_never_runs_uncompiled() -> None:
    with pytest.raises(RuntimeError, match=r"torch\.compile is switched off"):
        run_steps(GRU(3, 5, seeded()), torch.zeros(1, 2, 15), torch.zeros(2, 5))
    stack = stack_of(GRU, Compiled())
    with torch.compiler.set_stance("force_eager"), pytest.raises(RuntimeError, match="switched off"):
        stack(draw(2, 2, 3))


@slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", parity.FULL, ids=str)
@pytest.mark.parametrize("make", REFERENCE)
def test_outputs_and_all_gradients_of_every_case_are_the_loops(
    make: type[Cell], case: parity.Case, dtype: torch.dtype
) -> None:
    errors = parity.compare(case, make, Compiled(), CPU, dtype)
    assert max(errors) <= parity.TOLERANCES[dtype]


@slow
@pytest.mark.parametrize("T", [1, STEPS - 1, STEPS, STEPS + 1, 3 * STEPS + 2])
@pytest.mark.parametrize("make", REFERENCE)
def test_the_seams_between_two_calls(make: type[Cell], T: int) -> None:
    for lengths in (None, torch.tensor([T, 1, max(1, T - 1), max(1, T - STEPS)])):
        x = draw(T, 4, 3)
        agree(gradients(stack_of(make, Compiled()), x, lengths), gradients(stack_of(make, Loop()), x, lengths))


@slow
def test_other_sizes_other_weights_and_evaluation_compile_nothing_new() -> None:
    # B equal to H at first: it must not be taken for a law
    agree(
        gradients(stack_of(GRU, Compiled(), H=6), draw(11, 6, 3)), gradients(stack_of(GRU, Loop(), H=6), draw(11, 6, 3))
    )
    with torch.no_grad():
        stack_of(GRU, Compiled(), H=6)(draw(11, 6, 3))
    before = compilations()
    assert before > 0
    for H, T, B in [(5, 11, 4), (9, 30, 2), (6, 9, 33), (STEPS, 17, STEPS), (15, 1, 5)]:
        x = draw(T, B, 3)
        ours, theirs = stack_of(GRU, Compiled(), H=H), stack_of(GRU, Loop(), H=H)
        agree(gradients(ours, x), gradients(theirs, x))
        agree(gradients(ours, x.transpose(0, 1).contiguous().transpose(0, 1)), gradients(theirs, x))
        state = (draw(1, B, H),)  # asks for no gradient, and is no state of ours
        torch.testing.assert_close(ours(x, state)[0], theirs(x, state)[0], rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            torch.testing.assert_close(ours.eval()(x)[0], theirs(x)[0], rtol=1e-12, atol=1e-12)
    assert compilations() == before


@slow
@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_is_a_stack_of_its_own(make_copy: Callable[[Stack], Stack]) -> None:
    stack, x = stack_of(LSTM, Compiled()), draw(STEPS + 1, 2, 3)
    before = gradients(stack, x)
    other = make_copy(stack)
    agree(gradients(other, x), before)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    assert not torch.allclose(other(x)[0], before[0])
    agree(gradients(stack, x), before)


@slow
def test_dropout_is_drawn_between_layers_as_in_the_loop() -> None:
    ours, theirs = (stack_of(LSTM, b, num_layers=3, dropout=0.5) for b in (Compiled(), Loop()))
    x = draw(STEPS + 1, 2, 3)
    found: list[Tensor] = []
    for stack in (ours, theirs):
        torch.manual_seed(0)
        found.append(stack(x)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(ours(x)[0], found[0])
    torch.testing.assert_close(ours.eval()(x)[0], theirs.eval()(x)[0], rtol=1e-12, atol=1e-12)


class NeverSeen(GRU):
    """A type of cell that nothing has compiled yet."""

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        return super().step(gx_BG + 1, state)


@slow
def test_too_many_variants_are_an_error_and_not_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import FailOnRecompileLimitHit

    with torch.no_grad():
        stack_of(GRU, Compiled())(draw(1, 2, 3))
        monkeypatch.setattr(compiled, "VARIANTS", 1)
        with pytest.raises(FailOnRecompileLimitHit):
            stack_of(NeverSeen, Compiled())(draw(1, 2, 3))


@slow
def test_a_wrong_gradient_of_a_compiled_step_would_be_seen() -> None:
    case = parity.Case(T=STEPS + 1, B=3)
    assert max(parity.compare(case, GRU, Compiled(), CPU, torch.float64)) <= parity.TOLERANCES[torch.float64]
    output_error, gradient_error = parity.compare(case, GRU, WrongGradient(), CPU, torch.float64)
    assert output_error <= parity.TOLERANCES[torch.float64] < 1e-3 < gradient_error


class WrongGradient(Compiled):
    """What inductor makes of ``scan``: right outputs, and another gradient of U."""

    def _stack(self, cells: list[Cell], dropout: float) -> Stack:  # type: ignore[override]
        for cell in cells:
            cell.U.register_hook(lambda grad: 1.01 * grad)
        return super()._stack(cells, dropout)
