"""The models as graphs: over whole sequences, and step by step.

Names of dimensions: ``time`` and ``batch``. Values are laid out as in torch, time first; see :func:`graphs_of`.
"""

from collections.abc import Callable
from typing import cast

from torch import nn

from gru_bench.export.graph import Graph
from gru_bench.export.parts import Drawn, embedded, run_layers, step_layers
from gru_bench.export.pooling import masked, pool, pool_step
from gru_bench.export.states import DECODER, ENCODER, SEQUENCE, STREAM, States, input_name, layer_states, states_of
from gru_bench.models.attention import BahdanauAttention, LuongAttention
from gru_bench.models.classifier import Classifier
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.models.tagger import Tagger

Draw = Callable[[nn.Module, States, bool], Drawn]


def graphs_of(model: nn.Module, *, operators: bool) -> dict[str, Drawn]:
    """A model's graphs by name: those that :func:`~gru_bench.export.states.states_of` says it can have.

    Args:
        model: In evaluation, float32, on the CPU; its stacks are :class:`~gru_bench.backends.loop.LoopStack`.
        operators: Whether ONNX's own recurrent operators may be used; else all layers go by their equations.

    Graphs, with T ``time``, B ``batch``, L layers (times directions), H units:

    - ``sequence``: ``tokens`` (T, B) of int64 or ``features`` (T, B, D), ``lengths`` (B) of int64, and of a language
      model each state (L, B, H) before the first step, to ``scores``: (B, C) of a classifier or regressor, (T, B, C) of
      a tagger or language model; and, where it reads forward only, the states ``new_h`` ... after each last step.
    - ``stream``: ``tokens`` (B) or ``features`` (B, D) and each state, to ``scores`` (B, C) after this step and each
      new state.
    - ``encoder`` and ``decoder_step`` in their place for sequence to sequence: ``source`` (T, B) and ``lengths`` to
      ``memory`` (T, B, M), the decoder's first state and, with Bahdanau's attention, ``keys``; then ``word`` (B), each
      state, ``memory``, ``lengths`` and ``keys`` to ``scores`` (B, V) and each new state.

    Raises:
        UserError: A model of another class, or a cell that has no translation.
    """
    states, _ = states_of(model)
    draw = {SEQUENCE: draw_sequence, STREAM: draw_stream, ENCODER: draw_encoder, DECODER: draw_decoder}
    return {name: cast(Draw, draw[name])(model, states[name], operators) for name in states}


def read_input(graph: Graph, model: Classifier | Tagger | LanguageModel, sizes: list[int | str]) -> str:
    """The model's input and what the first layer is fed: (..., D) for an input of these leading sizes."""
    name = input_name(model)
    if name == "features":
        return graph.input(name, "float", [*sizes, cast(Classifier, model).input_size])
    tokens = graph.input(name, "int64", sizes)
    x = embedded(graph, tokens, model.embedding, model.encoder.input_size)
    scale = model.embedding_scale if isinstance(model, LanguageModel) else None
    return x if scale is None else graph.add("Mul", x, graph.constant(float(scale)))


def head(graph: Graph, model: Classifier | Tagger | LanguageModel, h: str) -> str:
    """From the layers' outputs, or what stands for a sequence of them, to scores."""

    def linear(x: str, layer: nn.Module, hint: str) -> str:
        layer = cast(nn.Linear, layer)
        return graph.linear(x, layer.weight, layer.bias, hint)

    if isinstance(model, Tagger):
        return linear(h, model.head, "head")
    if isinstance(model, LanguageModel):
        if not isinstance(model.projection, nn.Identity):
            h = linear(h, model.projection, "projection")
        return linear(h, model.output, "output")
    for number, layer in enumerate(model.dense):
        h = graph.add("Relu", linear(h, layer, f"dense{number}"))
    return linear(h, model.output, "output")


def num_scores(model: Classifier | Tagger | LanguageModel) -> int:
    """Scores at a step."""
    return (model.head if isinstance(model, Tagger) else model.output).out_features


def draw_sequence(model: Classifier | Tagger | LanguageModel, states: States, operators: bool) -> Drawn:
    """The graph of whole sequences."""
    drawn = Drawn(states)
    graph = drawn.graph
    x_TBD = read_input(graph, model, ["time", "batch"])
    lengths = graph.input("lengths", "int64", ["batch"])
    h_TBH, new = run_layers(drawn, model.encoder, x_TBD, lengths, drawn.old(), "encoder", operators)
    if isinstance(model, Classifier):
        scores = head(graph, model, pool(graph, model, h_TBH, lengths))
        graph.output("scores", scores, "float", ["batch", num_scores(model)])
    else:
        graph.output("scores", head(graph, model, h_TBH), "float", ["time", "batch", num_scores(model)])
    if not model.encoder.bidirectional:
        Drawn(layer_states(model.encoder), graph).new(new)
    return drawn


