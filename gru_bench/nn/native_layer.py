"""One layer by compiled code with the weights of ``torch.nn``, as they lie in its modules: nothing is copied or cached.

torch's gates stand in the order of ours. It has two bias vectors a gate, of which the compiled code takes the sum,
except for the GRU's candidate, whose second one is apart in both. So all that is made for a call is one bias vector.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from gru_bench.backends.base import marked
from gru_bench.backends.native import layer as native
from gru_bench.backends.native.build import CannotBuild, library
from gru_bench.backends.native.stepper import StepLayer, StepStack
from gru_bench.errors import UserError
from gru_bench.nn.steps import run_steps

CELLS = {"GRU": "GRU", "LSTM": "LSTM", "RNN_TANH": "RNN_tanh", "RNN_RELU": "RNN_relu"}
"""Names of the compiled equations by torch's names of its modes."""

Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""``weight_ih`` (G, D), ``weight_hh`` (G, H), ``bias_ih`` and ``bias_hh`` (G), or None without biases."""


@functools.cache
def missing() -> str | None:
    """Why there is no compiled code on this machine; None where there is. Asked once: a build that fails takes long."""
    try:
        library()
    except CannotBuild as error:
        return str(error)
    return None


def biases(mode: str, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """The bias (G) of all gates and the candidate's own (H), as the compiled code takes them. Not differentiable."""
    _, U, b_ih, b_hh = weights
    if b_ih is None or b_hh is None:
        return U.new_zeros(U.shape[0]), U.new_zeros(U.shape[1]) if mode == "GRU" else None
    if mode != "GRU":
        return b_ih + b_hh, None
    b, H, size = b_ih + b_hh, U.shape[1], U.dtype.itemsize
    # of the candidate b_ih alone; a slice of a tensor costs as much as a step of a small layer
    ctypes.memmove(b.data_ptr() + 2 * H * size, b_ih.data_ptr() + 2 * H * size, H * size)
    return b, b_hh[2 * H :]


def run_layer(
    mode: str, x_TBD: Tensor, weights: Weights, state: Sequence[Tensor], lengths: Tensor | None, *, mixed: bool = False
) -> tuple[Tensor, ...]:
    """One layer over a sequence, forward in time. The caller has checked that all of it fits together.

    Args:
        mode: A key of ``CELLS``.
        x_TBD: The input, right-padded: float32 or float64 on the CPU.
        weights: Of the same type, without gaps.
        state: One (B, H) tensor for each state, or none for zeros.
        lengths: (B,) int64 from 1 to T, falling, or None for T.
        mixed: Multiply in bfloat16, as under autocast.

    Returns:
        Outputs (T, B, H), zero past a length, then each state at the sequences' last steps.
    """
    W, U, b_ih, b_hh = weights
    h0, c0 = (*state, None, None)[:2]
    given = (x_TBD.contiguous(), W, b_ih, U, b_hh, *(s if s is None else s.contiguous() for s in (h0, c0)))
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in given):
        return _Differentiable.apply(mode, mixed, lengths, *given)
    with torch.no_grad():
        compiled, num_states = native.kernel(CELLS[mode], x_TBD.dtype, mixed=mixed), num_states_of(mode)
        tensors = native.operands(compiled, in_our_terms(mode, given))
        return native.forward_pass(compiled, num_states, lengths, tensors, keep=False)[:-2]


def num_states_of(mode: str) -> int:
    """One, or two with the LSTM's memory."""
    return 2 if mode == "LSTM" else 1


