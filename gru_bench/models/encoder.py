"""Recurrent layers over a sequence, in one direction or both."""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from gru_bench.backends.base import Backend, Stack, State, Stepper, zero_padding
from gru_bench.cells.base import Cell
from gru_bench.errors import UserError
from gru_bench.models.init import redraw
from gru_bench.models.streams import Streams

MakeCell = Callable[[int, int, torch.Generator], Cell]
"""``cell(input_size, hidden_size, generator)``: a cell's yaml, instantiated with ``_partial_``."""


class BuildEncoder(Protocol):
    """What a model is given to build its recurrent layers: input size and streams come from the model."""

    def __call__(
        self,
        input_size: int,
        streams: Streams,
        /,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        init_range: float | None = None,
    ) -> "Encoder": ...


class Encoder(nn.Module):
    """A stack of recurrent layers.

    Args:
        input_size: D.
        make_cell: Makes one cell from input size, hidden size and generator.
        backend: Runs the cells.
        streams: Sources of the initial values: ``layer0.forward``, ``layer0.backward``, ``layer1.forward`` ...
        hidden_size: H of each direction.
        num_layers: Layers.
        device: Where it will run; asked only to let the backend refuse.
        dtype: In which type it will run; likewise.
        bidirectional: Adds a second direction to each layer. Outputs of both are concatenated, forward first.
        dropout: Probability of a zero between layers, in training only.
        resizable: Whether a budget chose the hidden size, so that a model must have the same parts at every size.
        init_range: Draw all parameters of the cells, biases too, from U(-init_range, init_range) instead of the
            cell's own initial values; None for these.

    Shapes:
        x: (T, B, D). Output: (T, B, H) or (T, B, 2 * H). State: one (L, B, H) tensor for each of the cell's states,
        with L the layers times the directions, ordered as in torch: layer 0 forward, layer 0 backward, layer 1 ...

    Attributes:
        state_size: Numbers that all layers and directions carry from one step to the next: L * H for each state.

    The backward direction flips each sequence within its own length, so padding never reaches a state. Its layers
    are separate stacks, run after the forward ones.
    """

    def __init__(
        self,
        input_size: int,
        make_cell: MakeCell,
        backend: Backend,
        streams: Streams,
        /,
        *,
        hidden_size: int,
        num_layers: int,
        device: torch.device,
        dtype: torch.dtype,
        bidirectional: bool = False,
        dropout: float = 0.0,
        resizable: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.bidirectional = bidirectional
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.resizable = resizable
        self.output_size = hidden_size * (2 if bidirectional else 1)
        sizes = [input_size] + [self.output_size] * (num_layers - 1)

        def make(layer: int, direction: str) -> Cell:
            generator = streams(f"layer{layer}.{direction}")
            cell = make_cell(sizes[layer], hidden_size, generator)
            if init_range is not None:
                redraw(cell, init_range, generator)  # before a backend makes anything of the cell's values
            self.state_size += hidden_size * len(cell.states)
            return cell

        self.state_size = 0
        if bidirectional:
            # one stack a layer and direction: flipping happens between layers
            self.stacks = nn.ModuleList(
                backend.stack([make(layer, direction)], device, dtype)
                for layer in range(num_layers)
                for direction in ("forward", "backward")
            )
            self.dropout = nn.Dropout(dropout)
        else:
            cells = [make(layer, "forward") for layer in range(num_layers)]
            self.stacks = nn.ModuleList([backend.stack(cells, device, dtype, dropout=dropout)])

    def forward(self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run all layers; see :class:`~gru_bench.backends.base.Stack` for the meaning of ``lengths``."""
        if lengths is not None and bool((lengths == x_TBD.shape[0]).all()):
            lengths = None  # nothing is padded: the whole-sequence path of every backend
        if not self.bidirectional:
            return self.stacks[0](x_TBD, state, lengths)
        finals: list[State] = []
        for layer in range(self.num_layers):
            if layer > 0:
                x_TBD = self.dropout(x_TBD)
            outputs = []
            for direction in range(2):
                index = 2 * layer + direction
                start = None if state is None else tuple(s_LBH[index : index + 1] for s_LBH in state)
                source_TBD = x_TBD if direction == 0 else flip(x_TBD, lengths)
                h_TBH, final = self.stacks[index](source_TBD, start, lengths)
                outputs.append(h_TBH if direction == 0 else flip(h_TBH, lengths))
                finals.append(final)
            x_TBD = torch.cat(outputs, dim=2)
        return x_TBD, tuple(torch.cat(states) for states in zip(*finals, strict=True))

    def stepper(self, batch_size: int) -> Stepper:
        """One step a call, for inference; see :meth:`gru_bench.backends.base.Stack.stepper`.

        Raises:
            UserError: The encoder is bidirectional, or the batch size is below 1.
        """
        if self.bidirectional:
            raise UserError("bidirectional=true has no single steps: the backward direction starts at the last one")
        return cast(Stack, self.stacks[0]).stepper(batch_size)


def flip(x_TBD: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse each sequence in time within its own length; padding stays at the end, as zeros."""
    if lengths is None:
        return x_TBD.flip(0)
    lengths = lengths.to(x_TBD.device)
    steps_T = torch.arange(x_TBD.shape[0], device=x_TBD.device)
    index_TB = (lengths[None, :] - 1 - steps_T[:, None]).clamp(min=0)
    flipped_TBD = x_TBD.gather(0, index_TB[:, :, None].expand_as(x_TBD))
    return zero_padding(flipped_TBD, lengths)


def last_output(h_TBH: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence's output at its last step: (T, B, H) -> (B, H)."""
    if lengths is None:
        return h_TBH[-1]
    rows_B = torch.arange(h_TBH.shape[1], device=h_TBH.device)
    return h_TBH[lengths.to(h_TBH.device) - 1, rows_B]


def state_size(model: nn.Module) -> int:
    """Numbers that all recurrent layers of a model carry from one step to the next."""
    return sum(module.state_size for module in model.modules() if isinstance(module, Encoder))


def num_parameters(model: nn.Module) -> int:
    """Trainable numbers, without a vendor's redundant biases that are held at zero."""
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return total - sum(getattr(module, "num_redundant_parameters", 0) for module in model.modules())
