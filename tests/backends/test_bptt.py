"""The hand-derived backward passes, in compiled code and in plain torch, and the compiled code's life."""

import functools
import gc
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from backend_pairs import EQUATIONS
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import CPU, build, equations, maker, seeded
from scipy.special import expit
from torch import Tensor

from gru_bench.backends import bptt, loop
from gru_bench.backends.base import State
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.loop import Loop
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import layer as native
from gru_bench.backends.native import workspace
from gru_bench.backends.native.build import CannotBuild
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.gru_article import GRUArticle
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure import parity
from gru_bench.measure.kernel import kernel_name

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


def test_all_cells_of_the_article_and_both_grus_declare_their_backward_pass() -> None:
    assert set(WITH_BACKWARD) >= {*COMPILED, "janet", "lstm_cifg"}


@needs_native
def test_the_hot_cells_are_compiled() -> None:
    found = [name for name in EQUATIONS if native.has_kernel(maker(name)(1, 1, seeded()), torch.float32)]
    assert sorted(found) == sorted(COMPILED)


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
    monkeypatch.setitem(step.__globals__, "sigmoid", lambda a: 1 / (1 + np.exp(-a)))  # expit takes no complex number
    assert expit(0.3) == pytest.approx(step.__globals__["sigmoid"](0.3))
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
    H=st.integers(1, 70),
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


@needs_native
def test_required_is_refused_where_there_is_no_compiled_code() -> None:
    required = BPTT(native="required")
    with pytest.raises(Unsupported, match="JANET in float32 by native code; native=auto"):
        required.stack([maker("janet")(2, 3, seeded())], CPU, torch.float32)
    with pytest.raises(Unsupported, match="GRU in bfloat16 by native code; native=auto"):
        required.stack([GRU(2, 3, seeded())], CPU, torch.bfloat16)