def in_our_terms(mode: str, given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Input, torch's weights and state as the compiled code orders them."""
    x_TBD, W, b_ih, U, b_hh, h0, c0 = given
    b, b_apart = biases(mode, (cast(Tensor, W), cast(Tensor, U), b_ih, b_hh))
    return x_TBD, W, b, U, b_apart, h0, c0


class _Differentiable(torch.autograd.Function):
    """The compiled passes; where a second derivative is asked for, the same layer step by step in torch instead."""

    @staticmethod
    def forward(ctx: Any, mode: str, mixed: bool, lengths: Tensor | None, *given: Tensor | None) -> Any:
        dtype, num_states = cast(Tensor, given[0]).dtype, num_states_of(mode)
        compiled = native.kernel(CELLS[mode], dtype, mixed=mixed)
        tensors = native.operands(compiled, in_our_terms(mode, given))
        h_TBH, *rest = native.forward_pass(compiled, num_states, lengths, tensors, keep=True)
        *final, saved, c_NH = rest
        ctx.compiled, ctx.num_states, ctx.mode = compiled, num_states, mode
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(lengths, saved, c_NH, h_TBH, *tensors, given[2], given[4])
        return h_TBH, *final

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        *kept, b_ih, b_hh = ctx.saved_tensors
        if torch.is_grad_enabled():
            if ctx.compiled.mixed:
                raise UserError("gru_bench.nn has no second derivative under autocast: leave autocast out there")
            lengths, _, _, _, x_TBD, W, _, U, _, h0, c0 = kept
            return None, None, None, *differentiable_gradients(ctx, (x_TBD, W, b_ih, U, b_hh, h0, c0), lengths, grads)
        dx, dW, db, dU, db_apart, dh0, dc0 = native.backward_pass(
            ctx.compiled, ctx.num_states, kept, grads, wants_dx=ctx.needs_input_grad[3]
        )
        of_hh = db
        if db_apart is not None and ctx.needs_input_grad[7]:
            of_hh = torch.cat((cast(Tensor, db)[: -db_apart.shape[0]], db_apart))
        wanted = zip((dx, dW, db, dU, of_hh, dh0, dc0), ctx.needs_input_grad[3:], strict=True)
        return None, None, None, *(grad if wants else None for grad, wants in wanted)


def differentiable_gradients(
    ctx: Any, given: tuple[Tensor | None, ...], lengths: Tensor | None, grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of one layer's inputs, as ones that autograd can differentiate again.

    Args:
        ctx: That of the backward pass.
        given: Input, ``weight_ih``, ``bias_ih``, ``weight_hh``, ``bias_hh`` and the states.
        lengths: As in :func:`run_layer`.
        grads: Of the outputs and of each last state.
    """
    x_TBD, W, b_ih, U, b_hh, *state = given
    assert x_TBD is not None
    assert U is not None
    T, B = x_TBD.shape[:2]
    alive = [B] * T if lengths is None else [int((lengths > t).sum()) for t in range(T)]
    start = tuple(x_TBD.new_zeros(B, U.shape[1]) if s is None else s for s in state[: ctx.num_states])
    inputs = [x_TBD[t, :n] for t, n in enumerate(alive) if n]
    outputs, final = run_steps(ctx.mode, inputs, (W, U, b_ih, b_hh), start)
    h_TBH = torch.stack([torch.cat((out, out.new_zeros(B - len(out), U.shape[1]))) for out in outputs])
    if len(outputs) < T:
        h_TBH = torch.cat((h_TBH, h_TBH.new_zeros(T - len(outputs), B, U.shape[1])))
    reached = [(out, grad) for out, grad in zip((h_TBH, *final), grads, strict=True) if grad is not None]
    wanted = [i for i, needs in enumerate(ctx.needs_input_grad[3:]) if needs]
    found = torch.autograd.grad(
        [out for out, _ in reached],
        [cast(Tensor, given[i]) for i in wanted],
        [grad for _, grad in reached],
        create_graph=True,
        allow_unused=True,
    )
    by_place = dict(zip(wanted, found, strict=True))
    return [by_place.get(i) for i in range(len(given))]


def run_step(mode: str, x_1BD: Tensor, layers: Sequence[Weights], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of all layers in one direction, for inference; checked by the caller as in :func:`run_layer`.

    Args:
        mode: A key of ``CELLS``.
        x_1BD: The input, of one step.
        layers: The weights of each layer.
        state: One (L, B, H) tensor for each state, or none for zeros.

    Returns:
        The output (1, B, H), then each new state.
    """
    if torch.is_grad_enabled():  # entered only where it is needed: see Stepper
        with torch.no_grad():
            return _run_step(mode, x_1BD, layers, state)
    return _run_step(mode, x_1BD, layers, state)


def _run_step(mode: str, x_1BD: Tensor, layers: Sequence[Weights], state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    U, dtype, B = layers[0][1], x_1BD.dtype, x_1BD.shape[1]
    L, H = len(layers), U.shape[1]
    laid_out, held = (StepLayer * L)(), []
    for layer, weights in zip(laid_out, layers, strict=True):
        b, b_apart = biases(mode, weights)
        held += [b, b_apart]
        layer.W, layer.b, layer.U = weights[0].data_ptr(), b.data_ptr(), weights[1].data_ptr()
        layer.b_apart = None if b_apart is None else b_apart.data_ptr()
        layer.inputs = weights[0].shape[1]
    x_1BD = x_1BD.contiguous()
    h0, c0 = (*(s_LBH.contiguous() for s_LBH in state), None, None)[:2]
    out_1BH, h_LBH = (torch.empty(size, B, H, dtype=dtype, device="cpu") for size in (1, L))
    c_LBH = torch.empty_like(h_LBH) if mode == "LSTM" else None
    stack = StepStack(L, B, H, ctypes.addressof(laid_out))
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in (x_1BD, h0, c0, out_1BH, h_LBH, c_LBH)]
    with marked(native.kernel(CELLS[mode], dtype).event):
        failed = step_function(mode, dtype.itemsize)(ctypes.addressof(stack), *addresses)
    if failed:
        raise MemoryError(f"no memory for a native step of {CELLS[mode]}")
    return (out_1BH, h_LBH) if c_LBH is None else (out_1BH, h_LBH, c_LBH)


@functools.cache
def step_function(mode: str, size: int) -> Any:
    """The compiled step of a cell in the floating type of so many bytes."""
    function = getattr(library(), f"{CELLS[mode]}_step_{size}")
    function.argtypes = [ctypes.c_void_p] * 7
    return function
