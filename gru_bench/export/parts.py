"""Parts of a model in a graph: embeddings, and the recurrent layers over a sequence and for a step."""

from dataclasses import dataclass, field
from typing import cast

from torch import nn

from gru_bench.backends.loop import LoopStack
from gru_bench.cells.base import Cell
from gru_bench.export.graph import Graph
from gru_bench.export.layers import Layer
from gru_bench.models.encoder import Encoder


@dataclass(frozen=True)
class StateInput:
    """What a stream carries from step to step.

    Attributes:
        shape: With ``None`` where the batch is.
        start: The number that fills it before the first step.
    """

    shape: tuple[int | None, ...]
    start: float = 0.0


@dataclass
class Drawn:
    """A graph that is finished.

    Attributes:
        graph: It.
        states: What a stream carries, by the name of the input; the output is called ``new_NAME``.
        layers: How each recurrent layer is computed, such as ``GRU`` or ``Scan of MGU``.
    """

    graph: Graph = field(default_factory=Graph)
    states: dict[str, StateInput] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)

    def old(self, name: str, shape: tuple[int | None, ...], start: float = 0.0) -> str:
        """A state as an input."""
        self.states[name] = StateInput(shape, start)
        return self.graph.input(name, "float", ["batch" if size is None else size for size in shape])

    def new(self, name: str, value: str) -> None:
        """The same state after the step, as an output."""
        shape = ["batch" if size is None else size for size in self.states[name].shape]
        self.graph.output(f"new_{name}", value, "float", shape)


def cells_of(encoder: Encoder) -> list[Cell]:
    """One a layer and direction, in the order of the states."""
    return [cast(Cell, cell) for stack in encoder.stacks for cell in cast(LoopStack, stack).cells]


# the recurrent layers


def old_states(drawn: Drawn, encoder: Encoder) -> list[str]:
    """All its states (L, B, H) as inputs."""
    cells = cells_of(encoder)
    return [drawn.old(name, (len(cells), None, encoder.hidden_size)) for name in cells[0].states]


def run_layers(
    drawn: Drawn, encoder: Encoder, x_TBD: str, lengths: str, old: list[str] | None, hint: str, operators: bool
) -> tuple[str, list[str]]:
    """All layers over a sequence: outputs (T, B, H) or (T, B, 2 H), and each state (L, B, H).

    ``old``: each state (L, B, H) before the first step; None for zeros.
    """
    graph, directions = drawn.graph, 2 if encoder.bidirectional else 1
    cells = cells_of(encoder)
    finals: list[list[str]] = []
    for number in range(0, len(cells), directions):
        outputs = []
        for backward, cell in enumerate(cells[number : number + directions]):
            name = f"{hint}_layer{number // directions}{'_backward' if backward else ''}"
            layer = Layer(graph, cell, name, operators=operators)
            state = (
                None if old is None else [graph.add("Gather", one, graph.constant(number + backward)) for one in old]
            )
            h_TBH, states = layer.sequence(x_TBD, lengths, state, backward=bool(backward))
            drawn.layers.append(layer.kind)
            outputs.append(h_TBH)
            finals.append(states)
        x_TBD = graph.add("Concat", *outputs, axis=2) if len(outputs) > 1 else outputs[0]
    return x_TBD, [stacked(graph, states) for states in zip(*finals, strict=True)]


def step_layers(
    drawn: Drawn, encoder: Encoder, x_BD: str, old: list[str], hint: str, operators: bool
) -> tuple[str, dict[str, str]]:
    """All layers for one step from the old states (L, B, H): the output, and the new states by name."""
    graph, cells = drawn.graph, cells_of(encoder)
    new: list[list[str]] = []
    for number, cell in enumerate(cells):
        layer = Layer(graph, cell, f"{hint}_layer{number}", operators=operators)
        state = [graph.add("Gather", one, graph.constant(number)) for one in old]
        x_BD, states = layer.step(x_BD, state)
        drawn.layers.append(layer.kind)
        new.append(states)
    names = cells[0].states
    return x_BD, {name: stacked(graph, states) for name, states in zip(names, zip(*new, strict=True), strict=True)}


def stacked(graph: Graph, states: tuple[str, ...]) -> str:
    """Several (B, H) as one (L, B, H)."""
    parts = [graph.unsqueeze(state, 0) for state in states]
    return graph.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]


# before and after them


def embedded(
    graph: Graph, tokens: str, embedding: nn.Embedding | None, vocab_size: int, hint: str = "embedding"
) -> str:
    """Token ids as vectors: (...) to (..., D)."""
    if embedding is None:
        values = graph.add("Concat", *(graph.unsqueeze(graph.constant(v), 0) for v in (0.0, 1.0)), axis=0)
        return graph.add("OneHot", tokens, graph.constant([vocab_size]), values, axis=-1)
    return graph.add("Gather", graph.constant(embedding.weight, f"{hint}_weight"), tokens, hint=hint)
