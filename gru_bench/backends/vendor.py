"""The vendor's kernels through ``torch.nn``: cuDNN on CUDA; on a CPU oneDNN (LSTM) or ATen's loop (RNN, GRU)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gru_bench.backends.base import Backend, Mark, Stack, State, Stepper, check_batch_size, check_input, check_step
from gru_bench.backends.cudnn import cudnn_name
from gru_bench.cells.base import Cell
from gru_bench.errors import Unsupported, UserError

_RUN_HERE = "rnn, lstm and gru as torch.nn has them"


@contextmanager
def onednn_off() -> Iterator[None]:
    """Switch oneDNN off in this process; afterwards the setting is as it was, also after an exception."""
    # torch.backends.mkldnn.flags() would set the setting for TF32 too, and warn of it on a CPU
    switch: Any = torch.backends.mkldnn
    before = switch.enabled
    switch.enabled = False
    try:
        yield
    finally:
        switch.enabled = before


class WithoutOneDNN(torch.autograd.Function):
    """Runs a part of a network with oneDNN off in both directions.

    Switching it off around the forward call is not enough: the products of the backward pass ask again, when it runs
    (seen in bfloat16). So that part has a graph of its own, walked inside this one's backward.
    """

    @staticmethod
    def forward(ctx: Any, run: Callable[..., tuple[Tensor, ...]], num_given: int, *tensors: Tensor) -> Any:
        """``run(*given)``; after the given tensors come the parameters that ``run`` uses by itself."""
        given = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors[:num_given]]
        with torch.enable_grad(), onednn_off():
            ctx.outputs = run(*given)
        ctx.leaves = (*given, *tensors[num_given:])
        return tuple(output.detach() for output in ctx.outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Gradients of everything given and of the parameters."""
        if torch.is_grad_enabled():  # create_graph=True: what follows would drop the second derivative without a word
            raise UserError("backend=vendor with onednn=false has no second derivative: take onednn=true")
        wanted = [leaf for leaf in ctx.leaves if leaf.requires_grad]
        with onednn_off():
            found = iter(torch.autograd.grad(ctx.outputs, wanted, grads, allow_unused=True))
        return None, None, *(next(found) if leaf.requires_grad else None for leaf in ctx.leaves)


