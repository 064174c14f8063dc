"""Parts of a model in a graph: embeddings, and the recurrent layers over a sequence and for a step."""

from dataclasses import dataclass, field

from torch import nn

from gru_bench.export.graph import Graph
from gru_bench.export.layers import Layer
from gru_bench.export.states import States, cells_of
from gru_bench.models.encoder import Encoder


@dataclass
class Drawn:
    """A graph that is finished, or on its way.

    Attributes:
        states: What a stream carries, by the name of the input; the output is called ``new_NAME``.
        graph: It.
        layers: How each recurrent layer is computed, such as ``GRU`` or ``Scan of MGU``.
    """

    states: States
    graph: Graph = field(default_factory=Graph)
    layers: list[str] = field(default_factory=list)

    def old(self) -> dict[str, str]:
        """All states as inputs, by name."""
        return {name: self.graph.input(name, "float", self.shape(name)) for name in self.states}

    def new(self, values: dict[str, str]) -> None:
        """All states after the step, as outputs."""
        for name in self.states:
            self.graph.output(f"new_{name}", values[name], "float", self.shape(name))

    def shape(self, name: str) -> list[int | str]:
        """Of a state."""
        return ["batch" if size is None else size for size in self.states[name].shape]


# the recurrent layers


def run_layers(
    drawn: Drawn, encoder: Encoder, x_TBD: str, lengths: str, old: dict[str, str], hint: str, operators: bool
) -> tuple[str, dict[str, str]]:
    """All layers over a sequence: outputs (T, B, H) or (T, B, 2 H), and each state (L, B, H) by name.

    ``old``: each state (L, B, H) before the first step; empty for zeros.
    """
    graph, directions = drawn.graph, 2 if encoder.bidirectional else 1
    cells = cells_of(encoder)
    finals: list[list[str]] = []
    for number in range(0, len(cells), directions):
        outputs = []
        for backward, cell in enumerate(cells[number : number + directions]):
            name = f"{hint}_layer{number // directions}{'_backward' if backward else ''}"
            layer = Layer(graph, cell, name, operators=operators)
            state = [graph.add("Gather", one, graph.constant(number + backward)) for one in old.values()] or None
            h_TBH, states = layer.sequence(x_TBD, lengths, state, backward=bool(backward))
            drawn.layers.append(layer.kind)
            outputs.append(h_TBH)
            finals.append(states)
        x_TBD = graph.add("Concat", *outputs, axis=2) if len(outputs) > 1 else outputs[0]
    return x_TBD, by_name(graph, encoder, finals)


def step_layers(
    drawn: Drawn, encoder: Encoder, x_BD: str, old: dict[str, str], hint: str, operators: bool
) -> tuple[str, dict[str, str]]:
    """All layers for one step from the old states (L, B, H): the output, and the new states by name."""
    graph, cells = drawn.graph, cells_of(encoder)
    new: list[list[str]] = []
    for number, cell in enumerate(cells):
        layer = Layer(graph, cell, f"{hint}_layer{number}", operators=operators)
        state = [graph.add("Gather", old[name], graph.constant(number)) for name in cell.states]
        x_BD, states = layer.step(x_BD, state)
        drawn.layers.append(layer.kind)
        new.append(states)
    return x_BD, by_name(graph, encoder, new)


def by_name(graph: Graph, encoder: Encoder, states: list[list[str]]) -> dict[str, str]:
    """The (B, H) states of each layer as one (L, B, H) a state."""
    found = {}
    for name, parts in zip(cells_of(encoder)[0].states, zip(*states, strict=True), strict=True):
        layers = [graph.unsqueeze(part, 0) for part in parts]
        found[name] = graph.add("Concat", *layers, axis=0) if len(layers) > 1 else layers[0]
    return found


# before and after them


def embedded(
    graph: Graph, tokens: str, embedding: nn.Embedding | None, vocab_size: int, hint: str = "embedding"
) -> str:
    """Token ids as vectors: (...) to (..., D)."""
    if embedding is None:
        values = graph.add("Concat", *(graph.unsqueeze(graph.constant(v), 0) for v in (0.0, 1.0)), axis=0)
        return graph.add("OneHot", tokens, graph.constant([vocab_size]), values, axis=-1)
    return graph.add("Gather", graph.constant(embedding.weight, f"{hint}_weight"), tokens, hint=hint)
