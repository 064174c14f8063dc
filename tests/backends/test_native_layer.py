"""A layer by compiled code: any shape and lengths, on any number of threads, and the memory that it takes."""

import ctypes
import math
import os
import subprocess
import sys

import pytest
import torch
from backend_pairs import EQUATIONS
from bptt_cells import COMPILED, draw, needs_native
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import CPU, maker, seeded
from torch import Tensor

from gru_bench.backends import loop
from gru_bench.backends.base import State
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import layer as native
from gru_bench.backends.native import workspace
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU, GRUResetBefore
from gru_bench.cells.gru_article import GRUArticle
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.errors import UserError
from gru_bench.measure import parity


@needs_native
def test_the_hot_cells_are_compiled() -> None:
    found = [name for name in EQUATIONS if native.has_kernel(maker(name)(1, 1, seeded()), torch.float32)]
    assert sorted(found) == sorted(COMPILED)


def kept_bytes(stack: torch.nn.Module, x: Tensor, lengths: Tensor | None = None) -> int:
    """Bytes of the tensors that autograd is handed to keep, without the input and the parameters."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        stack(x, None, lengths)
    return sum(size for at, size in sizes.items() if at not in {t.data_ptr() for t in (x, *stack.parameters())})


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("make", "per_unit"), [(RNN, 1), (LSTM, 4 + 2), (GRU, 4 + 1), (GRUArticle, 3 + 1)], ids=lambda value: str(value)
)
def test_what_is_kept_is_what_the_formula_says(make: type[Cell], per_unit: int, dtype: torch.dtype) -> None:
    cell = make(6, 10, seeded()).to(dtype)
    assert native.saved_values(cell, dtype) == per_unit * 10
    stack = BPTT(native="required").stack([cell], CPU, dtype)
    x = torch.ones(7, 5, 6, dtype=dtype)
    assert kept_bytes(stack, x) == 7 * 5 * per_unit * 10 * dtype.itemsize


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", COMPILED)
def test_the_number_of_threads_changes_no_bit(name: str, dtype: torch.dtype) -> None:
    results = []
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        cell = maker(name)(19, 37, seeded()).to(dtype)
        stack = BPTT(native="required").stack([cell], CPU, dtype)
        x = draw(70, 11, 19).to(dtype).requires_grad_()
        h, final = stack(x)
        (h.square().sum() + final[0].sum()).backward()
        assert x.grad is not None
        results.append([h.detach(), x.grad, *stack.cell_tensors(grad=True)[0].values()])
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@needs_native
@given(
    T=st.integers(1, 40),
    B=st.integers(1, 30),
    D=st.integers(1, 40),
    H=st.integers(3, 70),  # a lone unit may be saturated: 1 - h * h is then rounding alone, on every backend
    name=st.sampled_from(COMPILED),
    ragged=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_every_shape_agrees_with_the_loop(
    T: int, B: int, D: int, H: int, name: str, ragged: bool, dtype: torch.dtype
) -> None:
    case = parity.Case(T=T, B=B, input_size=D, hidden_size=H, ragged=ragged and B > 1, given_state=True)
    errors = parity.compare(case, maker(name), BPTT(native="required"), CPU, dtype)
    assert max(errors) <= parity.TOLERANCES[dtype]


@needs_native
@pytest.mark.parametrize("name", COMPILED)
@given(lengths=st.lists(st.integers(0, 23), min_size=1, max_size=20), threads=st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_ragged_batches_are_their_sequences_alone(name: str, lengths: list[int], threads: int) -> None:
    """Any lengths, zeros too, as chunks have them: outputs, states and all gradients, on any number of threads."""
    torch.set_num_threads(threads)
    T, B, (D, H) = 23, len(lengths), (3, 21)
    cell = maker(name)(D, H, seeded()).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(draw(*parameter.shape), alpha=0.1)
    results = []
    for run in (native.run_layer, one_by_one):
        x = draw(T, B, D).requires_grad_()
        state = tuple(draw(B, H, seed=2 + k).requires_grad_() for k in range(len(cell.states)))
        h, final = run(cell, x, state, torch.tensor(lengths))
        loss = (h * draw(T, B, H, seed=5)).sum()
        for k, s in enumerate(final):
            loss = loss + (s * draw(B, H, seed=6 + k)).sum()
        leaves = [x, *state, *cell.parameters()]
        gradients = torch.autograd.grad(
            loss, leaves, materialize_grads=True
        )  # of no token: unused where it is one by one
        results.append([h, *final, *gradients])
        with torch.no_grad():
            kept_nothing = run(cell, x, state, torch.tensor(lengths))
        assert torch.equal(kept_nothing[0], h)
        assert all(torch.equal(a, b) for a, b in zip(kept_nothing[1], final, strict=True))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def one_by_one(cell: Cell, x: Tensor, state: State, lengths: Tensor) -> tuple[Tensor, State]:
    """Each sequence by the loop as if it were alone."""
    outputs, finals = [], []
    for row, length in enumerate(lengths.tolist()):
        start = tuple(s[row : row + 1] for s in state)
        h, final = loop.run_layer(cell, x[:length, row : row + 1], start, None) if length else (x[:0, :1, :1], start)
        outputs.append(
            torch.cat([h.expand(-1, -1, cell.hidden_size), x.new_zeros(len(x) - length, 1, cell.hidden_size)])
        )
        finals.append(final)
    return torch.cat(outputs, 1), tuple(torch.cat(states) for states in zip(*finals, strict=True))


@needs_native
@pytest.mark.parametrize("name", COMPILED)
def test_with_ragged_lengths_too_the_number_of_threads_changes_no_bit(name: str) -> None:
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        stack = BPTT(native="required").stack([maker(name)(19, 37, seeded())], CPU, torch.float32)
        x = draw(70, 11, 19).float().requires_grad_()
        h, final = stack(x, None, torch.tensor([70, 3, 68, 1, 70, 33, 34, 35, 9, 12, 50]))
        (h.square().sum() + final[0].sum()).backward()
        assert x.grad is not None
        results.append([h.detach(), final[0].detach(), x.grad, *stack.cell_tensors(grad=True)[0].values()])
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@needs_native
def test_nothing_is_kept_of_padding_but_the_outputs() -> None:
    stack = BPTT(native="required").stack([LSTM(6, 10, seeded())], CPU, torch.float32)
    lengths = torch.tensor([7, 2, 1])
    # gates and memory of ten tokens; outputs of all 21; the lengths
    assert kept_bytes(stack, torch.ones(7, 3, 6), lengths) == (10 * (4 + 1) * 10 + 21 * 10) * 4 + 3 * 8


@needs_native
def test_what_does_not_fit_is_refused_before_memory_is_read() -> None:
    cell = LSTM(3, 5, seeded())
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    state = torch.zeros(1, 2, 5)
    for x, start, lengths, message in (
        (torch.ones(4, 2, 9), None, None, "LSTM takes 3 features a step, got 9"),
        (torch.ones(4, 2, 3), (state, torch.zeros(1, 2, 4)), None, r"states must be \(2, 5\)"),
        (torch.ones(4, 2, 3), (state,), None, "LSTM has 2 states, got 1"),
        (torch.ones(4, 2, 3), None, [4], r"expected \(2,\), got \(1,\)"),
        (torch.ones(4, 2, 3).double(), None, None, "must be torch.float64 on the CPU, got torch.float32"),
        (torch.ones(4, 2, 3), (state, state.double()), None, "must be torch.float32 on the CPU, got torch.float64"),
    ):
        with pytest.raises(UserError, match=message):
            stack(x, start, None if lengths is None else torch.tensor(lengths))


@needs_native
def test_extreme_and_tiny_inputs_of_the_gates() -> None:
    """The gates' own exp against torch's: saturated, and relative to the value near zero."""
    cell = RNN(1, 1, seeded()).requires_grad_(False)
    cell.W.fill_(1.0), cell.U.fill_(0.0)  # h = tanh(x)
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    x = torch.cat([torch.logspace(-30, 2.5, 3001), torch.tensor([0.0, 88.0, 1e30, float("inf")])])
    x = torch.cat([x, -x])
    found = stack(x.view(1, -1, 1))[0].flatten().double()
    wanted = torch.tanh(x.double())
    assert ((found - wanted).abs() <= 4e-7 * wanted.abs()).all()
    cell = RNN(1, 1, seeded(), activation="sigmoid").requires_grad_(False)
    cell.W.fill_(1.0), cell.U.fill_(0.0)
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    found = stack(x.view(1, -1, 1))[0].flatten().double()
    assert ((found - torch.sigmoid(x.double())).abs() <= 1.5e-7).all()
    assert stack(torch.full((1, 1, 1), float("nan")))[0].isnan().all()


def scratch_size(way: str, cell: Cell, T: int, B: int, threads: int) -> int:
    layer = native._Layer(T, B, cell.input_size, cell.hidden_size, threads)
    return native.kernel(cell.name, torch.float32)._scratch[way](ctypes.byref(layer))


@needs_native
def test_threads_share_the_room_of_a_batch() -> None:
    cell = LSTM(128, 512, seeded())
    one, many = (scratch_size("forward", cell, 100, 128, threads) for threads in (1, 64))
    weights = 4 * 512 * (128 + 512)
    # 32 threads have four rows each, and room for 16 tokens at a time
    assert many - one <= 32 * 17 * (4 * 512 + 128)
    assert many <= weights + (128 + 32 * 17) * (4 * 512 + 128) + 16


@needs_native
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("T", "B", "threads"), [(1, 1, 1), (1, 30, 4), (9, 30, 1), (9, 70, 16), (40, 30, 3)])
def test_nothing_is_written_past_the_scratch_memory(
    T: int, B: int, threads: int, ragged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded: list[Tensor] = []

    def with_a_guard(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = math.prod(shape)
        whole = torch.full((size + 1024,), 7.0, dtype=dtype)
        guarded.append(whole[size:])
        return whole[:size].view(shape)

    monkeypatch.setattr(workspace, "empty", with_a_guard)
    torch.set_num_threads(threads)
    lengths = torch.arange(B) % T + 1 if ragged else None
    for make in (LSTM, GRUResetBefore):
        for H in (5, 600):  # rooms for many steps, and for one
            stack = BPTT(native="required").stack([make(7, H, seeded())], CPU, torch.float32)
            x = draw(T, B, 7).float().requires_grad_()
            stack(x, None, lengths)[0].sum().backward()
    assert guarded
    assert all((guard == 7.0).all() for guard in guarded)


@needs_native
def test_fewer_threads_than_asked_for_give_the_same() -> None:
    code = """
