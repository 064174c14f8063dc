"""What is held equal between cells: each budget turns the hidden size asked for into the one a cell gets."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from gru_bench.models.encoder import MakeCell, num_parameters
from gru_bench.models.products import flops_a_token

Count = Callable[[MakeCell, int], int]
"""``count(make_cell, hidden_size)``: what the budget counts of the whole model with that cell and size."""


class Budget:
    """What is held equal between cells.

    Attributes:
        resizes: Whether cells may get another size than the one asked for. A model then has the same parts at every
            size, as :class:`~gru_bench.models.language_model.LanguageModel` explains for its projection: else what is
            counted would jump where a part comes or goes.
    """

    resizes: ClassVar[bool] = True

    def count(self, model: nn.Module, /) -> int:
        """What is counted of a model whose layers run on ``backend=loop``: its trainable parameters."""
        return num_parameters(model)

    def solve(self, hidden_size: int, make_cell: MakeCell, count: Count, /) -> int:
        """The hidden size that a cell gets where ``hidden_size`` is asked for."""
        raise NotImplementedError


class Hidden(Budget):
    """Equal hidden size: every cell gets the size asked for."""

    resizes = False

    def solve(self, hidden_size: int, make_cell: MakeCell, count: Count, /) -> int:
        """The size asked for."""
        return hidden_size


class Parameters(Budget):
    """Equal parameters: the size at which the whole model comes closest to the reference cell's model.

    Args:
        reference: The cell whose model with the size asked for sets the number.

    A GRU gets about 1.15 to 1.21 times the LSTM's size, a plain RNN about twice; the embedding and the head count
    too, so the size is solved on the model as it will be trained.
    """

    def __init__(self, *, reference: MakeCell) -> None:
        self.reference = reference

    def solve(self, hidden_size: int, make_cell: MakeCell, count: Count, /) -> int:
        """The hidden size whose count is nearest to the reference's; the smaller one of two equally near."""
        wanted = count(self.reference, hidden_size)
        if count(make_cell, hidden_size) == wanted:
            return hidden_size  # the reference itself, and what has as many parameters
        low, high = 1, 2
        while count(make_cell, high) < wanted:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if count(make_cell, middle) < wanted:
                low = middle
            else:
                high = middle
        return min((low, high), key=lambda size: abs(count(make_cell, size) - wanted))


class Flops(Parameters):
    """Equal arithmetic: the size at which a token costs the whole model as many operations as the reference cell's.

    Args:
        reference: The cell whose model with the size asked for sets the number.

    Counted are the products of a token's forward pass, of which the backward pass has twice as many; see
    :func:`~gru_bench.models.products.flops_a_token`. Every weight of a recurrent layer is used once a token, so for
    the layers alone this is ``budget=parameters`` without the biases: a GRU gets 1.155 (the root of 4 / 3) to 1.21
    times the LSTM's size and a plain RNN 2 to 2.37 times, the more the more of a layer's inputs come from outside the
    layers. That holds for at most as many such inputs as units; with more, both rise on, towards 4 / 3 and 4. The same
    sizes come out as of ``budget=parameters``, or nearly so: what has parameters and costs a token no products, such as
    an embedding or a classifier's last layers, hardly grows with the hidden size. That is worth knowing: equal
    parameters are equal arithmetic.
    """

    def count(self, model: nn.Module, /) -> int:
        """Operations of a token's forward pass."""
        return flops_a_token(model)


class State(Budget):
    """Equal state: every cell carries as many floats from step to step as the reference cell of the size asked for.

    Args:
        reference: The cell whose states of the size asked for set the number, for each layer and direction.

    An LSTM of H units carries h and c, 2 * H floats; a GRU or a plain RNN with the same memory has 2 * H units.
    """

    def __init__(self, *, reference: MakeCell) -> None:
        self.reference = reference

    def solve(self, hidden_size: int, make_cell: MakeCell, count: Count, /) -> int:
        """The hidden size whose state is nearest to the reference's; the smaller one of two equally near."""
        wanted, states = num_states(self.reference) * hidden_size, num_states(make_cell)
        units, rest = divmod(wanted, states)
        return max(1, units + (2 * rest > states))


def num_states(make_cell: MakeCell) -> int:
    """Floats that a cell carries from one step to the next, for each of its units."""
    with torch.device("meta"):
        return len(make_cell(1, 1, torch.Generator("cpu")).states)