def draw_stream(model: Classifier | Tagger | LanguageModel, states: States, operators: bool) -> Drawn:
    """The graph of one step."""
    drawn = Drawn(states)
    graph = drawn.graph
    x_BD = read_input(graph, model, ["batch"])
    old = drawn.old()
    h_BH, new = step_layers(drawn, model.encoder, x_BD, old, "encoder", operators)
    if isinstance(model, Classifier):
        h_BH, more = pool_step(graph, model, h_BH, old)
        new |= more
    graph.output("scores", head(graph, model, h_BH), "float", ["batch", num_scores(model)])
    drawn.new(new)
    return drawn


# sequence to sequence


def draw_encoder(model: Seq2Seq, states: States, operators: bool) -> Drawn:
    """The graph that reads a source."""
    drawn = Drawn(states)
    graph, layers = drawn.graph, model.decoder.num_layers
    source = graph.input("source", "int64", ["time", "batch"])
    lengths = graph.input("lengths", "int64", ["batch"])
    x_TBD = embedded(graph, source, model.source_embedding, 0, "source_embedding")
    memory_TBM, found = run_layers(drawn, model.encoder, x_TBD, lengths, {}, "encoder", operators)
    if len(model.bridges) > 0:
        found = {
            name: bridged(graph, cast(nn.Linear, bridge), found[name], layers, number)
            for number, (bridge, name) in enumerate(zip(model.bridges, found, strict=True))
        }
    graph.output("memory", memory_TBM, "float", ["time", "batch", model.encoder.output_size])
    for name, state in found.items():
        graph.output(name, state, "float", [layers, "batch", model.decoder.hidden_size])
    if isinstance(model.attention, BahdanauAttention):
        key = model.attention.key
        keys_TBH = graph.linear(memory_TBM, key.weight, key.bias, "attention_key")
        graph.output("keys", keys_TBH, "float", ["time", "batch", key.out_features])
    return drawn


def bridged(graph: Graph, bridge: nn.Linear, state_LBH: str, layers: int, number: int) -> str:
    """The state of both directions (2 L, B, H) as the decoder's (L, B, H)."""
    sides = [graph.add("Gather", state_LBH, graph.constant(list(range(start, 2 * layers, 2)))) for start in (0, 1)]
    both = graph.add("Concat", *sides, axis=2)
    return graph.linear(both, bridge.weight, bridge.bias, f"bridge{number}")


def draw_decoder(model: Seq2Seq, states: States, operators: bool) -> Drawn:
    """The graph of one step of the decoder."""
    drawn = Drawn(states)
    graph, attention, H = drawn.graph, model.attention, model.decoder.hidden_size
    word = graph.input("word", "int64", ["batch"])
    word_BD = embedded(graph, word, model.target_embedding, 0, "target_embedding")
    old = drawn.old()
    x_BD, context_BM = word_BD, ""
    memory_TBM = alive_TB = ""
    if attention is not None:
        memory_TBM = graph.input("memory", "float", ["time", "batch", model.encoder.output_size])
        alive_TB = graph.squeeze(graph.alive(memory_TBM, graph.input("lengths", "int64", ["batch"])), 2)
    if isinstance(attention, BahdanauAttention):
        keys_TBH = graph.input("keys", "float", ["time", "batch", H])
        last_BH = graph.add("Gather", next(iter(old.values())), graph.constant(model.decoder.num_layers - 1))
        query_BH = graph.linear(last_BH, attention.W_a.T, None, "attention_W")
        u_TBH = graph.add("Tanh", graph.add("Add", keys_TBH, query_BH))
        scores_TB = graph.squeeze(graph.linear(u_TBH, attention.v_a[None], None, "attention_v"), 2)
        context_BM = attended(graph, scores_TB, alive_TB, memory_TBM)
        x_BD = graph.add("Concat", word_BD, context_BM, axis=1)
    h_BH, new = step_layers(drawn, model.decoder, x_BD, old, "decoder", operators)
    if isinstance(attention, LuongAttention):
        query_BM = graph.linear(h_BH, attention.W_a.T, None, "attention_W")
        scores_TB = graph.reduce("ReduceSum", graph.add("Mul", memory_TBM, query_BM), 2, keep=False)
        context_BM = attended(graph, scores_TB, alive_TB, memory_TBM)
    if attention is not None:
        read = [context_BM, h_BH] + ([word_BD] if isinstance(attention, BahdanauAttention) else [])
        combine = attention.combine
        both = graph.linear(graph.add("Concat", *read, axis=1), combine.weight, combine.bias, "attention_combine")
        h_BH = graph.add("Tanh", both)
    scores = graph.linear(h_BH, model.output.weight, model.output.bias, "output")
    graph.output("scores", scores, "float", ["batch", model.output.out_features])
    drawn.new(new)
    return drawn


def attended(graph: Graph, scores_TB: str, alive_TB: str, memory_TBM: str) -> str:
    """The mean of a memory with weights by score: (B, M)."""
    weights_TB = graph.add("Softmax", masked(graph, scores_TB, alive_TB), axis=0)
    return graph.reduce("ReduceSum", graph.add("Mul", graph.unsqueeze(weights_TB, 2), memory_TBM), 0, keep=False)
