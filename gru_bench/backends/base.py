"""The contract of a backend, and what every stack of layers does with lengths.

A backend turns a list of cells, one per layer, into a :class:`Stack`. Stacks run forward in time; both directions are
put together in ``models/encoder.py``. Shape letters: see ``cells/base.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from gru_bench.cells.base import Cell
from gru_bench.errors import Unsupported, UserError

State = tuple[Tensor, ...]
Stepper = Callable[[Tensor, State | None], tuple[Tensor, State]]
"""``step(x_BD, state) -> (out_BH, state)``: one step of inference, the state (L, B, H) carried by the caller."""


def check_input(x_TBD: Tensor, lengths: Tensor | None) -> None:
    """Refuse an empty sequence or batch, and lengths below 1 or beyond T.

    Raises:
        UserError: naming the size that is wrong.
    """
    if x_TBD.dim() != 3 or x_TBD.shape[0] == 0 or x_TBD.shape[1] == 0:
        raise UserError(f"a layer takes (T, B, D) with T and B at least 1, got {tuple(x_TBD.shape)}")
    if lengths is not None:
        if lengths.shape != (x_TBD.shape[1],):
            raise UserError(f"one length per sequence: expected ({x_TBD.shape[1]},), got {tuple(lengths.shape)}")
        low, high = int(lengths.min()), int(lengths.max())
        if low < 1 or high > x_TBD.shape[0]:
            raise UserError(f"lengths must lie in 1..{x_TBD.shape[0]} (T), got {low}..{high}")


def check_batch_size(batch_size: int) -> None:
    """Refuse a stepper without sequences.

    Raises:
        UserError: naming the size.
    """
    if batch_size < 1:
        raise UserError(f"a stepper's batch size must be at least 1, got {batch_size}")


def check_step(x_BD: Tensor, state: State | None, batch_size: int) -> None:
    """Refuse a step whose input or state is not of the stepper's batch size.

    Raises:
        UserError: naming the size that is wrong.
    """
    if x_BD.dim() != 2 or x_BD.shape[0] != batch_size:
        raise UserError(f"a stepper of batch size {batch_size} takes ({batch_size}, D), got {tuple(x_BD.shape)}")
    for s_LBH in state or ():
        if s_LBH.dim() != 3 or s_LBH.shape[1] != batch_size:
            raise UserError(f"states of this stepper are (L, {batch_size}, H), got {tuple(s_LBH.shape)}")


def zero_padding(h_TBH: Tensor, lengths: Tensor) -> Tensor:
    """Set all outputs at and past each sequence's length to zero."""
    steps_T = torch.arange(h_TBH.shape[0], device=h_TBH.device)
    alive_TB = steps_T[:, None] < lengths[None, :].to(h_TBH.device)
    return torch.where(alive_TB[:, :, None], h_TBH, torch.zeros((), dtype=h_TBH.dtype, device=h_TBH.device))


def refuse_second_derivative(backend: str) -> None:
    """To be called in a backward pass that autograd cannot differentiate again: it would drop terms without a word.

    Raises:
        UserError: The caller asked for ``create_graph=True``.
    """
    if torch.is_grad_enabled():
        raise UserError(f"backend={backend} has no second derivative (create_graph=True): backend=loop has one")


