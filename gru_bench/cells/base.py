"""What every cell shares: its parameters, their initialisation and the input projection.

Shape letters, here and everywhere in gru_bench:
T time steps, B batch, D input features, H hidden units, G stacked gates (number of gates times H),
L layers times directions, V vocabulary, C classes.
"""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, ...]
Init = Literal["uniform", "keras"]


class Cell(nn.Module):
    """One time step of a recurrent network.

    A subclass declares its ``gates`` in the order in which they are stacked, its ``states``, and ``step``.
    The base class holds one input weight ``W`` (G, D), one recurrent weight ``U`` (G, H) and one bias ``b`` (G).

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values. The same generator state gives the same cell.
        init: ``uniform`` draws W and U from U(-1/sqrt(H), 1/sqrt(H)), as torch does; ``keras`` draws W from
            Glorot's uniform distribution and makes U orthogonal, over all gates at once, as Keras does.
            Biases start at zero in both, unless a cell says otherwise.
    """

    family: ClassVar[str]
    gates: ClassVar[tuple[str, ...]]
    states: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self, input_size: int, hidden_size: int, generator: torch.Generator, /, *, init: Init = "uniform"
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        num_rows = len(self.gates) * hidden_size
        self.W = nn.Parameter(torch.empty(num_rows, input_size))
        self.U = nn.Parameter(torch.empty(num_rows, hidden_size))
        self.b = nn.Parameter(torch.zeros(num_rows))
        if not self.W.is_meta:  # a model on the meta device is only counted
            self._draw(generator, init)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator, init: Init) -> None:
        if init == "uniform":
            bound = 1 / math.sqrt(self.hidden_size)
            self.W.uniform_(-bound, bound, generator=generator)
            self.U.uniform_(-bound, bound, generator=generator)
        elif init == "keras":
            nn.init.xavier_uniform_(self.W, generator=generator)
            nn.init.orthogonal_(self.U, generator=generator)
        else:
            raise ValueError(f"init must be 'uniform' or 'keras', got {init!r}")

    @property
    def vendor(self) -> str | None:
        """Name of the ``torch.nn`` recurrent mode that computes exactly this cell, or None."""
        return None

    def initial_state(self, batch_size: int) -> State:
        """Zeros, one (B, H) tensor a state."""
        return tuple(self.U.new_zeros(batch_size, self.hidden_size) for _ in self.states)

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        """The part of all gates that needs no state, for all steps in one product: (T, B, D) -> (T, B, G)."""
        return F.linear(x_TBD, self.W, self.b)

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step.

        Args:
            gx_BG: One step of ``input_projection``.
            state: One (B, H) tensor for each name in ``states``.

        Returns:
            The output (B, H) and the new state.
        """
        raise NotImplementedError
