"""The cell's own step, several at a time, through ``torch.compile``: fused gates, forward and backward.

Nothing here knows an equation: inductor differentiates and fuses what ``Cell.step`` computes. ``torch``'s ``scan``
would compile a whole sequence in seconds, but under inductor 2.13 it gives wrong gradients of the recurrent weights
(pytorch#153679), so the steps are unrolled.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from gru_bench.backends.base import Backend, Mark, Stack, State, zero_padding
from gru_bench.backends.loop import LoopStack
from gru_bench.backends.vendor import describe
from gru_bench.cells.base import Cell

STEPS = 8
"""Steps in one compiled call; what is left of a sequence runs one step a call.

One step alone gains nothing over the loop: its call costs what the fusion saves. Measured for the GRU on one thread
(T = 100, B = 32, H = 128), 8 steps a call take 14 % less time than the loop, and 17 % less with 16, for about twice the
compile time at each doubling.
"""
VARIANTS = 256
"""How many variants (cell, type, gradients or none, B = 1, H = 1, threads) one process may compile; then it fails."""

Steps = Callable[..., tuple[Tensor, State, tuple[Tensor | None, ...]]]


def run_steps(cell: Cell, gx_TBG: Tensor, *state: Tensor) -> tuple[Tensor, State, tuple[Tensor | None, ...]]:
    """A few steps, unrolled when it is compiled. It refuses to run in any other way.

    Returns:
        Outputs (T, B, H), the state after the last step, and each state after every step (T, B, H), with None for a
        state that is the output itself.
    """
    if not torch.compiler.is_compiling():
        raise RuntimeError("backend=compiled: torch.compile is switched off here (TORCHDYNAMO_DISABLE or a stance)")
    outputs: list[Tensor] = []
    history: list[State] = []
    for gx_BG in gx_TBG.unbind(0):
        output_BH, state = cell.step(gx_BG, state)
        outputs.append(output_BH)
        history.append(state)
    every: list[Tensor | None] = []
    for states in zip(*history, strict=True):
        same = True
        for state_BH, output_BH in zip(states, outputs, strict=True):
            same = same and state_BH is output_BH
        every.append(None if same else torch.stack(states))
    return torch.stack(outputs), state, tuple(every)


@functools.cache
def compiled_steps() -> Steps:
    """:func:`run_steps`, compiled at its first call for each variant; torch keeps what it compiled on disk.

    One function serves all stacks of a process: other T, B, D and H above 1 compile nothing new. Another number of
    threads is traced anew, but takes its code from disk. Some of the code depends on the first sizes that inductor
    sees, so two processes that begin with different ones may run kernels that differ in rounding.
    """
    return torch.compile(run_steps, fullgraph=True, dynamic=True, options={"cpp.dynamic_threads": True})


@contextmanager
def any_size() -> Iterator[None]:
    """Settings under which a trace holds for every B and H above 1, and never falls back when there are many."""
    dynamo: Any = torch._dynamo.config  # its patch() is put there when it is imported
    shapes: Any = torch.fx.experimental._config
    for_tracing = dynamo.patch(
        allow_unspec_int_on_nn_module=True,  # cell.hidden_size
        force_parameter_static_shapes=False,
        recompile_limit=VARIANTS,  # with fullgraph=True an error beyond it
        accumulated_recompile_limit=VARIANTS,
    )
    # otherwise sizes that happen to be equal in the first call (B and H) have to be equal ever after
    with for_tracing, shapes.patch(use_duck_shape=False):
        yield


class CompiledStack(LoopStack):
    """Layers as in the loop, with the steps of each in compiled calls of :data:`STEPS`."""

    def run_layer(self, cell: Cell, x_TBD: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        steps = compiled_steps()
        T, B = x_TBD.shape[:2]
        gx_TBG = cell.input_projection(x_TBD).contiguous()
        state = tuple(as_in_the_middle(s_BH) for s_BH in (cell.initial_state(B) if state is None else state))
        outputs: list[Tensor] = []
        history: list[State] = []
        with any_size():
            # not slices, since the gradient of each is a whole (T, B, G) of zeros; and no views (so "unsafe", though
            # nothing is written in place), since a trace holds only for views of a tensor laid out likewise
            for gx_tBG in torch.unsafe_split_with_sizes(gx_TBG, [STEPS] * (T // STEPS) + [1] * (T % STEPS)):
                h_tBH, state, every = steps(cell, gx_tBG, *state)
                outputs.append(h_tBH)
                history.append(tuple(h_tBH if s_tBH is None else s_tBH for s_tBH in every))
        h_TBH = torch.cat(outputs)
        if lengths is None:
            return h_TBH, state
        last_B = lengths.to(h_TBH.device) - 1
        rows_B = torch.arange(B, device=h_TBH.device)
        final = tuple(torch.cat(states)[last_B, rows_B] for states in zip(*history, strict=True))
        return zero_padding(h_TBH, lengths), final


def as_in_the_middle(s_BH: Tensor) -> Tensor:
    """A copy that is to a trace what a state between two calls is: dense, no view, and asking for a gradient."""
    s_BH = s_BH.clone(memory_format=torch.contiguous_format)
    return s_BH.requires_grad_() if torch.is_grad_enabled() else s_BH


class Compiled(Backend):
    """Runs the cells that ``torch.nn`` has too, on a CPU with a C++ compiler and on CUDA with Triton.

    On CUDA it was never tried; there the parity check before each run is all that vouches for it.
    """

    name: ClassVar[str] = "compiled"
    # how inductor marks each call of what it compiled, while a profiler runs
    marks: ClassVar[tuple[Mark, ...]] = (Mark("## Call CompiledFxGraph", "compiled loop"),)
    honors_autocast: ClassVar[bool] = True

    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str | None:
        if cell.vendor is None:
            return (
                f"backend=compiled does not run {describe(cell)}: it runs rnn, lstm and gru as torch.nn has them. "
                "backend=loop runs every cell"
            )
        lacking = what_is_lacking(device)
        return None if lacking is None else f"backend=compiled {lacking}. backend=loop needs neither"

    def piece(self, batch_size: int) -> int:
        return STEPS

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return CompiledStack(cells, dropout)


def what_is_lacking(device: torch.device) -> str | None:
    """Why ``torch.compile`` cannot work for this device, found in the way that inductor itself looks."""
    from torch._inductor import config  # here: importing inductor takes seconds, for this backend alone
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if device.type == "cuda":
        return None if has_triton() else "needs Triton on CUDA, and torch finds none here"
    if device.type != "cpu":
        return f"runs on cpu and cuda, not on {device.type}"
    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, OSError):
        sought = " or ".join(name for name in config.cpp.cxx if name)
        return f"needs a C++ compiler, and {sought} does not work here (the variable CXX names another)"
    return None
