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
Saved = tuple[Tensor, ...]
Init = Literal["uniform", "keras"]


def chrono_bias(num_units: int, steps: int, generator: torch.Generator) -> Tensor:
    """Initial biases (H) of a gate that keeps the old state: units that remember for 2 to ``steps`` steps.

    A gate at sigma(log(t - 1)) = 1 - 1/t forgets over about t steps; t - 1 is drawn from U(1, steps - 1). Tallec and
    Ollivier (2018), arXiv:1804.11188.
    """
    return torch.empty(num_units).uniform_(1, steps - 1, generator=generator).log_()


class Cell(nn.Module):
    """One time step of a recurrent network.

    A subclass declares its ``gates`` in the order in which they are stacked, its ``states``, and ``step``.
    The base class holds one input weight ``W`` (G, D), one recurrent weight ``U`` (G, H) and one bias ``b`` (G).
    Where only some gates see the old state through a matrix, ``recurrent`` names them and U has their rows alone;
    where none does, there is no U.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values. The same generator state gives the same cell.
        init: ``uniform`` draws W and U from U(-1/sqrt(H), 1/sqrt(H)), as torch does; ``keras`` draws W from
            Glorot's uniform distribution and makes U orthogonal, over all gates at once, as Keras does.
            Biases start at zero in both, unless a cell defines otherwise.
    """

    family: ClassVar[str]
    """Whose variant it is: the name of the cell that stands for the family, ``rnn``, ``lstm`` or ``gru``. It gives rows
    their order, figures their hue, and the cell its family's learning rate where it has none of its own. A cell of
    another kind names itself: it comes after these three, in the hue of all others."""
    gates: ClassVar[tuple[str, ...]]
    states: ClassVar[tuple[str, ...]] = ("h",)
    recurrent: ClassVar[tuple[str, ...] | None] = None
    """The gates that have a recurrent weight, in the order of ``gates``. None: all of them."""
    least_units: ClassVar[int] = 1
    """Hidden units from which the equations are well conditioned; checks against rounding look no lower."""
    gating: ClassVar[tuple[str, ...]] = ()
    """Gates in the narrow sense: values between 0 and 1 that something is multiplied by. Probes look at them."""
    keeps: ClassVar[str] = ""
    """What the old memory, the last of ``states``, is multiplied by on its direct way into the new one: a name that
    ``gate_values`` gives, such as ``z``, or ``1 - z``; empty where it comes through U alone."""
    saves: ClassVar[tuple[str, ...]] = ()
    """Names of the first values that ``save`` returns besides the states; empty where these are the ``gates``."""

    def __init__(
        self, input_size: int, hidden_size: int, generator: torch.Generator, /, *, init: Init = "uniform"
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        num_rows = len(self.gates) * hidden_size
        self.W = nn.Parameter(torch.empty(num_rows, input_size))
        recurrent_rows = num_rows if self.recurrent is None else len(self.recurrent) * hidden_size
        if recurrent_rows > 0:
            self.U = nn.Parameter(torch.empty(recurrent_rows, hidden_size))
        self.b = nn.Parameter(torch.zeros(num_rows))
        if not self.W.is_meta:  # a model on the meta device is only counted
            self._draw(generator, init)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator, init: Init) -> None:
        if init == "uniform":
            bound = 1 / math.sqrt(self.hidden_size)
            self.W.uniform_(-bound, bound, generator=generator)
            if self.recurrent != ():
                self.U.uniform_(-bound, bound, generator=generator)
        elif init == "keras":
            nn.init.xavier_uniform_(self.W, generator=generator)
            if self.recurrent != ():
                nn.init.orthogonal_(self.U, generator=generator)
        else:
            raise ValueError(f"init must be 'uniform' or 'keras', got {init!r}")

    @property
    def vendor(self) -> str | None:
        """Name of the ``torch.nn`` recurrent mode that computes exactly this cell, or None."""
        return None

    @property
    def bounded(self) -> bool:
        """Whether no state can grow exponentially with the steps: ReLU and a recurrent weight above 1 let it."""
        return True

    @property
    def num_products(self) -> int:
        """Multiplications by weights of one step of one sequence: each entry of W and U is used once."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.dim() > 1)

    def initial_state(self, batch_size: int) -> State:
        """Zeros, one (B, H) tensor a state."""
        return tuple(self.W.new_zeros(batch_size, self.hidden_size) for _ in self.states)

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        """The part of all gates that needs no state, for all steps in one product: (T, B, D) -> (T, B, G).

        In the parameters' type, also where autocast computes the product in a smaller one: gates and states are kept
        in the larger.
        """
        return F.linear(x_TBD, self.W, self.b).to(self.W.dtype)

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step.

        Args:
            gx_BG: One step of ``input_projection``.
            state: One (B, H) tensor for each name in ``states``.

        Returns:
            The output (B, H) and the new state.
        """
        new_state, _ = self.save(gx_BG, state)
        return new_state[0], new_state

    def gate_values(self, gx_BG: Tensor, state: State) -> dict[str, Tensor]:
        """What probes see of one step: values (B, H) by name, all of ``gating`` and what ``keeps`` needs among them.

        A cell that declares neither has none. One that declares ``step`` and no ``save`` has a method of its own.
        """
        if not (self.gating or self.keeps):
            return {}
        return dict(zip(self.saves or self.gates, self.save(gx_BG, state)[1], strict=False))

    def kept(self, values: dict[str, Tensor]) -> Tensor | None:
        """The share (B, H) of the old memory that the new one has, as ``keeps`` says; None without."""
        if not self.keeps:
            return None
        name = self.keeps.removeprefix("1 - ")
        return values[name] if name == self.keeps else 1 - values[name]

    # What a cell may declare whose new state is linear in the old one, so that all steps can be computed at once.

    @property
    def is_linear(self) -> bool:
        """Whether the cell declares its :meth:`coefficients`."""
        return type(self).coefficients is not Cell.coefficients

    def coefficients(self, gx_TBG: Tensor) -> tuple[Tensor, Tensor]:
        r"""Of :math:`h_t = a_t \odot h_{t-1} + b_t`, for all steps at once; h is the only state and the output.

        Args:
            gx_TBG: All steps of ``input_projection``.

        Returns:
            a and b, each (T, B, H), a between 0 and 1. Autograd differentiates them.
        """
        raise NotImplementedError(f"{type(self).__name__} is not linear in its state")

    # The hand-derived backward pass, which a cell may declare: save, slopes and backward_step, and the two below them
    # where their defaults do not fit. The output is then the first state. Autograd is not used inside.

    @property
    def has_backward(self) -> bool:
        """Whether the cell declares its backward pass; else only a backend that differentiates ``step`` runs it."""
        cls = type(self)
        # a subclass with a step of its own computes something other than the backward pass that it inherits
        return cls.step is Cell.step and cls.backward_step is not Cell.backward_step

    @property
    def name(self) -> str:
        """The name of these equations, by which native code for them is found."""
        return type(self).__name__

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        """One time step, as :meth:`step`.

        Returns:
            The new state, and what :meth:`slopes` needs besides the states, each of shape (B, H).
        """
        raise NotImplementedError(f"{type(self).__name__} declares neither step nor save")

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        """What the backward pass multiplies with, for all steps at once: it waits for no gradient.

        Args:
            saved: What :meth:`save` returned, each stacked to (T, B, H).
            old: The states before each step, each (T, B, H).
            new: The states after each step, each (T, B, H).

        Returns:
            Tensors whose first dimension is T, of which :meth:`backward_step` gets one step.
        """
        raise NotImplementedError(f"{type(self).__name__} declares no backward pass")

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        """One step back.

        Args:
            slopes: One step of :meth:`slopes`.
            dstate: Gradient of the new state, that of the output included; one (B, H) tensor a state.
            U_GH: The recurrent weight that the step was made with; without rows where the cell has none.

        Returns:
            Gradient (B, G) of the gates' recurrent products, stacked as ``gates``, and that of the old state.
        """
        raise NotImplementedError(f"{type(self).__name__} declares no backward pass")

    def input_gradient(self, slopes: tuple[Tensor, ...], dproducts_TBG: Tensor, dstates: State) -> Tensor:
        """Gradient (T, B, G) of the input projection: that of the recurrent products, where the two are only added.

        Args:
            slopes: All steps of :meth:`slopes`.
            dproducts_TBG: All steps of what :meth:`backward_step` returned first.
            dstates: All steps of what it was given, each (T, B, H).
        """
        return dproducts_TBG

    def parameter_gradients(self, dproducts_TBG: Tensor, saved: Saved, old: State) -> dict[str, Tensor]:
        """Gradients of all parameters but W and b, which belong to the input projection; each is one product or sum.

        Args:
            dproducts_TBG: All steps of what :meth:`backward_step` returned first.
            saved: As in :meth:`slopes`.
            old: As in :meth:`slopes`.
        """
        if self.recurrent == ():
            return {}
        return {"U": dproducts_TBG.flatten(0, 1).T @ old[0].flatten(0, 1)}