import hashlib, torch
from gru_bench.backends.bptt import BPTT
from gru_bench.cells.gru import GRU
for threads in (1, 8):
    torch.set_num_threads(threads)
    cell = GRU(9, 33, torch.Generator().manual_seed(0))
    stack = BPTT(native="required").stack([cell], torch.device("cpu"), torch.float32)
    x = torch.linspace(-2, 2, 70 * 41 * 9).view(70, 41, 9).requires_grad_()
    h, _ = stack(x)
    h.backward(h.detach())
    found = [h.detach(), x.grad, cell.W.grad, cell.U.grad]
    print(hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in found)).hexdigest())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_THREAD_LIMIT": "3"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    one, eight = done.stdout.splitlines()
    assert one == eight


@needs_native
@pytest.mark.parametrize(("way", "batch", "hidden"), [("forward", 2**45, 1), ("backward", 1, 2**46)])
def test_a_failed_allocation_is_an_error_and_not_the_end_of_the_process(way: str, batch: int, hidden: int) -> None:
    compiled = native.Kernel("LSTM", torch.float32)
    compiled._scratch = dict.fromkeys(("forward", "backward"), lambda _: 1)
    layer, lengths = native._Layer(2, batch, 1, hidden, 1), torch.zeros(1, dtype=torch.int64)
    if way == "forward":  # the first of the lengths differs from T: all are sorted
        layer.lengths = lengths.data_ptr()
    with pytest.raises(MemoryError, match=rf"^no memory for the {way} pass of native LSTM$"):
        compiled.run(way, layer, torch.float32)