class Stack(nn.Module, ABC):
    """Layers over a whole sequence, forward in time.

    ``forward(x_TBD, state, lengths)`` returns ``(h_TBH, state)``. ``state`` is one (L, B, H) tensor for each of the
    cell's states, or None for zeros. ``lengths`` is (B,) or None for full sequences. Input is right-padded; outputs
    past a length are zero and the returned state is that of step ``length - 1``. T = 1 is a step.
    """

    @abstractmethod
    def forward(
        self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]: ...

    def stepper(self, batch_size: int) -> Stepper:
        """What runs one step a call, for inference: nothing is kept for gradients.

        Entering ``torch.no_grad`` costs as much as half a native step. A caller who holds it, or
        ``torch.inference_mode``, around its calls does not pay for that: a step enters it only where it finds gradients
        on. So does :class:`gru_bench.timing.situations.base.Situation`, for all alike.

        Args:
            batch_size: B of all its steps, at least 1.

        Returns:
            ``step(x_BD, state) -> (out_BH, state)``. ``state`` is what the step before returned, or None for zeros; it
            is never written to, so a caller may keep it. The step follows the parameters as they are at each call.
            Dropout acts where the stack is in training, as in :meth:`forward`: call ``eval()`` first.

        Raises:
            UserError: The batch size is below 1; from the step itself, what does not fit.
        """
        check_batch_size(batch_size)

        def step(x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
            if torch.is_grad_enabled():
                with torch.no_grad():  # inference mode would forbid the caller to reset a state in place
                    return step(x_BD, state)
            check_step(x_BD, state, batch_size)
            h_TBH, state = self(x_BD[None], state)
            return h_TBH[0], state

        return step

    @abstractmethod
    def cell_tensors(self, *, grad: bool = False) -> list[dict[str, Tensor]]:
        """The trained values (or their gradients) under the cell's own names, one dictionary per layer.

        All backends give the same names and shapes, so that they can be compared.
        """


@dataclass(frozen=True)
class Mark:
    """How a profiler knows one of a backend's kernels.

    Attributes:
        event: Name of an event that a forward call of the kernel gives. What an event's name has after that and a
            space belongs to it too.
        kernel: What reports call the kernel; or a function that makes this of the event's whole name and of the names
            of the kernels that ran on the device.
    """

    event: str
    kernel: str | Callable[[str, Sequence[str]], str]

    def fits(self, name: str) -> bool:
        """Whether an event of this name is meant."""
        return name == self.event or name.startswith(f"{self.event} ")

    def kernel_of(self, name: str, on_device: Sequence[str]) -> str:
        """What reports call the kernel behind an event of this name."""
        return self.kernel if isinstance(self.kernel, str) else self.kernel(name, on_device)


def marked(event: str) -> AbstractContextManager[Any]:
    """Let a profiler see what runs inside as an event of this name. Costs nothing to speak of where none looks."""
    return record_function(event) if torch.autograd._profiler_enabled() else nullcontext()


class Backend(ABC):
    """Builds stacks from cells and names what it cannot run.

    Attributes:
        name: As in its yaml.
        marks: How a profiler knows its kernels; a report names them in this order. Where a stack ran and none was
            seen, the kernel is recorded as not known.
    """

    name: ClassVar[str]
    marks: ClassVar[tuple[Mark, ...]] = ()
    honors_autocast: ClassVar[bool] = False
    """Whether its products run in the type of ``torch.autocast`` (mixed precision). Code that takes tensors as they
    come would run in float32 there without a word, so a backend must claim it; ``tests/backends`` holds it to that."""

    @abstractmethod
    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why this cell cannot run here, naming what could; None if it can."""

    def require_autocast(self, dtype: torch.dtype, cell: Cell | None = None) -> None:
        """Refuse mixed precision where it would not reach this backend's products.

        Args:
            dtype: Of the products.
            cell: Whose they are; None where only the backend is known.

        Raises:
            Unsupported: with what does run it.
        """
        if not self.honors_autocast:
            raise Unsupported(
                f"backend={self.name} does not run dtype={str(dtype)[6:]}: mixed precision (torch.autocast) does not "
                "reach its code, which would go on in float32. backend=loop runs every cell in it"
            )

    def piece(self, batch_size: int) -> int:
        """Steps that its code takes in one piece, where it takes a sequence in pieces: a check must reach the seams."""
        return 1

    @abstractmethod
    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack: ...

    def stack(self, cells: Sequence[Cell], device: torch.device, dtype: torch.dtype, *, dropout: float = 0.0) -> Stack:
        """Turn one cell a layer into a stack. The stack starts from the cells' values and owns the training.

        Args:
            cells: One cell a layer, the first at the input.
            device: Where the stack will run. The stack itself is built where the cells are.
            dtype: In which floating type it will run.
            dropout: Probability of a zero between layers, in training only.

        Raises:
            Unsupported: The backend does not run this cell, device or dtype. It never switches silently.
        """
        why = self.refusal(cells[0], device, dtype)
        if why is not None:
            raise Unsupported(why)
        return self._stack(cells, dropout if len(cells) > 1 else 0.0)
