"""Single steps of inference by compiled code: what ``step.cpp`` computes, as a function of tensors.

The weights are read where they lie, so that a step always follows the parameters. Their addresses are asked for at
each call and everything else is prepared: the arithmetic takes a microsecond or a few, every look at a tensor a tenth.
"""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from gru_bench.backends.base import State, Stepper, check_batch_size, check_step, marked
from gru_bench.backends.native.build import library
from gru_bench.backends.native.layer import DTYPES, NATIVE, instruction_set
from gru_bench.cells.base import Cell
from gru_bench.errors import UserError


class StepLayer(ctypes.Structure):
    """Mirrors ``StepLayer`` of ``step.cpp``."""

    _fields_ = [*((name, c_void_p) for name in ("W", "b", "U", "b_apart")), ("inputs", c_int64)]


class StepStack(ctypes.Structure):
    """Mirrors ``StepStack`` of ``step.cpp``."""

    _fields_ = [*((name, c_int64) for name in ("layers", "batch", "hidden")), ("layer", c_void_p)]


class _Plan:
    """A stack's weights as they lie at the moment, and the compiled function for their type.

    It holds on to the weights' memory: while the addresses are the same, it is the same memory.

    Raises:
        UserError: A weight that is not the cell's in size, type or place.
    """

    def __init__(self, cells: Sequence[Cell], batch_size: int) -> None:
        first = cells[0]
        self.dtype = first.W.dtype
        self.held = [parameter.detach() for cell in cells for parameter in cell.parameters()]
        self.addresses = [tensor.data_ptr() for tensor in self.held]
        self.layers = (StepLayer * len(cells))()
        for layer, cell in zip(self.layers, cells, strict=True):
            _check_weights(cell, self.dtype)
            apart = [parameter for name, parameter in cell.named_parameters() if name not in ("W", "b", "U")]
            layer.W, layer.b, layer.U = (tensor.data_ptr() for tensor in (cell.W, cell.b, cell.U))
            layer.b_apart = apart[0].data_ptr() if apart else None
            layer.inputs = cell.input_size
        self.stack = StepStack(len(cells), batch_size, first.hidden_size, ctypes.addressof(self.layers))
        self.stack_address = ctypes.addressof(self.stack)
        self.run: Callable[..., int] = getattr(library(), f"{first.name}_step_{self.dtype.itemsize}")
        self.run.argtypes = [c_void_p] * 7
        self.an_output = torch.empty(batch_size, first.hidden_size, dtype=self.dtype, device="cpu")
        self.a_state = torch.empty(len(cells), *self.an_output.shape, dtype=self.dtype, device="cpu")


def _check_weights(cell: Cell, dtype: torch.dtype) -> None:
    rows, D, H = len(cell.gates) * cell.hidden_size, cell.input_size, cell.hidden_size
    expected = {"W": (rows, D), "U": (rows, H), "b": (rows,)}
    for name, parameter in cell.named_parameters():
        shape, label = expected.get(name, (H,)), f"{type(cell).__name__}.{name}"
        if parameter.dtype not in DTYPES or not parameter.is_cpu:
            found = f"{str(parameter.dtype)[6:]} on {parameter.device}"
            raise UserError(f"native steps run in float32 and float64 on the CPU, {label} is {found}")
        gapless = parameter.is_contiguous() and not parameter.is_neg()
        if parameter.shape != shape or parameter.dtype != dtype or not gapless:
            found = f"{str(parameter.dtype)[6:]} {tuple(parameter.shape)} with strides {parameter.stride()}"
            found += " and its sign turned" * parameter.is_neg()
            raise UserError(f"{label} must be {str(dtype)[6:]} {shape} without gaps, got {found}")


def native_stepper(cells: Sequence[Cell], batch_size: int, mixed_step: Stepper) -> Stepper:
    """The compiled step of a stack; see :meth:`gru_bench.backends.base.Stack.stepper`.

    Args:
        cells: One a layer, of those for which :func:`gru_bench.backends.native.layer.has_kernel` holds.
        batch_size: B.
        mixed_step: What runs a step under autocast, where these run in the parameters' type.
    """
    check_batch_size(batch_size)
    first = cells[0]
    num_states = len(first.states)
    x_shape = torch.Size((batch_size, first.input_size))
    state_shape = torch.Size((len(cells), batch_size, first.hidden_size))
    weights = [cell._parameters for cell in cells]  # the module's attributes are ten times as slow
    event = f"{NATIVE} {instruction_set()}"
    plan = _Plan(cells, batch_size)
    returned: State | None = None  # by the last step: not looked at again where it comes back
    empty_like, address, is_watched = torch.empty_like, Tensor.data_ptr, torch.autograd._profiler_enabled
    is_any_mixed, is_mixed = torch._C._is_any_autocast_enabled, torch.is_autocast_enabled  # the first is faster

    def refuse(x_BD: Tensor, state: State | None) -> None:
        given = (x_BD, *(state or ()))
        if any(tensor.dtype != plan.dtype or not tensor.is_cpu for tensor in given):
            found = ", ".join(f"{str(tensor.dtype)[6:]} on {tensor.device}" for tensor in given)
            raise UserError(f"input and states must be {str(plan.dtype)[6:]} on the CPU like the weights, got {found}")
        check_step(x_BD, state, batch_size)
        shapes = [tuple(s_LBH.shape) for s_LBH in state or ()]
        raise UserError(
            f"this step takes an input {tuple(x_shape)} and {num_states} of states {tuple(state_shape)}, "
            f"got {tuple(x_BD.shape)} and {shapes}"
        )

    def checked(x_BD: Tensor, state: State) -> State:
        if len(state) != num_states:
            refuse(x_BD, state)
        for s_LBH in state:
            if s_LBH.shape != state_shape or s_LBH.dtype is not plan.dtype or not s_LBH.is_cpu:
                refuse(x_BD, state)
        return tuple(s_LBH.resolve_neg().contiguous() for s_LBH in state)

    def step(x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        nonlocal plan, returned
        if is_any_mixed() and is_mixed("cpu"):
            return mixed_step(x_BD, state)
        here = plan
        addresses: list[int] = []
        for own in weights:
            addresses += map(address, own.values())  # type: ignore[arg-type]
        if addresses != here.addresses:
            here = plan = _Plan(cells, batch_size)
            returned = None
        if x_BD.shape != x_shape or x_BD.dtype is not here.dtype or not x_BD.is_cpu:
            refuse(x_BD, state)
        if x_BD.is_neg() or not x_BD.is_contiguous():
            x_BD = x_BD.resolve_neg().contiguous()
        out_BH, h_LBH = empty_like(here.an_output), empty_like(here.a_state)
        h0 = c0 = c = None
        if state is not None:
            if state is not returned:
                state = checked(x_BD, state)
            h0 = address(state[0])
        final: State
        if num_states > 1:
            c_LBH = empty_like(here.a_state)
            final, c = (h_LBH, c_LBH), address(c_LBH)
            if state is not None:
                c0 = address(state[1])
        else:
            final = (h_LBH,)
        if is_watched():
            with marked(event):
                failed = here.run(here.stack_address, address(x_BD), h0, c0, address(out_BH), address(h_LBH), c)
        else:
            failed = here.run(here.stack_address, address(x_BD), h0, c0, address(out_BH), address(h_LBH), c)
        if failed:
            raise MemoryError(f"no memory for a native step of {first.name}")
        returned = final
        return out_BH, final

    return step
