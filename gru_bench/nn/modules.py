"""The modules: ``torch.nn``'s own, with another way through them where our compiled code can go it.

They inherit all that holds no arithmetic: constructor, parameters and their names, ``state_dict``, copies, ``repr``. A
call goes one of three ways, and ``kernel()`` says which:

* native: everything is dense float32 or float64 on the CPU, and fits. Under bfloat16 autocast the products are rounded,
  and what is summed and carried stays in float32;
* steps: inside a function transform or with forward-mode derivatives, step by step in plain torch;
* torch.nn: everything else, with torch's own results and errors.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch.nn.utils.rnn import PackedSequence

from gru_bench.backends.native import layer as native
from gru_bench.nn import native_layer
from gru_bench.nn.native_layer import CELLS, Weights
from gru_bench.nn.steps import run_steps

PLAIN = (Tensor, nn.Parameter)
STEP_BATCH = 128
"""Sequences up to which a single step of inference goes by the code that is made for steps."""
State = tuple[Tensor, ...]


class _Native(nn.RNNBase):
    """What the three modules share.

    Attributes:
        use_native: False takes torch's own way always, as where both are compared.
    """

    use_native: bool = True
    torch_class: ClassVar[type[nn.RNNBase]]
    _ran = "nothing yet"

    def kernel(self) -> str:
        """What the last call ran: ``native AVX-512``, ``steps in torch: why`` or ``torch.nn: why``."""
        return self._ran

    def as_torch(self) -> nn.RNNBase:
        """The module of ``torch.nn`` with the same parameters, not copies: for tools that go by the class.

        Raises:
            ValueError: A parameter is computed (parametrized): remove the parametrizations first.
        """
        if hasattr(self, "parametrizations"):
            raise ValueError("a parametrized module has no twin in torch.nn: remove the parametrizations first")
        twin = self.torch_class.__new__(self.torch_class)
        own = {key: value for key, value in self.__getstate__().items() if key not in ("_ran", "use_native")}
        twin.__dict__.update({key: value.copy() if isinstance(value, dict) else value for key, value in own.items()})
        twin._init_flat_weights()
        return twin

    def __prepare_scriptable__(self) -> nn.RNNBase:
        return self.as_torch()  # torch.jit.script compiles the source of forward

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As ``torch.nn``'s.

        Args:
            input: (T, B, D), (B, T, D) with ``batch_first``, (T, D) for one sequence, or a ``PackedSequence``.
            hx: h_0 (L, B, H), or (h_0, c_0) of an LSTM; without B for one sequence. Zeros without it.

        Returns:
            The outputs, in the form of the input, and the last states, in that of ``hx``.
        """
        if torch.compiler.is_compiling():  # a graph has torch's operators
            return super().forward(input, hx)
        if get_eval_frame_callback():  # beside a compiled graph, which would look for pieces of itself in this code
            return outside_of_graphs()(self, input, hx)
        return self._forward(input, hx)

    def _forward(self, input: Any, hx: Any) -> Any:
        transform = transformed()
        if transform and self.use_native:
            self.__dict__["_ran"] = f"steps in torch: {transform}"
            return self._by_steps(input, hx)
        x: Any = input[0] if isinstance(input, PackedSequence) else input
        state: Any = () if hx is None else hx if self.mode == "LSTM" else (hx,)
        flat = self._weights()
        mixed = torch._C._is_any_autocast_enabled() and torch.is_autocast_enabled("cpu")
        why = self._obstacle(x, state, flat, input, mixed)
        if why is not None:
            if why == "Proxy":  # torch.fx takes the modules of torch.nn as one operation, and so this
                return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (input, hx), {})
            self.__dict__["_ran"] = f"torch.nn: {why}"
            return super().forward(input, hx)
        return self._natively(input, state, flat, mixed)

    def _weights(self) -> list[Tensor]:
        """All of them as they are now, in torch's order, also where something else than the module put them there."""
        own, names = self._parameters, self._flat_weights_names
        found = [own.get(name) for name in names]
        if any(weight is None for weight in found):
            found = [getattr(self, name) for name in names]
        return cast(list[Tensor], found)

    def _by_layer(self, flat: Sequence[Any]) -> list[Weights]:
        """Those of each layer and direction."""
        if self.bias:
            return [cast(Weights, tuple(flat[at : at + 4])) for at in range(0, len(flat), 4)]
        return [(flat[at], flat[at + 1], None, None) for at in range(0, len(flat), 2)]

    def _obstacle(self, x: Any, state: Any, flat: list[Tensor], input: Any, mixed: bool) -> str | None:
        """Why the compiled code cannot run this call; None where it can. What does not fit is torch's to refuse."""
        if not self.use_native:
            return "use_native=False"
        if self.proj_size:
            return "proj_size"
        if torch._C._get_tracing_state() is not None:
            return "traced"
        if torch._C._len_torch_dispatch_stack():
            return "a dispatch mode looks at torch's operators"
        first = flat[0]
        dtype = first.dtype
        if mixed and (
            dtype is not torch.float32
            or torch.get_autocast_dtype("cpu") is not torch.bfloat16
            or self.mode == "RNN_RELU"  # its slope changes with the rounding
        ):
            return "autocast of other types"
        if dtype not in native.DTYPES:
            return str(dtype)[6:]
        if not isinstance(state, (tuple, list)) or len(state) not in (0, native_layer.num_states_of(self.mode)):
            return "hx"
        for given in (x, *state):
            if type(given) not in PLAIN:
                return type(given).__name__
            if not given.is_cpu:
                return given.device.type
            if given.dtype is not dtype and not (mixed and given.dtype is torch.bfloat16):
                return str(given.dtype)[6:]
            if given.layout is not torch.strided or given.is_neg():
                return "layout"
        H, D = self.hidden_size, self.input_size
        G = first.shape[0]
        packed = isinstance(input, PackedSequence)
        dims = x.dim()
        if dims != 2 and (packed or dims != 3):
            return "shape of the input"
        if x.shape[-1] != D or 0 in x.shape:
            return "shape of the input"
        rows = len(flat) // (4 if self.bias else 2)
        B = int(input[1][0]) if packed else 1 if dims == 2 else x.shape[0 if self.batch_first else 1]
        expected = (rows, H) if dims == 2 and not packed else (rows, B, H)
        for s in state:
            if s.shape != expected:
                return "shape of hx"
        shapes = ((G, None), (G, H), (G,), (G,)) if self.bias else ((G, None), (G, H))
        inner = H * (2 if self.bidirectional else 1)
        period = len(shapes)
        for place, w in enumerate(flat):
            if type(w) not in PLAIN or w.dtype is not dtype or not w.is_cpu or not w.is_contiguous() or w.is_neg():
                return "weights"
            shape = shapes[place % period]
            if place % period == 0:
                shape = (G, D if place < period * (2 if self.bidirectional else 1) else inner)
            if w.shape != shape:
                return "weights"
        missing = native_layer.missing()
        if missing is not None:
            warn_once(f"gru_bench.nn runs torch.nn's own code: {missing}")
            return missing
        return None

    def _natively(self, input: Any, state: State, flat: list[Tensor], mixed: bool) -> Any:
        mode, dtype = self.mode, flat[0].dtype
        self.__dict__["_ran"] = kernel_name(mode, dtype, mixed)
        packed = input if isinstance(input, PackedSequence) else None
        lengths: Tensor | None = None
        x: Tensor = input if packed is None else packed.data
        kept_type = state[0].dtype if state else x.dtype
        alone = packed is None and x.dim() == 2
        if packed is not None:
            x, lengths = padded(packed)
            if packed.sorted_indices is not None:
                state = tuple(s_LBH.index_select(1, packed.sorted_indices) for s_LBH in state)
        elif alone:
            x, state = x.unsqueeze(1), tuple(s_LH.unsqueeze(1) for s_LH in state)
        elif self.batch_first:
            x = x.transpose(0, 1)
        if mixed:
            x, state = x.float(), tuple(s_LBH.float() for s_LBH in state)
        layers = self._by_layer(flat)
        dropping = self.training and self.dropout > 0 and self.num_layers > 1
        h_TBH: Tensor
        final: State
        if (
            x.shape[0] == 1
            and x.shape[1] <= STEP_BATCH
            and not (mixed or dropping or self.bidirectional)
            and not (torch.is_grad_enabled() and any(t.requires_grad for t in (x, *state, *flat)))
        ):
            h_TBH, *rest = native_layer.run_step(mode, x, layers, state)
            final = tuple(rest)
        else:
            h_TBH, final = self._layers(x, layers, state, lengths, dropping, mixed)
        if mixed:  # what torch's own return there
            out = kept_type if mode == "GRU" else torch.bfloat16
            h_TBH, final = h_TBH.to(out), tuple(s_LBH.to(out) for s_LBH in final)
        if packed is not None:
            if packed.unsorted_indices is not None:
                final = tuple(s_LBH.index_select(1, packed.unsorted_indices) for s_LBH in final)
            data_ND = h_TBH.flatten(0, 1) if lengths is None else pack(h_TBH, packed.batch_sizes)
            result: Any = PackedSequence(data_ND, *packed[1:])
        elif alone:
            result, final = h_TBH.squeeze(1), tuple(s_LBH.squeeze(1) for s_LBH in final)
        else:
            result = h_TBH.transpose(0, 1) if self.batch_first else h_TBH
        return result, final if mode == "LSTM" else final[0]

    def _layers(
        self,
        x_TBD: Tensor,
        layers: list[Weights],
        state: State,
        lengths: Tensor | None,
        dropping: bool,
        mixed: bool,
    ) -> tuple[Tensor, State]:
        """All layers: outputs (T, B, directions * H) and last states (L, B, H)."""
        directions = 2 if self.bidirectional else 1
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and dropping:
                x_TBD = drop(x_TBD, self.dropout, lengths)
            outputs = []
            for direction in range(directions):
                index = layer * directions + direction
                start = tuple(s_LBH[index] for s_LBH in state)
                source_TBD = flip(x_TBD, lengths) if direction else x_TBD
                h_TBH, *final = native_layer.run_layer(
                    self.mode, source_TBD, layers[index], start, lengths, mixed=mixed
                )
                outputs.append(flip(h_TBH, lengths) if direction else h_TBH)
                finals.append(tuple(final))
            x_TBD = outputs[0] if directions == 1 else torch.cat(outputs, dim=2)
        if len(finals) == 1:
            return x_TBD, tuple(s_BH.unsqueeze(0) for s_BH in finals[0])
        return x_TBD, tuple(torch.stack(states) for states in zip(*finals, strict=True))

    def _by_steps(self, input: Any, hx: Any) -> Any:
        """The whole call in plain torch, step by step."""
        packed = input if isinstance(input, PackedSequence) else None
        x: Tensor = input if packed is None else packed.data
        state: State = () if hx is None else tuple(hx) if self.mode == "LSTM" else (hx,)
        alone = packed is None and x.dim() == 2
        if packed is None and x.dim() not in (2, 3):
            raise ValueError(f"{self.mode}: Expected input to be 2D or 3D, got {x.dim()}D instead")
        if alone:
            x, state = x.unsqueeze(0 if self.batch_first else 1), tuple(s_LH.unsqueeze(1) for s_LH in state)
        sizes = None if packed is None else packed.batch_sizes
        P = self.proj_size or self.hidden_size
        rows = self.num_layers * (2 if self.bidirectional else 1)
        if not state:
            B = int(sizes[0]) if sizes is not None else x.shape[0 if self.batch_first else 1]
            state = tuple(
                x.new_zeros(rows, B, width) for width in (P, self.hidden_size)[: 2 if self.mode == "LSTM" else 1]
            )
        self.check_forward_args(x, cast(Any, state if self.mode == "LSTM" else state[0]), sizes)
        if packed is not None and packed.sorted_indices is not None:
            state = tuple(s_LBH.index_select(1, packed.sorted_indices) for s_LBH in state)
        if packed is None:
            inputs = list((x.transpose(0, 1) if self.batch_first else x).unbind(0))
        else:
            inputs = list(x.split(packed.batch_sizes.tolist()))
        flat, width = self._weights(), (4 if self.bias else 2) + (1 if self.proj_size else 0)
        finals: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout > 0:
                kept = F.dropout(torch.cat(inputs), self.dropout)
                inputs = list(kept.split([len(x_nD) for x_nD in inputs]))
            outputs = []
            for direction in range(2 if self.bidirectional else 1):
                index = len(finals)
                own = flat[index * width : (index + 1) * width]
                weights = own if self.bias else [*own[:2], None, None, *own[2:]]
                start = tuple(s_LBH[index] for s_LBH in state)
                out, final = run_steps(self.mode, inputs, weights, start, backwards=direction == 1)
                outputs.append(out)
                finals.append(final)
            inputs = [torch.cat(parts, dim=-1) for parts in zip(*outputs, strict=True)]
        last = tuple(torch.stack(states) for states in zip(*finals, strict=True))
        if packed is not None:
            if packed.unsorted_indices is not None:
                last = tuple(s_LBH.index_select(1, packed.unsorted_indices) for s_LBH in last)
            result: Any = PackedSequence(torch.cat(inputs), *packed[1:])
        else:
            result = torch.stack(inputs, dim=1 if self.batch_first else 0)
        if alone:
            result, last = result.squeeze(0 if self.batch_first else 1), tuple(s_LBH.squeeze(1) for s_LBH in last)
        return result, last if self.mode == "LSTM" else last[0]


