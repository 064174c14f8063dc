"""One layer by compiled code: what ``layer.cpp`` computes, as a differentiable function of tensors."""

import ctypes
import functools
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from typing import Any, cast

import torch
from torch import Tensor

from gru_bench.backends.base import State, marked, refuse_second_derivative
from gru_bench.backends.native import workspace
from gru_bench.backends.native.build import library
from gru_bench.cells.base import Cell
from gru_bench.errors import Unsupported, UserError

NATIVE = "gru_bench::native"
"""How a profiler knows the compiled code; the instruction set follows."""
INSTRUCTION_SETS = {64: "avx512", 32: "avx2"}
SPELLING = {"avx512": "AVX-512", "avx2": "AVX2"}
DTYPES = (torch.float32, torch.float64)
ROWS_A_PIECE = 512
"""Tokens of a chunk of the backward pass, at most, besides those of one step (``Backward::most``)."""

_SIZES = ("steps", "batch", "inputs", "hidden", "threads")
_FORWARD = ("x", "W", "b", "U", "b_apart", "h0", "c0", "lengths", "saved", "h", "c", "h_last", "c_last", "scratch")
_BACKWARD = ("dh", "dh_last", "dc_last", "dx", "dW", "db", "dU", "db_apart", "dh0", "dc0")


class _Layer(ctypes.Structure):
    """Mirrors ``Layer`` of ``layer.h``."""

    _fields_ = [
        *((name, c_int64) for name in _SIZES),
        *((name, c_void_p) for name in (*_FORWARD, *_BACKWARD)),
    ]


class Kernel:
    """The compiled functions of one cell in one floating type.

    Attributes:
        saved: Numbers a unit that the forward pass keeps for the way back, besides the states.
        mixed: Whether it multiplies in bfloat16: what is multiplied is rounded, all sums are float32.
    """

    def __init__(self, name: str, dtype: torch.dtype, *, mixed: bool = False) -> None:
        loaded, suffix = library(), "mixed" if mixed else dtype.itemsize
        self.mixed = mixed
        self.name = name
        self.forward: Callable[..., int] = getattr(loaded, f"{name}_forward_{suffix}")
        self.backward: Callable[..., int] = getattr(loaded, f"{name}_backward_{suffix}")
        self.saved: int = getattr(loaded, f"{name}_saved_{suffix}")()
        self._scratch: dict[str, Callable[..., int]] = {}
        for way in ("forward", "backward"):
            function = getattr(loaded, f"{name}_{way}_scratch_{suffix}")
            function.restype = c_int64
            self._scratch[way] = function
        self.event = f"{NATIVE} {instruction_set()}{' bf16' if mixed else ''}"

    def run(self, way: str, layer: _Layer, dtype: torch.dtype) -> None:
        """``forward`` or ``backward`` with scratch memory of its own.

        Raises:
            MemoryError: There was none for what the compiled code needs beside that.
        """
        scratch = workspace.empty((self._scratch[way](ctypes.byref(layer)),), dtype)
        layer.scratch = scratch.data_ptr()
        function = self.forward if way == "forward" else self.backward
        with marked(self.event):
            failed = function(ctypes.byref(layer))
        if failed:
            raise MemoryError(f"no memory for the {way} pass of native {self.name}")


@functools.cache
def kernel(name: str, dtype: torch.dtype, *, mixed: bool = False) -> Kernel:
    """The compiled functions of the cell of this name; found once."""
    return Kernel(name, dtype, mixed=mixed)


def instruction_set() -> str:
    """What the compiled code's vectors are made for: ``avx512``, ``avx2``, or its vectors' width in bits."""
    num_bytes = library().vector_bytes()
    return INSTRUCTION_SETS.get(num_bytes, f"{8 * num_bytes} bit")


def native_name(event: str) -> str:
    """``gru_bench::native avx512`` -> ``native AVX-512``; what follows the instruction set stays as it is."""
    _, *words = event.split()
    if words:
        words[0] = SPELLING.get(words[0].lower(), words[0].upper())
    return " ".join(["native", *words])


def has_kernel(cell: Cell, dtype: torch.dtype) -> bool:
    """Whether there is compiled code for this cell's equations, found by their name.

    Raises:
        CannotBuild: There is no compiled code at all on this machine.
    """
    return dtype in DTYPES and hasattr(library(), f"{cell.name}_forward_{dtype.itemsize}")


