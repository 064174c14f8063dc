"""Backpropagation through time by hand: the cell's own backward pass instead of autograd's record of every operation.

Where there is compiled code for a cell (``native/``) it runs; else one generic function over ``Cell.save`` and
``Cell.backward_step`` in plain torch. Both keep only the activated gates and the states.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from annotated_types import Gt
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gru_bench.backends import loop
from gru_bench.backends.base import Backend, Mark, Stack, State, Stepper, marked, refuse_second_derivative, zero_padding
from gru_bench.backends.loop import LoopStack
from gru_bench.backends.native import layer as native
from gru_bench.backends.native.build import CannotBuild, build_id
from gru_bench.backends.native.stepper import native_stepper
from gru_bench.cells.base import Cell
from gru_bench.errors import Unsupported

HAND_DERIVED = "gru_bench::bptt"


class BPTTStack(LoopStack):
    """Layers that are run and differentiated by hand-derived code."""

    def __init__(self, cells: Sequence[Cell], dropout: float, *, compiled: bool, chunk: int | None) -> None:
        super().__init__(cells, dropout)
        self.compiled = compiled
        self.chunk = chunk

    def run_layer(self, cell: Cell, x_TBD: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        is_native = self.compiled and (x_TBD.dtype in native.DTYPES or native.is_mixed(cell))
        run = native.run_layer if is_native else run_in_torch
        if self.chunk is None or x_TBD.shape[0] <= self.chunk or not torch.is_grad_enabled():
            return run(cell, x_TBD, state, lengths)
        pieces: list[Tensor] = []
        final = state
        for start, x_tBD in zip(range(0, x_TBD.shape[0], self.chunk), x_TBD.split(self.chunk), strict=True):
            here = None if lengths is None else (lengths - start).clamp(0, x_tBD.shape[0])
            h_tBH, final = cast(
                tuple[Tensor, State],
                checkpoint(run, cell, x_tBD, final, here, use_reentrant=False, preserve_rng_state=False),
            )
            pieces.append(h_tBH)
        return torch.cat(pieces), cast(State, final)

    def stepper(self, batch_size: int) -> Stepper:
        in_torch = super().stepper(batch_size)
        if not self.compiled:
            return in_torch
        cells = cast(Sequence[Cell], list(self.cells))
        if self.dropout == 0:
            return native_stepper(cells, batch_size, in_torch)
        native_step = native_stepper(cells, batch_size, in_torch)
        return lambda x_BD, state: (in_torch if self.training else native_step)(x_BD, state)


def run_in_torch(cell: Cell, x_TBD: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
    """One layer over a sequence in plain torch; see :func:`gru_bench.backends.native.run_layer`."""
    state = cell.initial_state(x_TBD.shape[1]) if state is None else state
    if not torch.is_grad_enabled():
        with marked(loop.LOOP):
            return loop.run_layer(cell, x_TBD, state, lengths)  # the same steps, and nothing is kept
    gx_TBG = cell.input_projection(x_TBD)
    recurrent = {name: parameter for name, parameter in cell.named_parameters() if name not in ("W", "b")}
    histories: State = _HandDerived.apply(cell, tuple(recurrent), gx_TBG, *recurrent.values(), *state)
    if lengths is None:
        return histories[0], tuple(s_TBH[-1] for s_TBH in histories)
    lengths = lengths.to(x_TBD.device)
    rows_B = torch.arange(x_TBD.shape[1], device=x_TBD.device)
    last_B = (lengths - 1).clamp(min=0)
    final = tuple(
        torch.where(lengths[:, None] > 0, s_TBH[last_B, rows_B], s_BH)
        for s_TBH, s_BH in zip(histories, state, strict=True)
    )
    return zero_padding(histories[0], lengths), final


class _HandDerived(torch.autograd.Function):
    """All steps of a cell from its input projection: every state's history. Once: its gradient has no gradient."""

    @staticmethod
    def forward(ctx: Any, cell: Cell, names: tuple[str, ...], gx_TBG: Tensor, *tensors: Tensor) -> Any:
        start = tensors[len(names) :]
        with marked(HAND_DERIVED):
            state, states, saved = start, [], []
            for gx_BG in gx_TBG.unbind(0):
                state, kept = cell.save(gx_BG, state)
                states.append(state)
                saved.append(kept)
            histories = tuple(torch.stack(history) for history in zip(*states, strict=True))
            saved_T = tuple(torch.stack(history) for history in zip(*saved, strict=True))
        ctx.cell, ctx.names, ctx.num_states = cell, names, len(start)
        ctx.save_for_backward(*histories, *tensors, *saved_T)
        return histories

    @staticmethod
    def backward(ctx: Any, *dhistories: Tensor) -> Any:
        refuse_second_derivative("bptt")
        cell, names = cast(Cell, ctx.cell), cast(tuple[str, ...], ctx.names)
        num_states, num_tensors = ctx.num_states, len(names) + ctx.num_states
        kept: tuple[Tensor, ...] = ctx.saved_tensors  # read once: chunks are computed again where it is read
        new, rest = kept[:num_states], kept[num_states:]
        tensors, saved = rest[:num_tensors], rest[num_tensors:]
        weights, start = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
        with marked(HAND_DERIVED):
            old = tuple(torch.cat((s_BH[None], s_TBH[:-1])) for s_BH, s_TBH in zip(start, new, strict=True))
            slopes = cell.slopes(saved, old, new)
            U_GH = weights["U"] if "U" in weights else start[0].new_empty(0, cell.hidden_size)
            dstate = tuple(torch.zeros_like(s_BH) for s_BH in start)
            dproducts: list[Tensor] = []
            dstates: list[State] = []
            steps = zip(zip(*dhistories, strict=True), zip(*slopes, strict=True), strict=True)
            for douts, slopes_t in reversed(list(steps)):
                dstate = tuple(carried + dout for carried, dout in zip(dstate, douts, strict=True))
                dstates.append(dstate)
                dproducts_BG, dstate = cell.backward_step(slopes_t, dstate, U_GH)
                dproducts.append(dproducts_BG)
            dproducts_TBG = torch.stack(dproducts[::-1])
            dstates_T = tuple(torch.stack(history) for history in zip(*dstates[::-1], strict=True))
            dgx_TBG = cell.input_gradient(slopes, dproducts_TBG, dstates_T)
            gradients = cell.parameter_gradients(dproducts_TBG, saved, old)
        return None, None, dgx_TBG, *(gradients[name] for name in names), *dstate


