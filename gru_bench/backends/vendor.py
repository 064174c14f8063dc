"""The vendor's kernels through ``torch.nn``: cuDNN on CUDA; on a CPU oneDNN (LSTM) or ATen's loop (RNN, GRU)."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gru_bench.backends.base import Backend, Stack, State, check_input
from gru_bench.cells.base import Cell

_RUN_HERE = "rnn, lstm and gru as torch.nn has them"


class VendorStack(Stack):
    """All layers as one ``torch.nn`` module, so that cuDNN is measured with its own layers.

    torch keeps a second bias vector a gate that is redundant except for the GRU's candidate. It starts at zero here
    and its gradient is held at zero, so the module trains exactly as the cell does.

    Nothing is packed. With unequal lengths the sequence is cut at each distinct length and the sequences still alive
    go on from their state: exact, without a step on padding, at the price of one call a distinct length.
    """

    def __init__(self, cells: Sequence[Cell], dropout: float) -> None:
        super().__init__()
        first = cells[0]
        mode = cast(str, first.vendor)
        module = {"RNN_TANH": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}[mode]
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
        if state is None:
            h_TBH, final = self.module(x_TBD)
        else:
            contiguous = tuple(s_LBH.contiguous() for s_LBH in state)
            h_TBH, final = self.module(x_TBD, contiguous if self.num_states > 1 else contiguous[0])
        return h_TBH, final if self.num_states > 1 else (final,)

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
            pieces.append(h_tbH.new_zeros(end - start, B, h_tbH.shape[2]).index_copy(1, alive, h_tbH))
            # rows that go on are written again at the next cut
            final = tuple(f_LBH.index_copy(1, alive, s_LBH) for f_LBH, s_LBH in zip(final, state, strict=True))
            start = end
        if start < T:
            pieces.append(x_TBD.new_zeros(T - start, B, self.hidden_size))
        return torch.cat(pieces), final

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
    """Runs the cells that ``torch.nn`` computes exactly."""

    name: ClassVar[str] = "vendor"

    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str | None:
        if cell.vendor is None:
            return f"backend=vendor does not run {describe(cell)}: it runs {_RUN_HERE}. backend=loop runs every cell"
        return None

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return VendorStack(cells, dropout)


def describe(cell: Cell) -> str:
    """A cell's class, with its activation where that decides."""
    activation = getattr(cell, "activation", None)
    return type(cell).__name__ + (f"(activation={activation})" if activation else "")
