"""What ``bench/cells.py`` times: one cell on one backend at one shape, as a step that can be called again and again."""

import math
import re
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from peers import turn_order
from peers_ours import article, model_and_task
from torch import nn

from gru_bench.backends.base import Backend
from gru_bench.config.check import Node, construct
from gru_bench.errors import UserError
from gru_bench.measure.kernel import kernel_name, kernel_of_call
from gru_bench.measure.timing import StepClock
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.models.streams import Streams
from gru_bench.run import build

SHAPE = re.compile(r"(\d+)x(\d+)(?:x(\d+))?x(\d+)(?:x(\d+)(b?))?")
"""TxBxH, TxBxDxH, TxBxDxHxL, or the last with b: in both directions."""
TURN_S = 0.005
"""On CUDA a turn is as many steps as take about so long: an event is no finer than half a microsecond."""
MOST_STEPS = 100


@dataclass(frozen=True)
class Place:
    """Where and in which floating type the layers run. ``label`` is ``tf32`` where products may round to TF32."""

    device: torch.device
    dtype: torch.dtype
    label: str

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Shape:
    """T steps of B sequences of D inputs through L layers of H units. ``text`` is how it was written."""

    text: str
    T: int
    B: int
    D: int
    H: int
    L: int = 1
    bidirectional: bool = False

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """From text.

        Raises:
            UserError: It is none.
        """
        found = SHAPE.fullmatch(text)
        if found is None or not all(int(part) for part in found.groups()[:5] if part):
            raise UserError(
                f"--shapes: {text!r} must be TxBxH, TxBxDxH or TxBxDxHxL of positive numbers (L layers; a b after it "
                "runs them in both directions), as 35x20x200, 64x32x32x64 or 512x10x128x256x6b"
            )
        T, B, D, H, L, both = found.groups()
        return cls(text, int(T), int(B), int(D or H), int(H), int(L or 1), both == "b")

    @property
    def in_grid(self) -> bool:
        """Whether it is one layer, forward in time: those make the geometric mean."""
        return self.L == 1 and not self.bidirectional

    def encoder(self, make_cell: MakeCell, backend: Backend, place: Place) -> Encoder:
        """The layers, made on the CPU from one seed and then moved."""
        encoder = Encoder(
            self.D,
            make_cell,
            backend,
            Streams(0),
            hidden_size=self.H,
            num_layers=self.L,
            device=place.device,
            dtype=place.dtype,
            bidirectional=self.bidirectional,
        )
        return encoder.to(place.device, place.dtype)


@dataclass
class Arm:
    """One backend at one shape: how to make one step, and how much arithmetic its products have."""

    step: Callable[[], None]
    flops: float
    kernel: str


def layer_arm(make_cell: MakeCell, backend: Backend, shape: Shape, place: Place, *, forward: bool = False) -> Arm:
    """The layers forward and backward, or ``forward`` alone, as in inference."""
    encoder = shape.encoder(make_cell, backend, place)
    layers: nn.Module = encoder.stacks[0] if len(encoder.stacks) == 1 else encoder
    weights = [parameter for parameter in encoder.parameters() if parameter.dim() > 1]  # W, and U if any
    x_TBD, dh_TBH = (
        torch.randn(shape.T, shape.B, size, generator=torch.Generator().manual_seed(seed)).to(place.device, place.dtype)
        for seed, size in ((1, shape.D), (2, encoder.output_size))
    )
    flops = 2.0 * shape.T * shape.B * sum(weight.numel() for weight in weights)
    if forward:
        layers.eval()

        @torch.inference_mode()
        def infer() -> None:
            layers(x_TBD)

        return Arm(infer, flops, kernel_of_call(infer, layers, backend, place.device))
    kernel = kernel_name(layers, backend, shape.D, place.device, place.dtype, num_steps=shape.T, batch_size=shape.B)
    x_TBD.requires_grad_()

    def step() -> None:
        h_TBH, _ = layers(x_TBD)
        h_TBH.backward(dh_TBH)
        x_TBD.grad = None
        layers.zero_grad()

    # forward one product with each weight; backward two, for what it is multiplied with and for itself
    return Arm(step, 3 * flops, kernel)


def article_arm(cell: str, backend_node: Node, place: Place) -> tuple[Arm, Shape]:
    """A whole training step of the article's model, with its shape."""
    settings, node = article(cell, "vendor", place.device.type)
    node["backend"] = backend_node
    model, task = model_and_task(settings, node)
    task.load()
    stream = task.batches("train", torch.Generator().manual_seed(build.data_seed(settings.seed)))
    batches = [batch.to(place.device, place.dtype) for batch in stream]
    trainer = construct(node["trainer"])
    optimizer = trainer.make_optimizer(model)
    model.train()
    turn = iter(range(sys.maxsize))

    def step() -> None:
        trainer.step(model, optimizer, task, batches[next(turn) % len(batches)], None)

    T, B, D = batches[0].inputs.shape
    H = settings.hidden_size
    num_rows = len(build.make_cell(node)(D, H, torch.Generator()).gates) * H
    inputs = [D, *[H] * (settings.num_layers - 1)]
    flops = (
        sum(6.0 * T * B * num_rows * (size + H) for size in inputs) - 2.0 * T * B * num_rows * D
    )  # no dx at the data
    backend = construct(backend_node)
    kernel = kernel_name(model.encoder, backend, D, place.device, place.dtype, num_steps=T, batch_size=B)
    return Arm(step, flops, kernel), Shape("article", T, B, D, H)


def turns(arms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each arm's turns gave in each round: the mean of two, one in order and one in the opposite order.

    Args:
        arms: Each takes one turn and says what that took.
        rounds: Each starts with another arm.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    for round_number in range(rounds):
        taken: dict[str, list[float]] = {name: [] for name in arms}
        for name in turn_order(list(arms), round_number):
            taken[name].append(arms[name]())
        for name, pair in taken.items():
            found[name].append(statistics.mean(pair))
    return found


def timed(arms: dict[str, Arm], rounds: int, place: Place) -> dict[str, list[float]]:
    """Milliseconds of a step in each round: the mean of the arm's two turns.

    On a CPU a turn is one step. On CUDA it is several, between two events; the device has nothing left to do when it
    begins, so what one arm has queued does not hide how long the next one takes to queue its own.
    """
    steps = {name: steps_a_turn(arm, place) for name, arm in arms.items()}

    def turn_ms(name: str) -> float:
        return turn_s(arms[name], steps[name], place) / steps[name] * 1000

    taking = {name: partial(turn_ms, name) for name in arms}
    if taking:
        turns(taking, 1)  # warms up
    return turns(taking, rounds) if taking else {}


def turn_s(arm: Arm, num_steps: int, place: Place) -> float:
    """Seconds of some steps, one after the other."""
    clock = StepClock(place.device)
    place.wait()
    with clock():
        for _ in range(num_steps):
            arm.step()
    return clock.seconds()[0]


def steps_a_turn(arm: Arm, place: Place) -> int:
    """One on a CPU; on CUDA as many as take :data:`TURN_S`. Takes the arm's first steps."""
    arm.step()
    if place.device.type == "cpu":
        return 1
    turn_s(arm, 1, place)  # the second still plans and allocates
    return max(1, min(MOST_STEPS, math.ceil(TURN_S / max(turn_s(arm, 1, place), 1e-6))))
