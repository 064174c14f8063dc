"""What is timed: layers alone on random input. A task's whole model, which is not known here, is another subject."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gru_bench.backends.base import Backend
from gru_bench.backends.loop import Loop
from gru_bench.measure import parity
from gru_bench.measure.flops import layer_gflop
from gru_bench.measure.parity import Parity
from gru_bench.models.encoder import Encoder, MakeCell, num_parameters, state_size
from gru_bench.models.streams import Streams

Call = Callable[[], None]

LEARNING_RATE = 1e-6
"""Of layers alone: thousands of updates, all from the same gradient, must not carry the weights anywhere."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of one timing.

    Attributes:
        steps: T.
        batch: B.
        inputs: D.
        hidden_size: H before the budget.
        num_layers: Layers.
        bidirectional: Whether in both directions.
        threads: Of torch.
    """

    steps: int
    batch: int
    inputs: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    threads: int

    def facts(self) -> dict[str, Any]:
        """The sizes under the names that a timing keeps them by."""
        return {"hidden_size_asked" if name == "hidden_size" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Where:
    """Where and in which floating type a subject computes; see :class:`gru_bench.run.build.Place`."""

    device: torch.device
    parameters: torch.dtype
    autocast: torch.dtype | None = None

    @property
    def computes_in(self) -> torch.dtype:
        """The type of products."""
        return self.autocast or self.parameters


class Subject(ABC):
    """One arm of a timing, before it is known in which situation.

    Attributes:
        model: All of its modules.
        timed: Those of them that the calls run: the first recurrent layers alone once a single step was asked for.
        backend: Runs its recurrent layers.
        where: Where it computes.
        batch: B of the calls.
        optimizer: Of the last training step that was made; None before.
        inputs: Tensors that the calls are given.
    """

    def __init__(self, model: nn.Module, backend: Backend, where: Where, batch: int) -> None:
        self.model, self.backend, self.where, self.batch = model, backend, where, batch
        self.timed = model
        self.optimizer: torch.optim.Optimizer | None = None
        self.inputs: list[Tensor] = []

    @abstractmethod
    def parity(self) -> Parity:
        """How far the backend is from the reference, at small shapes and at this one."""

    @abstractmethod
    def training_step(self) -> Call:
        """Forward, backward, update."""

    @abstractmethod
    def forward(self) -> Call:
        """Forward over whole sequences, to be called without gradients; see :meth:`single_step`."""

    @property
    def encoders(self) -> list[Encoder]:
        """Its recurrent layers."""
        return [module for module in self.model.modules() if isinstance(module, Encoder)]

    def single_step(self) -> Call:
        """One step a call of its first recurrent layers; the state is carried from call to call.

        Whoever calls it holds the situation's mode (:meth:`gru_bench.timing.situations.base.Situation.mode`): entered
        at each call it would cost as much as half a step, for both arms alike, and pull their ratio towards 1.

        Raises:
            UserError: They run in both directions.
        """
        self.model.eval()
        self.timed = encoder = self.encoders[0]
        step = encoder.stepper(self.batch)
        x_BD = drawn(self.batch, encoder.input_size).to(self.where.device, self.where.parameters)
        with torch.inference_mode(), self.autocast():
            state = step(x_BD, None)[1]
        self.inputs = [x_BD, *state]  # each call reads a state as large

        def call() -> None:
            nonlocal state
            _, state = step(x_BD, state)

        if self.where.autocast is None:
            return call
        autocast = self.autocast()

        def mixed() -> None:
            with autocast:
                call()

        return mixed

    def autocast(self) -> Any:
        """``torch.autocast`` as the subject computes; nothing where all is of one type. To be made once and kept."""
        dtype = self.where.autocast
        return nullcontext() if dtype is None else torch.autocast(self.where.device.type, dtype)

    def gflop(self, *, trains: bool, single: bool) -> float | None:
        """Products of one call by formula, in billions of operations; None where there is no formula.

        Args:
            trains: Whether the call is a training step.
            single: Whether it is a single step of the first recurrent layers.
        """
        return None

    @property
    def parameters(self) -> int:
        """Trainable numbers of what is timed."""
        return num_parameters(self.timed)

    @property
    def state_bytes(self) -> int:
        """Bytes that one sequence carries from step to step."""
        return state_size(self.timed) * self.where.parameters.itemsize


class Layers(Subject):
    """Recurrent layers on random input.

    Args:
        make_cell: Makes one cell.
        backend: Runs it.
        hidden_size: H after the budget.
        shape: All other sizes.
        where: Where it computes.

    Raises:
        Unsupported: The backend does not run this cell here.
    """

    def __init__(self, make_cell: MakeCell, backend: Backend, hidden_size: int, shape: Shape, where: Where) -> None:
        encoder = layers(make_cell, backend, hidden_size, shape, where).to(where.device, where.parameters)
        super().__init__(encoder, backend, where, shape.batch)
        self.make_cell, self.shape, self.encoder = make_cell, shape, encoder

    def parity(self) -> Parity:
        shape, where, mixed = self.shape, self.where, self.where.autocast is not None
        found = parity.check(self.make_cell, self.backend, where.device, where.computes_in, quick=True, autocast=mixed)
        if not found.passed:
            return found
        case = parity.Case(
            shape.steps,
            shape.batch,
            input_size=shape.inputs,
            hidden_size=self.encoder.hidden_size,
            num_layers=shape.num_layers,
            bidirectional=shape.bidirectional,
        )
        case = parity.bounded(case, self.backend, self.parameters, shape.threads)
        return found.worse(
            parity.check_shape(case, self.make_cell, self.backend, where.device, where.computes_in, autocast=mixed)
        )

    def training_step(self) -> Call:
        self.encoder.train()
        x_TBD = self._input().requires_grad_()
        dh_TBH = drawn(self.shape.steps, self.shape.batch, self.encoder.output_size).to(x_TBD)
        self.inputs = [x_TBD, dh_TBH]
        trained = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        fused = self.where.device.type in ("cpu", "cuda")  # as the trainer takes it
        self.optimizer = optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE, fused=fused)
        autocast = self.autocast()

        def call() -> None:
            with autocast:
                h_TBH, _ = self.encoder(x_TBD)
            optimizer.zero_grad(set_to_none=True)
            x_TBD.grad = None
            h_TBH.backward(dh_TBH if h_TBH.dtype is dh_TBH.dtype else dh_TBH.to(h_TBH.dtype))
            optimizer.step()

        return call

    def forward(self) -> Call:
        self.encoder.eval()
        x_TBD = self._input()
        self.inputs = [x_TBD]
        autocast = self.autocast()

        def call() -> None:
            with autocast:
                self.encoder(x_TBD)

        return call

    def gflop(self, *, trains: bool, single: bool) -> float | None:
        shape = self.shape
        encoder = sketch(self.make_cell, self.encoder.hidden_size, shape)
        return stacks_gflop(encoder, shape.steps, shape.batch, backward=trains, input_gradient=True)

    def _input(self) -> Tensor:
        shape, where = self.shape, self.where
        return drawn(shape.steps, shape.batch, shape.inputs).to(where.device, where.parameters)


def layers(make_cell: MakeCell, backend: Backend, hidden_size: int, shape: Shape, where: Where) -> Encoder:
    """The recurrent layers of a shape, on the CPU, always with the same initial values."""
    return Encoder(
        shape.inputs,
        make_cell,
        backend,
        Streams(0),
        hidden_size=hidden_size,
        num_layers=shape.num_layers,
        device=where.device,
        dtype=where.parameters,
        bidirectional=shape.bidirectional,
    )


def sketch(make_cell: MakeCell, hidden_size: int, shape: Shape) -> Encoder:
    """The layers of a shape without values, whatever backend runs them. Nothing is allocated."""
    with torch.device("meta"):
        return layers(make_cell, Loop(), hidden_size, shape, CPU)


def stacks_gflop(encoder: Encoder, T: int, B: int, *, backward: bool, input_gradient: bool) -> float:
    """Products of layers that run on ``backend=loop``; see :func:`gru_bench.measure.flops.layer_gflop`."""
    stacks = [list(cast(Any, stack).cells) for stack in encoder.stacks]
    return sum(layer_gflop(cells, T, B, backward=backward, input_gradient=input_gradient) for cells in stacks)


def drawn(*sizes: int) -> Tensor:
    """Random numbers, always the same."""
    return torch.randn(sizes, generator=torch.Generator().manual_seed(0))


CPU = Where(torch.device("cpu"), torch.float32)