def run_layer(cell: Cell, x_TBD: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
    """One layer over a sequence.

    Args:
        cell: One for which :func:`has_kernel` holds.
        x_TBD: The input, right-padded.
        state: One (B, H) tensor for each of the cell's states, or None for zeros.
        lengths: (B,), from 0 to T, or None for T.

    Returns:
        Outputs (T, B, H), zero past a length, and the state at each sequence's last step.
    """
    mixed = is_mixed(cell)
    if mixed:  # what comes from a product under autocast comes in its type
        x_TBD, state = x_TBD.float(), None if state is None else tuple(s_BH.float() for s_BH in state)
    apart = [parameter for name, parameter in cell.named_parameters() if name not in ("W", "b", "U")]
    h0, c0 = (*(state or ()), None, None)[:2]
    given = (x_TBD, cell.W, cell.b, cell.U, apart[0] if apart else None, h0, c0)
    tensors = tuple(as_it_lies(tensor) for tensor in given)
    if lengths is not None:
        lengths = lengths.to("cpu", torch.int64).contiguous()
    check_fit(cell, x_TBD, state, lengths)
    compiled, num_states = kernel(cell.name, x_TBD.dtype, mixed=mixed), len(cell.states)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        h_TBH, *final = _Differentiable.apply(compiled, num_states, lengths, *tensors)
    else:
        h_TBH, *final = forward_pass(compiled, num_states, lengths, operands(compiled, tensors), keep=False)[:-2]
    return h_TBH, tuple(final)


def is_mixed(cell: Cell) -> bool:
    """Whether products run in bfloat16 here: under autocast, of parameters in float32.

    Raises:
        Unsupported: Autocast asks for another type.
    """
    if not torch.is_autocast_enabled("cpu") or cell.W.dtype is not torch.float32:
        return False
    asked = torch.get_autocast_dtype("cpu")
    if asked is not torch.bfloat16:
        raise Unsupported(f"native code does not run dtype={str(asked)[6:]}: backend=loop runs every cell in it")
    return True


def check_fit(cell: Cell, x_TBD: Tensor, state: State | None, lengths: Tensor | None) -> None:
    """Refuse what does not fit together: the compiled code reads memory by these sizes and asks nobody.

    Raises:
        UserError: A size, type or device that is not the cell's.
    """
    B, D = x_TBD.shape[1:]
    if cell.input_size != D:
        raise UserError(f"{type(cell).__name__} takes {cell.input_size} features a step, got {D}")
    expected = (B, cell.hidden_size)
    if any(s_BH.shape != expected for s_BH in state or ()):
        raise UserError(f"states must be {expected}, got {[tuple(s_BH.shape) for s_BH in state or ()]}")
    if state is not None and len(state) != len(cell.states):
        raise UserError(f"{type(cell).__name__} has {len(cell.states)} states, got {len(state)}")
    if lengths is not None and lengths.shape != (B,):
        raise UserError(f"one length per sequence: expected ({B},), got {tuple(lengths.shape)}")
    for tensor in (x_TBD, *(state or ()), *cell.parameters()):
        if tensor.dtype != x_TBD.dtype or tensor.device.type != "cpu":
            found = f"{tensor.dtype} on {tensor.device}"
            raise UserError(f"input, states and parameters must be {x_TBD.dtype} on the CPU, got {found}")


def saved_values(cell: Cell, dtype: torch.dtype) -> int:
    """Numbers a token that a layer keeps for the way back: the gates, and each state (the output among them).

    The input is not counted: it is there anyway, as the output of the layer below.
    """
    return (kernel(cell.name, dtype).saved + len(cell.states)) * cell.hidden_size


def _layer(lengths: Tensor | None, tensors: tuple[Tensor | None, ...]) -> _Layer:
    x_TBD, U = cast(Tensor, tensors[0]), cast(Tensor, tensors[3])
    layer = _Layer(*x_TBD.shape, U.shape[1], torch.get_num_threads())
    for name, tensor in zip(("x", "W", "b", "U", "b_apart", "h0", "c0"), tensors, strict=True):
        setattr(layer, name, _pointer(tensor))
    layer.lengths = _pointer(lengths)
    return layer


def operands(compiled: Kernel, tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """In mixed precision x, W and U as they are multiplied; the compiled code rounds the states."""
    if not compiled.mixed:
        return tensors
    x_TBD, W, b, U, *rest = cast(tuple[Tensor, ...], tensors)
    with torch.no_grad():
        return (x_TBD.bfloat16().float(), W.bfloat16().float(), b, U.bfloat16().float(), *rest)


def as_it_lies(tensor: Tensor | None) -> Tensor | None:
    """The same numbers without gaps, and stored as they are: a view may stand for what it holds with the sign turned.

    The compiled code sees neither. A real view of a conjugated tensor is such a view (``Tensor.is_neg``).
    """
    return None if tensor is None else tensor.resolve_neg().contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def forward_pass(
    compiled: Kernel, num_states: int, lengths: Tensor | None, tensors: tuple[Tensor | None, ...], *, keep: bool
) -> tuple[Tensor, ...]:
    """Outputs, final states, then what is kept: the gates and the memory of all steps (empty where there is none)."""
    x_TBD, U = cast(Tensor, tensors[0]), cast(Tensor, tensors[3])
    (T, B), H, dtype = x_TBD.shape[:2], U.shape[1], x_TBD.dtype
    N = T * B if lengths is None else int(lengths.sum())
    h_TBH = workspace.empty((T, B, H), dtype)
    final = tuple(torch.empty(B, H, dtype=dtype, device="cpu") for _ in range(num_states))
    saved = workspace.empty((N, compiled.saved * H if keep else 0), dtype)
    c_NH = workspace.empty((N if keep else B, H if num_states > 1 else 0), dtype)
    layer = _layer(lengths, tensors)
    layer.h, layer.h_last = h_TBH.data_ptr(), final[0].data_ptr()
    if num_states > 1:
        layer.c, layer.c_last = c_NH.data_ptr(), final[1].data_ptr()
    if keep:
        # a cell that keeps nothing but its states still says that it does
        layer.saved = (saved if saved.numel() else h_TBH).data_ptr()
    compiled.run("forward", layer, dtype)
    return h_TBH, *final, saved, c_NH


class _Differentiable(torch.autograd.Function):
    """The compiled forward pass with the compiled backward pass. Once: its gradient has no gradient."""

    @staticmethod
    def forward(ctx: Any, compiled: Kernel, num_states: int, lengths: Tensor | None, *tensors: Tensor | None) -> Any:
        tensors = operands(compiled, tensors)
        h_TBH, *rest = forward_pass(compiled, num_states, lengths, tensors, keep=True)
        *final, saved, c_NH = rest
        ctx.compiled, ctx.num_states = compiled, num_states
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(lengths, saved, c_NH, h_TBH, *tensors)
        return h_TBH, *final

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivative("bptt")
        found = backward_pass(ctx.compiled, ctx.num_states, ctx.saved_tensors, grads, wants_dx=ctx.needs_input_grad[3])
        wanted = zip(found, ctx.needs_input_grad[3:], strict=True)
        return None, None, None, *(grad if wants else None for grad, wants in wanted)


def backward_pass(
    compiled: Kernel, num_states: int, kept: tuple[Any, ...], grads: tuple[Tensor | None, ...], *, wants_dx: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of x, W, b, U, the bias apart, h0 and c0.

    Args:
        compiled: What ran forward.
        num_states: Of the cell.
        kept: Lengths, what :func:`forward_pass` keeps, its outputs, and its operands.
        grads: Of the outputs and of the final states; None for zeros.
        wants_dx: Whether that of x is asked for.
    """
    lengths, saved, c_NH, h_TBH, *tensors = kept
    x_TBD, W, b, U, b_apart, *_ = tensors
    B, H, dtype = x_TBD.shape[1], U.shape[1], x_TBD.dtype
    grads = tuple(as_it_lies(grad) for grad in grads)
    layer = _layer(lengths, tuple(tensors))
    layer.h, layer.c = h_TBH.data_ptr(), c_NH.data_ptr()
    layer.saved = (saved if saved.numel() else h_TBH).data_ptr()
    for name, grad in zip(("dh", "dh_last", "dc_last"), grads, strict=False):
        setattr(layer, name, _pointer(grad))
    found: dict[str, Tensor | None] = {
        "dx": workspace.empty(tuple(x_TBD.shape), dtype) if wants_dx else None,
        "dW": workspace.empty(tuple(W.shape), dtype),
        "db": torch.empty_like(b),
        "dU": workspace.empty(tuple(U.shape), dtype),
        "db_apart": None if b_apart is None else torch.empty_like(b_apart),
        "dh0": torch.empty(B, H, dtype=dtype, device="cpu"),
        "dc0": torch.empty(B, H, dtype=dtype, device="cpu") if num_states > 1 else None,
    }
    for name, tensor in found.items():
        setattr(layer, name, _pointer(tensor))
    compiled.run("backward", layer, dtype)
    return tuple(found.values())