class BPTT(Backend):
    """Runs the cells that declare their backward pass, on the CPU.

    Args:
        native: ``auto`` takes compiled code where there is some for the cell and this machine can compile it, else
            plain torch, with a warning where it could not be compiled; ``required`` refuses instead;
            ``never`` does not take it. What ran is what a profiler sees, as for every backend.
        chunk: Steps after which only the states are kept and everything else is computed again in the backward pass:
            a third more arithmetic, and the gates' memory of one chunk instead of the whole sequence.
            ``bench/memory.py`` measures what that saves, ``bench/cells.py`` what it costs in time. A plain RNN keeps
            nothing but its states and gains nothing. None keeps all.
    """

    name: ClassVar[str] = "bptt"
    marks: ClassVar[tuple[Mark, ...]] = (
        Mark(native.NATIVE, lambda event, _: native.native_name(event)),
        Mark(HAND_DERIVED, "hand-derived torch"),
        Mark(loop.LOOP, "Python loop"),
    )

    honors_autocast: ClassVar[bool] = True  # by native code alone: see require_autocast

    def __init__(
        self, *, native: Literal["auto", "required", "never"] = "auto", chunk: Annotated[int, Gt(0)] | None = None
    ) -> None:
        self.native = native
        self.chunk = chunk
        self.build: str | None = None
        """Which compiled code it is: a part of what a parity check is remembered by."""
        self.missing: str | None = None
        """Why there is no compiled code here."""
        if native != "never":
            try:
                self.build = build_id()
            except CannotBuild as error:
                self.missing = str(error)

    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str | None:
        what = f"backend=bptt does not run {type(cell).__name__}"
        if not cell.has_backward:
            return f"{what}: the cell declares no backward pass. backend=loop runs every cell"
        if device.type != "cpu":
            return f"backend=bptt is not there on {device.type}: it runs on the CPU. backend=loop and vendor run there"
        if self.native == "required":
            try:
                if not native.has_kernel(cell, dtype):
                    return f"{what} in {str(dtype)[6:]} by native code; native=auto runs it in plain torch"
            except CannotBuild as error:
                return f"backend=bptt native=required: {error}; native=auto runs it in plain torch"
        return None

    def require_autocast(self, dtype: torch.dtype, cell: Cell | None = None) -> None:
        is_native = self.native != "never" and self.missing is None
        if dtype is not torch.bfloat16 or not is_native or (cell is not None and not self._is_compiled(cell)):
            what = "" if cell is None else f" of {type(cell).__name__}"
            raise Unsupported(
                f"backend=bptt does not run dtype={str(dtype)[6:]}{what} here: mixed precision is there in native code "
                "alone, in bfloat16. backend=loop runs every cell in it"
            )
        if cell is not None and not cell.bounded:
            # measured over 36 small shapes of irnn: gradients off by more than 0.1 in 7 of them, by the loop in 12
            raise Unsupported(
                f"backend=bptt does not run dtype=bfloat16 of {type(cell).__name__} with ReLU: in mixed precision its "
                "slope changes with the rounding, and no check tells that from an error. backend=loop runs it"
            )

    def piece(self, batch_size: int) -> int:
        return max(self.chunk or 1, -(-native.ROWS_A_PIECE // batch_size))

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return BPTTStack(cells, dropout, compiled=self._is_compiled(cells[0]), chunk=self.chunk)

    def _is_compiled(self, cell: Cell) -> bool:
        if self.native == "never":
            return False
        try:
            return native.has_kernel(cell, torch.float32)
        except CannotBuild as error:
            warn_once(f"backend=bptt runs in plain torch, since native code was not built: {error}")
            return False


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning, the first time in this process."""
    logging.getLogger(__name__).warning(text)
