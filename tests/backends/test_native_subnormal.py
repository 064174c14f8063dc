"""Native code counts subnormal numbers as zero while it runs, and what its caller does with them stays as it was."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from bptt_cells import COMPILED, draw, needs_native
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import CPU, maker, seeded
from torch import Tensor

from gru_bench import nn as modules
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import layer as native
from gru_bench.cells.gru import GRU
from gru_bench.cells.rnn import RNN

pytestmark = needs_native
SMALL = 1e-39
KINDS = ("float32", "float64", "mixed")


def is_kept() -> Tensor:
    """Where a subnormal number may be read: by this thread, and by the others that torch shares out work to."""
    return torch.full((400_000,), SMALL) * 2 != 0


def passes(
    name: str, kind: str, *, scale: float = 1.0, back: float = 1.0, T: int = 9, B: int = 6, D: int = 5, H: int = 21
) -> list[Tensor]:
    """Outputs and all gradients of one layer.

    Args:
        name: The cell's yaml.
        kind: The floating type, or ``mixed`` as under autocast.
        scale: Size of inputs and states.
        back: Size of the outputs' gradient.
        T, B, D, H: As everywhere.
    """
    dtype = torch.float64 if kind == "float64" else torch.float32
    cell = maker(name)(D, H, seeded()).to(dtype)
    stack = BPTT(native="required").stack([cell], CPU, dtype)
    x = (draw(T, B, D) * scale).to(dtype).requires_grad_()
    state = tuple((draw(1, B, H, seed=2 + k) * scale).to(dtype).requires_grad_() for k in range(len(cell.states)))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "mixed"):
        h, final = stack(x, state)
    gradient = (draw(T, B, H, seed=5) * back).to(dtype)
    found = torch.autograd.grad(h, [x, *state, *stack.parameters()], gradient)
    return [h.detach(), *(s.detach() for s in final), *found]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_the_caller_does_with_subnormal_numbers_is_put_back(zero: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(zero)
    stack = BPTT(native="required").stack([GRU(5, 21, seeded())], CPU, torch.float32)
    step = stack.stepper(2)
    module = modules.GRU(5, 21)
    calls: list[Callable[[], Any]] = [
        lambda: passes("lstm", "float32", B=70),
        lambda: passes("gru", "float64", B=70),
        lambda: passes("gru", "mixed", B=70),
        lambda: step(torch.ones(2, 5), None),
        lambda: module(torch.ones(4, 2, 5))[0].sum().backward(),
    ]
    try:
        before = is_kept()
        assert bool(before[0]) is not zero
        for call in calls:
            call()
            assert torch.equal(is_kept(), before)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("name", COMPILED)
def test_the_mode_of_the_caller_and_the_number_of_threads_change_no_bit(name: str) -> None:
    """Numbers around the smallest normal one: each thread of a team must count the subnormal ones as zero."""
    results = []
    for threads, zero in itertools.product((1, 3), (False, True)):
        torch.set_num_threads(threads)
        torch.set_flush_denormal(zero)
        try:
            results.append([t.view(torch.int32) for t in passes(name, "float32", scale=1e-38, back=1e-38, T=30, B=33)])
        finally:
            torch.set_flush_denormal(False)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def read_and_computed() -> list[float]:
    """What a layer and a step make of a subnormal number that is read, and of one that is computed."""
    cell = RNN(1, 1, seeded(), activation="relu").requires_grad_(False)
    cell.U.fill_(0.0), cell.b.fill_(0.0)
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    step = stack.stepper(1)
    found = []
    for weight, value in ((1e30, SMALL), (1e-30, 1e-9)):
        cell.W.fill_(weight)
        assert torch.tensor(weight) * value != 0
        found += [float(stack(torch.full((1, 1, 1), value))[0]), float(step(torch.full((1, 1), value), None)[0])]
    return found


def test_neither_what_is_read_nor_what_is_computed_is_subnormal() -> None:
    assert read_and_computed() == [0, 0, 0, 0]


@pytest.fixture
def keeps() -> Iterator[Callable[[bool], None]]:
    """Takes the same code as it would be without the mode, or as it is."""
    flags = native_build.FLAGS

    def take(kept: bool) -> None:
        native_build.FLAGS = (*flags, "-DGRU_BENCH_KEEP_SUBNORMALS") if kept else flags  # type: ignore[assignment]
        for function in (native_build.from_wheel, native_build.library, native_build.build_id, native.kernel):
            function.cache_clear()

    yield take
    take(False)


@pytest.mark.slow
def test_ordinary_numbers_are_the_same_to_the_bit_and_tiny_ones_nearly(
    keeps: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same code without the mode, which is compiled here."""
    monkeypatch.setenv("GRU_BENCH_NATIVE", "compile")
    keeps(True)
    assert all(value > 0 for value in read_and_computed())

    def both(name: str, kind: str, **case: Any) -> Iterator[tuple[Tensor, Tensor]]:
        found = []
        for kept in (False, True):
            keeps(kept)
            found.append(passes(name, kind, **case))
        return zip(*found, strict=True)

    @given(
        name=st.sampled_from(COMPILED),
        kind=st.sampled_from(KINDS),
        T=st.integers(1, 30),
        B=st.integers(1, 20),
        D=st.integers(1, 30),
        H=st.integers(1, 40),
    )
    @settings(max_examples=100, deadline=None)
    def ordinary(name: str, kind: str, **sizes: int) -> None:
        assert all(torch.equal(one, other) for one, other in both(name, kind, **sizes))

    @given(
        name=st.sampled_from([name for name in COMPILED if name != "irnn"]),  # the slope of its ReLU jumps at zero
        kind=st.sampled_from(KINDS),
        down=st.integers(0, 6),
        tiny=st.sampled_from([("scale",), ("back",), ("scale", "back")]),
    )
    @settings(max_examples=100, deadline=None)
    def small(name: str, kind: str, down: int, tiny: tuple[str, ...]) -> None:
        size = torch.finfo(torch.float64 if kind == "float64" else torch.float32).smallest_normal
        for one, other in both(name, kind, **dict.fromkeys(tiny, size * 10.0**-down)):
            torch.testing.assert_close(one, other, rtol=0, atol=size * 1e8)

    ordinary()
    small()