class VendorStack(Stack):
    """All layers as one ``torch.nn`` module, so that cuDNN is measured with its own layers.

    torch keeps a second bias vector per gate, which is redundant except for the GRU's candidate. It starts at zero here
    and its gradient is held at zero, so the module trains exactly as the cell does.

    Nothing is packed. With unequal lengths the sequence is cut at each distinct length and the sequences still alive
    go on from their state: exact, without a step on padding, at the price of one call per distinct length.

    With oneDNN off, a second derivative is refused, and a second backward pass over a kept graph raises.
    """

    def __init__(self, cells: Sequence[Cell], dropout: float, onednn: bool = True) -> None:
        super().__init__()
        self.onednn = onednn
        first = cells[0]
        mode = cast(str, first.vendor)
        modules: dict[str, Callable[..., nn.RNNBase]] = {
            "RNN_TANH": nn.RNN,
            "RNN_RELU": partial(nn.RNN, nonlinearity="relu"),
            "LSTM": nn.LSTM,
            "GRU": nn.GRU,
        }
        module = modules[mode]
        self.num_layers = len(cells)
        self.hidden_size = first.hidden_size
        self.num_states = len(first.states)
        with torch.device("meta"):  # allocate nothing and draw nothing: all values come from the cells
            self.module = module(first.input_size, first.hidden_size, len(cells), dropout=dropout)
        self.module.to_empty(device=first.W.device)
        self.module.to(first.W.dtype)
        self.num_redundant: int = first.b.numel()
        with torch.no_grad():
            for layer, cell in enumerate(cells):
                W, U, b, b_hh = self._weights(layer)
                W.copy_(cell.W)
                U.copy_(cell.U)
                b.copy_(cell.b)
                b_hh.zero_()
                trained = getattr(cell, "b_hn", None)
                if trained is not None:
                    self.num_redundant = b_hh.numel() - trained.numel()
                    b_hh[self.num_redundant :] = trained
        self._hold_redundant()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold_redundant()  # a copied or unpickled parameter has lost its hooks

    def _hold_redundant(self) -> None:
        """Keep the redundant biases where they are: at zero."""
        for layer in range(self.num_layers):
            b_hh = self._weights(layer)[3]
            if self.num_redundant == b_hh.numel():
                b_hh.requires_grad_(False)
            else:
                num = self.num_redundant
                b_hh.register_hook(lambda grad, num=num: torch.cat([grad.new_zeros(num), grad[num:]]))

    def _weights(self, layer: int) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter, nn.Parameter]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return cast(
            tuple[nn.Parameter, nn.Parameter, nn.Parameter, nn.Parameter],
            tuple(getattr(self.module, f"{name}_l{layer}") for name in names),
        )

    @property
    def num_redundant_parameters(self) -> int:
        """How many of the trainable numbers that torch counts are held at zero, over all layers."""
        trainable = self._weights(0)[3].requires_grad
        return self.num_layers * self.num_redundant if trainable else 0

    def _call(self, x_TBD: Tensor, state: State | None) -> tuple[Tensor, State]:
        given = (x_TBD, *(s_LBH.contiguous() for s_LBH in state or ()))
        if self.onednn:
            h_TBH, *final = self._run(*given)
        elif torch.is_grad_enabled():
            trained = (parameter for parameter in self.module.parameters() if parameter.requires_grad)
            h_TBH, *final = WithoutOneDNN.apply(self._run, len(given), *given, *trained)
        else:
            with onednn_off():
                h_TBH, *final = self._run(*given)
        check_type(h_TBH)
        return h_TBH, tuple(final)

    def _run(self, x_TBD: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The module's outputs and final states, flat."""
        if self.num_states > 1:
            h_TBH, final = self.module(x_TBD, state or None)
            return h_TBH, *final
        return self.module(x_TBD, *state)

    def forward(self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        check_input(x_TBD, lengths)
        if lengths is None:
            return self._call(x_TBD, state)
        T, B = x_TBD.shape[:2]
        if state is None:
            zeros_LBH = x_TBD.new_zeros(self.num_layers, B, self.hidden_size)
            state = (zeros_LBH,) * self.num_states
        lengths = lengths.to(x_TBD.device)
        pieces: list[Tensor] = []
        final = state
        start = 0
        alive = torch.arange(B, device=x_TBD.device)
        for end in lengths.unique(sorted=True).tolist():
            going = lengths[alive] > start
            alive = alive[going]
            state = tuple(s_LBH[:, going] for s_LBH in state)
            h_tbH, state = self._call(x_TBD[start:end].index_select(1, alive), state)
            # under autocast kernels differ in the type of their states
            state = tuple(s_LBH.to(f_LBH.dtype) for s_LBH, f_LBH in zip(state, final, strict=True))
            pieces.append(h_tbH.new_zeros(end - start, B, h_tbH.shape[2]).index_copy(1, alive, h_tbH))
            # rows that go on are written again at the next cut
            final = tuple(f_LBH.index_copy(1, alive, s_LBH) for f_LBH, s_LBH in zip(final, state, strict=True))
            start = end
        if start < T:
            pieces.append(x_TBD.new_zeros(T - start, B, self.hidden_size))
        return torch.cat(pieces), final

    def stepper(self, batch_size: int) -> Stepper:
        if not self.onednn:
            return super().stepper(batch_size)
        check_batch_size(batch_size)
        module, num_states = self.module, self.num_states
        returned: State | None = None  # by the last step: not looked at again where it comes back

        def step(x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
            nonlocal returned
            if torch.is_grad_enabled():
                with torch.no_grad():
                    return step(x_BD, state)
            new = state is not returned
            check_step(x_BD, state if new else None, batch_size)
            if new and state is not None:
                if len(state) != num_states:
                    raise UserError(f"this step takes {num_states} of states (L, B, H), got {len(state)}")
                state = tuple(s_LBH.contiguous() for s_LBH in state)  # cuDNN takes no others
            given = state[0] if state is not None and num_states == 1 else state
            h_TBH, final = module(x_BD[None], given)
            check_type(h_TBH)
            returned = final if num_states > 1 else (final,)
            return h_TBH[0], returned

        return step

    def cell_tensors(self, *, grad: bool = False) -> list[dict[str, Tensor]]:
        layers = []
        for layer in range(self.num_layers):
            W, U, b, b_hh = (cast(Tensor, p.grad if grad else p.detach()) for p in self._weights(layer))
            tensors = {"W": W, "U": U, "b": b}
            if self._weights(layer)[3].requires_grad:
                tensors["b_hn"] = b_hh[self.num_redundant :]
            layers.append(tensors)
        return layers


class Vendor(Backend):
    """Runs the cells that ``torch.nn`` computes exactly.

    Args:
        onednn: Whether torch may use oneDNN on a CPU. Its fused layer exists for the LSTM alone; without it the LSTM
            runs in the same loop of ATen as the RNN and the GRU, which makes their speeds comparable. It then acts
            on this stack's forward and backward pass only.
    """

    name: ClassVar[str] = "vendor"
    marks: ClassVar[tuple[Mark, ...]] = (
        Mark("aten::_cudnn_rnn", lambda _, on_device: cudnn_name(on_device)),
        Mark("aten::miopen_rnn", "MIOpen"),
        Mark("aten::mkldnn_rnn_layer", "oneDNN"),
        # the operators behind torch.nn: where nothing fused ran inside, ATen looped over the steps itself
        *(Mark(f"aten::{name}", "ATen loop") for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
    )
    honors_autocast: ClassVar[bool] = True

    def __init__(self, *, onednn: bool = True) -> None:
        self.onednn = onednn

    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str | None:
        this = "backend=vendor" if self.onednn else "backend=vendor with onednn=false"
        if cell.vendor is None:
            return f"{this} does not run {describe(cell)}: it runs {_RUN_HERE}. backend=loop runs every cell"
        if not self.onednn and device.type != "cpu":
            return f"{this} means nothing on {device.type}, where oneDNN never runs: take backend=vendor"
        return None

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return VendorStack(cells, dropout, self.onednn)


def check_type(h_TBH: Tensor) -> None:
    """Refuse float16 where mixed precision asked for bfloat16: its largest number is 65504, and no loss is scaled here.

    torch's autocast hands every recurrent layer on CUDA to cuDNN in float16, whatever type was asked for
    (``_cudnn_rnn_cast_reflatten`` in ATen/cudnn/AutocastRNN.cpp); should a version of torch change that, nothing is
    refused.

    Raises:
        Unsupported: The layer ran in float16.
    """
    if h_TBH.dtype is not torch.float16:
        return
    kind = h_TBH.device.type
    if torch.is_autocast_enabled(kind):
        asked = torch.get_autocast_dtype(kind)
        if asked is not torch.float16:
            raise Unsupported(
                f"backend=vendor does not run dtype={str(asked)[6:]} on {kind}: torch's mixed precision gives cuDNN "
                "float16 there. backend=loop runs every cell in it; valid here: dtype=float32"
            )


def describe(cell: Cell) -> str:
    """A cell's class, with its activation where that decides."""
    activation = getattr(cell, "activation", None)
    return type(cell).__name__ + (f"(activation={activation})" if activation else "")
