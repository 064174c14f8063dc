"""Every step of a model's recurrent layers, made visible: what the probes of gradients and gates look at."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from gru_bench.backends.loop import LoopStack
from gru_bench.cells.base import Cell, State
from gru_bench.models.encoder import Encoder, last_output
from gru_bench.models.language_model import LanguageModel
from gru_bench.probes.base import Subject
from gru_bench.tasks.base import Batch, Task

NO_ENCODER = "the model has no recurrent layers"
BATCHES = 64
"""Among how many validation batches the one with the longest examples is looked for."""


@dataclass
class Layer:
    """One layer of the forward direction, step by step.

    Attributes:
        cell: Of the twin.
        projections: Its part of the gates that needs no state, (B, G) a step.
        olds: States that each step started from.
        news: States after each step, as the next one gets them: tensors of their own, so that a gradient of them is
            what the later steps hand back, and not what other users of the same numbers do, such as the layer above at
            this very step.
    """

    cell: Cell
    projections: list[Tensor] = field(default_factory=list)
    olds: list[State] = field(default_factory=list)
    news: list[State] = field(default_factory=list)

    def watch(self) -> None:
        """Keep all that goes through the cell from now on."""
        step = self.cell.step

        def watched(gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
            output_BH, new = step(gx_BG, state)
            new = tuple(s_BH.view_as(s_BH) for s_BH in new)
            self.projections.append(gx_BG)
            self.olds.append(state)
            self.news.append(new)
            return output_BH, new

        setattr(self.cell, "step", watched)  # noqa: B010  # of this copy alone; mypy refuses to assign a method


@dataclass(frozen=True)
class Steps:
    """A run of the encoder over some examples.

    Attributes:
        layers: The first at the input; of a model that reads both ways, those of the forward direction.
        last: (B, H), the top layer's output at each example's last step, of the forward direction.
        lengths: (B,) steps of each example.
    """

    layers: list[Layer]
    last: Tensor
    lengths: Tensor


class Seen(Exception):  # no error: the way out of a model once its encoder was called
    """The encoder was called."""


def encoder_of(model: nn.Module) -> Encoder | None:
    """The model's recurrent layers; the source side's where there are two; None without."""
    return next((module for module in model.modules() if isinstance(module, Encoder)), None)


def run(subject: Subject, num_examples: int, num_steps: int, num_text_steps: int | None = None) -> Steps:
    """Run a twin's encoder over the longest examples of one validation batch, from zero states.

    It is the one of the first 64 whose median length is largest. A graph is kept, so that the states may be
    differentiated.

    Args:
        subject: What is probed; it must have an encoder.
        num_examples: Most examples B.
        num_steps: Most steps T. Of a longer example the last ones are read.
        num_text_steps: Most steps of running text, whose pieces are put together; None for ``num_steps``.
    """
    twin = subject.twin()
    encoder = encoder_of(twin)
    assert encoder is not None
    if isinstance(twin, LanguageModel):
        num_steps = num_text_steps or num_steps
    x_TBD, lengths_B = inputs_of(twin, encoder, subject, num_examples, num_steps)
    stacks = list(encoder.stacks)[:: 2 if encoder.bidirectional else 1]
    layers = [Layer(cast(Cell, cell)) for stack in stacks for cell in cast(LoopStack, stack).cells]
    for layer in layers:
        layer.watch()
    with torch.enable_grad():
        h_TBH, _ = encoder(x_TBD.requires_grad_(), None, lengths_B)
    return Steps(layers, last_output(h_TBH, lengths_B)[:, : encoder.hidden_size], lengths_B)


def inputs_of(
    twin: nn.Module, encoder: Encoder, subject: Subject, num_examples: int, num_steps: int
) -> tuple[Tensor, Tensor]:
    """What the encoder reads of the chosen examples: x (T, B, D), right-padded, and lengths (B,)."""
    if isinstance(twin, LanguageModel):
        pieces = [x_TBD for x_TBD, _ in read_inputs(twin, encoder, subject.task, first_steps(subject, num_steps))]
        x_TBD = torch.cat(pieces)[:num_steps, :num_examples]
        return x_TBD, torch.full((x_TBD.shape[1],), len(x_TBD))
    ((x_TBD, lengths_B),) = read_inputs(twin, encoder, subject.task, [longest(subject)])
    rows_B = lengths_B.argsort(descending=True, stable=True)[:num_examples]
    x_TBD, lengths_B = x_TBD[:, rows_B], lengths_B[rows_B]
    kept_B = lengths_B.clamp(max=num_steps)
    T = int(kept_B.max())
    steps_TB = (torch.arange(T)[:, None] + (lengths_B - kept_B)).clamp(max=len(x_TBD) - 1)
    return x_TBD[steps_TB.to(x_TBD.device), torch.arange(len(rows_B))], kept_B


@torch.no_grad()
def read_inputs(
    model: nn.Module, encoder: Encoder, task: Task, batches: Iterable[Batch]
) -> list[tuple[Tensor, Tensor]]:
    """What a model's encoder reads of each batch: x (T, B, D), and on the CPU the lengths (B,)."""
    found: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = dict(zip(("x_TBD", "state", "lengths"), args, strict=False)) | kwargs
        x_TBD, lengths_B = call["x_TBD"].detach(), call.get("lengths")
        found.append((x_TBD, torch.full((x_TBD.shape[1],), len(x_TBD)) if lengths_B is None else lengths_B.cpu()))
        raise Seen  # what comes after it, such as a softmax over a vocabulary, is not needed

    handle = encoder.register_forward_pre_hook(note, with_kwargs=True)
    try:
        for batch in batches:
            with suppress(Seen):
                task.loss(model, batch.to(*task.place(model)), None)
    finally:
        handle.remove()
    return found


def longest(subject: Subject) -> Batch:
    """That of the first validation batches whose median length is the largest; the first such."""

    def median_length(batch: Batch) -> float:
        return float(len(batch.inputs) if batch.lengths is None else batch.lengths.median())

    batches = (batch for batch, _ in zip(subject.task.batches("valid"), range(BATCHES), strict=False))
    return max(batches, key=median_length)


def first_steps(subject: Subject, num_steps: int) -> list[Batch]:
    """As many of the first pieces of running text as the steps need; they have equally many columns."""
    pieces: list[Batch] = []
    for batch in subject.task.batches("valid"):
        pieces.append(batch)
        if sum(len(piece.inputs) for piece in pieces) >= num_steps:
            break
    return pieces


def needs_encoder(subject: Subject, then: Callable[[Cell], str | None] = lambda _: None) -> str | None:
    """Why a model has no steps to look at; else what the question says to its cell."""
    if encoder_of(subject.model) is None:
        return NO_ENCODER
    encoder = encoder_of(subject.twin())
    assert encoder is not None
    return then(cast(Cell, cast(LoopStack, encoder.stacks[0]).cells[0]))