class GRU(_Native, nn.GRU):
    """``torch.nn.GRU``, whose arguments, parameters and results these are; see :class:`_Native` for what is added."""

    torch_class = nn.GRU


class LSTM(_Native, nn.LSTM):
    """``torch.nn.LSTM``, whose arguments, parameters and results these are; see :class:`_Native` for what is added."""

    torch_class = nn.LSTM


class RNN(_Native, nn.RNN):
    """``torch.nn.RNN``, whose arguments, parameters and results these are; see :class:`_Native` for what is added."""

    torch_class = nn.RNN


def transformed() -> str:
    """Which of torch's transforms of single operations is on; empty where none is."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode derivatives"
    return ""


def padded(packed: PackedSequence) -> tuple[Tensor, Tensor | None]:
    """(T, B, D) and the lengths (B), or None where all are T."""
    sizes_T = packed.batch_sizes
    T, B = len(sizes_T), int(sizes_T[0])
    if int(sizes_T[-1]) == B:
        return packed.data.unflatten(0, (T, B)), None
    x_TBD, lengths_B = torch._VF._pad_packed_sequence(packed.data, sizes_T, False, 0.0, T)
    return x_TBD, lengths_B


def pack(x_TBD: Tensor, sizes_T: Tensor) -> Tensor:
    """The inverse of :func:`padded`: (N, D)."""
    lengths_B = (sizes_T[:, None] > torch.arange(x_TBD.shape[1], device="cpu")).sum(0)
    return torch._VF._pack_padded_sequence(x_TBD, lengths_B, False)[0]


def drop(x_TBD: Tensor, p: float, lengths: Tensor | None) -> Tensor:
    """Dropout of what is no padding, so that it draws as many numbers as ``torch.nn`` does."""
    if lengths is None:
        return F.dropout(x_TBD, p)
    data_ND, sizes_T = torch._VF._pack_padded_sequence(x_TBD, lengths, False)
    return torch._VF._pad_packed_sequence(F.dropout(data_ND, p), sizes_T, False, 0.0, len(x_TBD))[0]


def flip(x_TBD: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence backwards in time within its own length. What comes after that is not defined."""
    if lengths is None:
        return x_TBD.flip(0)
    index_TB = (lengths - 1 - torch.arange(len(x_TBD), device="cpu")[:, None]).clamp(min=0)
    return x_TBD.gather(0, index_TB[:, :, None].expand_as(x_TBD))


@functools.cache
def outside_of_graphs() -> Callable[..., Any]:
    """A call that ``torch.compile`` does not look into. Made late: that imports what takes a second."""
    return cast(Callable[..., Any], torch.compiler.disable(_Native._forward))


@functools.cache
def kernel_name(mode: str, dtype: torch.dtype, mixed: bool) -> str:
    """What reports call the compiled code."""
    return native.native_name(native.kernel(CELLS[mode], dtype, mixed=mixed).event)


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning, the first time in this process."""
    logging.getLogger(__name__).warning(text)
