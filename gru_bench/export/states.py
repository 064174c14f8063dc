"""What a model's graphs are called, and what a stream carries from step to step; no runtime is needed to say it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gru_bench.backends.loop import LoopStack
from gru_bench.cells.base import Cell
from gru_bench.errors import UserError
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import Encoder
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.models.tagger import Tagger

SEQUENCE, STREAM, ENCODER, DECODER = "sequence", "stream", "encoder", "decoder_step"
Named = Mapping[str, Tensor]
Program = Callable[[Named], dict[str, Tensor]]
"""A graph that runs, in whatever runtime: inputs by name to outputs by name."""
Shape = tuple[int | None, ...]
"""With None where the batch is."""


@dataclass(frozen=True)
class StateInput:
    """One state of a stream.

    Attributes:
        shape: With None where the batch is.
        start: The number that fills it before the first step.
    """

    shape: Shape
    start: float = 0.0

    def started(self, batch: int) -> Tensor:
        """It, before the first step."""
        return torch.full([batch if size is None else size for size in self.shape], self.start)


States = dict[str, StateInput]


def input_name(model: nn.Module) -> str:
    """What a classifier, tagger or language model reads, as its graphs call it."""
    return "features" if isinstance(model, Classifier) and model.input == "features" else "tokens"


def cells_of(encoder: Encoder) -> list[Cell]:
    """One a layer and direction, in the order of the states, of an encoder whose stacks are loops."""
    return [cast(Cell, cell) for stack in encoder.stacks for cell in cast(LoopStack, stack).cells]


def layer_states(encoder: Encoder) -> States:
    """Of the recurrent layers."""
    cells = cells_of(encoder)
    return {name: StateInput((len(cells), None, encoder.hidden_size)) for name in cells[0].states}


def pool_states(model: Classifier) -> States:
    """Of what stands for the sequence so far."""
    sums = {
        "pool_sum": StateInput((None, model.encoder.output_size)),
        "pool_total": StateInput((None, 1)),
    }
    return {
        "last": {},
        "max": {"pool_max": StateInput((None, model.encoder.output_size), -math.inf)},
        "mean": sums,
        "attention": sums | {"pool_score": StateInput((None, 1), -math.inf)},
    }[model.pooling]


def states_of(model: nn.Module) -> tuple[dict[str, States], list[str]]:
    """The states that each graph of a model takes, by the graph's name; and which graphs it cannot have, with why.

    Raises:
        UserError: A model of another class.
    """
    if isinstance(model, Seq2Seq):
        return {ENCODER: {}, DECODER: layer_states(model.decoder)}, []
    if not isinstance(model, Classifier | Tagger | LanguageModel):
        raise UserError(
            f"model={type(model).__name__}: cannot be exported; valid: Classifier, Tagger, LanguageModel, Seq2Seq"
        )
    if model.encoder.bidirectional:
        return {SEQUENCE: {}}, [
            f"{STREAM}: bidirectional=true has no single steps: the backward direction starts at the last one"
        ]
    states = layer_states(model.encoder)
    of_stream = states | (pool_states(model) if isinstance(model, Classifier) else {})
    return {SEQUENCE: states if isinstance(model, LanguageModel) else {}, STREAM: of_stream}, []