@pytest.fixture
def fresh_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing remembered of the code that this process has loaded."""
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    cached: tuple[Any, ...] = (native_build.library, native_build.build_id, native.kernel, bptt.warn_once)
    for function in cached:
        function.cache_clear()
    yield tmp_path / "cache"
    for function in cached:
        function.cache_clear()


@pytest.fixture
def there() -> str:
    """The session's own library; asked for before ``fresh_build``, it is the one in the session's cache."""
    return native_build.library()._name


def kernel_of(runner: BPTT) -> str:
    return kernel_name(runner.stack([GRU(3, 5, seeded())], CPU, torch.float32), runner, 3, CPU, torch.float32)


@pytest.mark.usefixtures("fresh_build")
def test_without_a_compiler_it_is_plain_torch_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert kernel_of(BPTT(native="never")) == "hand-derived torch"  # asked for: nothing to say
    assert not caplog.messages
    for _ in range(2):
        assert kernel_of(BPTT()) == "hand-derived torch"
    (message,) = caplog.messages
    assert re.fullmatch(
        r"backend=bptt runs in plain torch, since native code was not built: .*no-such-compiler.", message
    )
    with pytest.raises(Unsupported, match=r"native=required: no C\+\+ compiler found .*native=auto"):
        BPTT(native="required").stack([GRU(3, 5, seeded())], CPU, torch.float32)


@pytest.mark.usefixtures("fresh_build")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "failed"),
        ("case $* in *-dM*) echo '#define X';; *) echo 'layer.cpp:1: error: bad' >&2; exit 1;; esac", "error: bad"),
        ("case $* in *-dM*) echo '#define Y';; *) while [ $1 != -o ]; do shift; done; echo x > $2;; esac", "OSError"),
    ],
    ids=["says nothing", "fails", "makes nonsense"],
)
def test_a_compiler_that_fails_is_a_message_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    compiler = tmp_path / "cxx"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CannotBuild, match=message) as caught:
        native_build.library()
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_named(fresh_build: Path) -> None:
    fresh_build.write_text("a file where the folder should be")
    with pytest.raises(CannotBuild, match="cache"):
        native_build.library()


@needs_native
def test_the_second_start_compiles_nothing(there: str, fresh_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the code that is there already, as another process would have left it
    made = fresh_build / "native" / f"layer-{native_build.build_id()}.so"
    made.parent.mkdir(parents=True)
    made.write_bytes(Path(there).read_bytes())
    monkeypatch.setattr(native_build, "_compile", lambda _: pytest.fail("compiled again"))
    assert native_build.library()._name == str(made)


@needs_native
@pytest.mark.usefixtures("fresh_build")
def test_a_change_of_sources_or_flags_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = native_build.build_id()
    monkeypatch.setattr(native_build, "FLAGS", (*native_build.FLAGS, "-g"))
    native_build.build_id.cache_clear()
    second = native_build.build_id()
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "layer.cpp").write_text("")
    monkeypatch.setattr(native_build, "SOURCE", folder)
    native_build.build_id.cache_clear()
    assert len({first, second, native_build.build_id()}) == 3


@needs_native
@pytest.mark.slow
@pytest.mark.usefixtures("fresh_build")
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_every_vector_width_agrees_with_the_loop(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """The other instruction sets that this processor also runs: the same text for SSE2, AVX2 and AVX-512."""
    flags = tuple(flag.replace("native", level) if "march" in flag else flag for flag in native_build.FLAGS)
    monkeypatch.setattr(native_build, "FLAGS", flags)
    try:
        native_build.library()
    except CannotBuild as error:
        pytest.skip(f"{level}: {error}")
    flag = {"x86-64": "sse2", "x86-64-v3": "avx2", "x86-64-v4": "avx512f"}[level]
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file() or f" {flag} " not in cpuinfo.read_text().replace("\n", " "):
        pytest.skip(f"this processor has no {flag}")
    for name in COMPILED:
        for dtype in (torch.float32, torch.float64):
            errors = [parity.compare(case, maker(name), BPTT(native="required"), CPU, dtype) for case in parity.FULL]
            assert max(map(max, errors)) <= parity.TOLERANCES[dtype]


@needs_native
@pytest.mark.slow
def test_processes_that_start_at_once_compile_once(fresh_build: Path, tmp_path: Path) -> None:
    log, compiler = tmp_path / "calls", tmp_path / "cxx"
    compiler.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {native_build.compiler()} "$@"\n')
    compiler.chmod(0o755)
    code = "from gru_bench.backends.native.build import library; library()"
    environment = {"CXX": str(compiler), "GRU_BENCH_CACHE": str(fresh_build), "PATH": "/usr/bin:/bin"}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 3
    assert sum("-dM" not in call for call in log.read_text().splitlines()) == 1


class TestWorkspace:
    @pytest.fixture(autouse=True)
    def empty_shelf(self) -> Iterator[None]:
        workspace.clear()
        yield
        workspace.clear()

    def test_a_piece_comes_back_when_its_last_tensor_goes(self) -> None:
        tensor = workspace.empty((1000, 1000), torch.float32)
        at, part = tensor.data_ptr(), tensor[3:, 5]
        assert tensor.shape == (1000, 1000)
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        del tensor
        assert workspace.held_bytes() == 0  # a part of it is still in use
        del part
        assert workspace.held_bytes() >= 4_000_000
        again = workspace.empty((990_000,), torch.float32)
        assert again.data_ptr() == at
        assert workspace.held_bytes() == 0

    def test_two_tensors_never_share(self) -> None:
        tensors = [workspace.empty((2**17,), torch.float32).fill_(i) for i in range(5)]
        del tensors[::2]
        tensors += [workspace.empty((2**17 - i,), torch.float32).fill_(9 + i) for i in range(4)]
        assert [set(tensor.tolist()) for tensor in tensors] == [{1}, {3}, {9}, {10}, {11}, {12}]

    def test_small_ones_and_much_larger_pieces_are_left_alone(self) -> None:
        workspace.empty((10,), torch.float64)
        assert workspace.held_bytes() == 0
        large = workspace.empty((2**22,), torch.float32)
        at = large.data_ptr()
        del large
        assert workspace.empty((2**18,), torch.float32).data_ptr() != at

    def test_the_shelf_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workspace, "LARGEST_SHELF", 3 * 2**20)
        tensors = [workspace.empty((2**20,), torch.uint8) for _ in range(5)]
        del tensors
        assert 2 * 2**20 <= workspace.held_bytes() <= 3 * 2**20

    @needs_native
    def test_training_takes_the_same_pieces_again(self) -> None:
        stack = BPTT(native="required").stack([LSTM(64, 64, seeded())], CPU, torch.float32)
        x = torch.ones(64, 32, 64, requires_grad=True)
        held = []
        for _ in range(4):
            stack(x)[0].sum().backward()
            x.grad = None
            gc.collect()
            held.append(workspace.held_bytes())
        assert held[0] > 0
        assert len(set(held)) == 1


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