@needs_native
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_default_device_moves_nothing(name: str, ragged: bool) -> None:
    """Where it is ``meta``, tensors that are made have no memory; compiled code would write to address zero."""
    cell = maker(name)(5, 80, seeded())
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    lengths = torch.tensor([9, 3, 1] * 30) if ragged else None
    results = []
    x = draw(9, 90, 5).float().requires_grad_()
    for device in ("cpu", "meta"):
        workspace.clear()  # what lies there would be taken, on whatever device it is
        torch.set_default_device(device)
        try:
            h, final = stack(x, None, lengths)
            with torch.no_grad():
                step = stack.stepper(90)
                kept_nothing, (out, state) = stack(x, None, lengths)[0], step(x[0], None)
                assert torch.equal(kept_nothing, h)
            gradients = torch.autograd.grad(h.sum() + final[0].sum(), [x, *stack.parameters()])
        finally:
            torch.set_default_device(None)
        results.append([h, *final, out, *state, *gradients])
    assert all(map(torch.equal, *results))


@needs_native
def test_a_view_that_only_stands_for_negative_numbers_is_read_as_such() -> None:
    cell = GRU(5, 7, seeded())
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    step, results = stack.stepper(2), []
    x, h0, dh = draw(3, 2, 5).float(), draw(1, 2, 7).float(), draw(3, 2, 7).float()
    for turned in (lambda t: torch._neg_view(-t), lambda t: torch.complex(t, -t).conj().imag, lambda t: t):
        given = [turned(t) for t in (x, h0, dh, x[0])]
        assert [t.is_neg() for t in given] == [given[0].is_neg()] * 4
        leaf = given[0].requires_grad_()
        h, final = stack(leaf, (given[1],))
        gradients = torch.autograd.grad(h, [leaf, *stack.parameters()], given[2])
        with torch.no_grad():
            out, state = step(given[3], (given[1],))
        results.append([h, *final, *gradients, out, *state])
    assert all(map(torch.equal, results[0], results[2]))
    assert all(map(torch.equal, results[1], results[2]))
    with torch.no_grad():
        cell.W = torch.nn.Parameter(torch._neg_view(-cell.W))
    assert torch.equal(stack(x, (h0,))[0], results[2][0])
    with pytest.raises(UserError, match=r"GRU\.W must be .* and its sign turned$"):
        stack.stepper(2)
