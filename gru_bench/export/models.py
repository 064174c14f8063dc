"""The models as graphs: over whole sequences, and step by step.

Names of dimensions: ``time`` and ``batch``. Values are laid out as in torch, time first; see :func:`graphs_of`.
"""

from typing import cast

from torch import nn

from gru_bench.errors import UserError
from gru_bench.export.graph import Graph
from gru_bench.export.parts import Drawn, cells_of, embedded, old_states, run_layers, step_layers
from gru_bench.export.pooling import masked, pool, pool_step
from gru_bench.models.attention import BahdanauAttention, LuongAttention
from gru_bench.models.classifier import Classifier
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.models.tagger import Tagger

SEQUENCE, STREAM, ENCODER, DECODER = "sequence", "stream", "encoder", "decoder_step"


def graphs_of(model: nn.Module, *, operators: bool) -> tuple[dict[str, Drawn], list[str]]:
    """A model's graphs by name, and which it cannot have, with the reason.

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
    if isinstance(model, Seq2Seq):
        return {ENCODER: draw_encoder(model, operators), DECODER: draw_decoder(model, operators)}, []
    if not isinstance(model, Classifier | Tagger | LanguageModel):
        raise UserError(
            f"model={type(model).__name__}: cannot be exported; valid: Classifier, Tagger, LanguageModel, Seq2Seq"
        )
    drawn = {SEQUENCE: draw_sequence(model, operators)}
    if model.encoder.bidirectional:
        return drawn, ["stream: bidirectional=true has no single steps: the backward direction starts at the last one"]
    return drawn | {STREAM: draw_stream(model, operators)}, []


def read_input(graph: Graph, model: Classifier | Tagger | LanguageModel, sizes: list[int | str]) -> str:
    """The model's input and what the first layer is fed: (..., D) for an input of these leading sizes."""
    if isinstance(model, Classifier) and model.input == "features":
        return graph.input("features", "float", [*sizes, model.input_size])
    tokens = graph.input("tokens", "int64", sizes)
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


def draw_sequence(model: Classifier | Tagger | LanguageModel, operators: bool) -> Drawn:
    """The graph of whole sequences."""
    drawn = Drawn()
    graph = drawn.graph
    x_TBD = read_input(graph, model, ["time", "batch"])
    lengths = graph.input("lengths", "int64", ["batch"])
    old = old_states(drawn, model.encoder) if isinstance(model, LanguageModel) else None
    h_TBH, finals = run_layers(drawn, model.encoder, x_TBD, lengths, old, "encoder", operators)
    if isinstance(model, Classifier):
        scores = head(graph, model, pool(graph, model, h_TBH, lengths))
        graph.output("scores", scores, "float", ["batch", model.output.out_features])
    else:
        scores = head(graph, model, h_TBH)
        size = (model.head if isinstance(model, Tagger) else model.output).out_features
        graph.output("scores", scores, "float", ["time", "batch", size])
    if not model.encoder.bidirectional:
        cells = cells_of(model.encoder)
        for name, final in zip(cells[0].states, finals, strict=True):
            graph.output(f"new_{name}", final, "float", [len(cells), "batch", model.encoder.hidden_size])
    return drawn


def draw_stream(model: Classifier | Tagger | LanguageModel, operators: bool) -> Drawn:
    """The graph of one step."""
    drawn = Drawn()
    graph = drawn.graph
    x_BD = read_input(graph, model, ["batch"])
    old = old_states(drawn, model.encoder)
    h_BH, new = step_layers(drawn, model.encoder, x_BD, old, "encoder", operators)
    if isinstance(model, Classifier):
        h_BH, more = pool_step(drawn, model, h_BH)
        new |= more
        size = model.output.out_features
    else:
        size = (model.head if isinstance(model, Tagger) else model.output).out_features
    graph.output("scores", head(graph, model, h_BH), "float", ["batch", size])
    for name, value in new.items():
        drawn.new(name, value)
    return drawn


# sequence to sequence


def draw_encoder(model: Seq2Seq, operators: bool) -> Drawn:
    """The graph that reads a source."""
    drawn = Drawn()
    graph, layers = drawn.graph, model.decoder.num_layers
    source = graph.input("source", "int64", ["time", "batch"])
    lengths = graph.input("lengths", "int64", ["batch"])
    x_TBD = embedded(graph, source, model.source_embedding, 0, "source_embedding")
    memory_TBM, states = run_layers(drawn, model.encoder, x_TBD, lengths, None, "encoder", operators)
    if len(model.bridges) > 0:
        states = [bridged(graph, cast(nn.Linear, bridge), state, layers, number)
                  for number, (bridge, state) in enumerate(zip(model.bridges, states, strict=True))]  # fmt: skip
    graph.output("memory", memory_TBM, "float", ["time", "batch", model.encoder.output_size])
    for name, state in zip(cells_of(model.decoder)[0].states, states, strict=True):
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


def draw_decoder(model: Seq2Seq, operators: bool) -> Drawn:
    """The graph of one step of the decoder."""
    drawn = Drawn()
    graph, attention, H = drawn.graph, model.attention, model.decoder.hidden_size
    word = graph.input("word", "int64", ["batch"])
    word_BD = embedded(graph, word, model.target_embedding, 0, "target_embedding")
    old = old_states(drawn, model.decoder)
    x_BD, context_BM = word_BD, ""
    memory_TBM = alive_TB = ""
    if attention is not None:
        memory_TBM = graph.input("memory", "float", ["time", "batch", model.encoder.output_size])
        alive_TB = graph.squeeze(graph.alive(memory_TBM, graph.input("lengths", "int64", ["batch"])), 2)
    if isinstance(attention, BahdanauAttention):
        keys_TBH = graph.input("keys", "float", ["time", "batch", H])
        last_BH = graph.add("Gather", old[0], graph.constant(model.decoder.num_layers - 1))
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
    for name, value in new.items():
        drawn.new(name, value)
    return drawn


def attended(graph: Graph, scores_TB: str, alive_TB: str, memory_TBM: str) -> str:
    """The mean of a memory with weights by score: (B, M)."""
    weights_TB = graph.add("Softmax", masked(graph, scores_TB, alive_TB), axis=0)
    return graph.reduce("ReduceSum", graph.add("Mul", graph.unsqueeze(weights_TB, 2), memory_TBM), 0, keep=False)
