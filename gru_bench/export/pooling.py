"""What stands for a sequence, in a graph: over all of it at once, and of what a stream has read so far."""

import math

from gru_bench.export.graph import Graph
from gru_bench.models.classifier import Classifier


def pool(graph: Graph, model: Classifier, h_TBH: str, lengths: str) -> str:
    """What stands for each sequence, (B, H): as ``Classifier`` has it."""
    if model.pooling == "last":
        H = model.encoder.hidden_size
        last_BH = at_the_end(graph, h_TBH, lengths)
        if not model.encoder.bidirectional:
            return last_BH
        first_BH = graph.squeeze(graph.slice(h_TBH, 0, 1, 0), 0)
        return graph.add("Concat", graph.slice(last_BH, 0, H, 1), graph.slice(first_BH, H, 2 * H, 1), axis=1)
    alive_TB1 = graph.alive(h_TBH, lengths)
    if model.attention is not None:
        weights_TB1 = graph.add("Softmax", masked(graph, attention_score(graph, model, h_TBH), alive_TB1), axis=0)
        return graph.reduce("ReduceSum", graph.add("Mul", weights_TB1, h_TBH), 0, keep=False)
    if model.pooling == "max":
        return graph.reduce("ReduceMax", masked(graph, h_TBH, alive_TB1), 0, keep=False)
    sum_BH = graph.reduce("ReduceSum", h_TBH, 0, keep=False)
    return graph.add("Div", sum_BH, graph.unsqueeze(graph.cast(lengths, "float"), 1))


def at_the_end(graph: Graph, h_TBH: str, lengths: str) -> str:
    """Each sequence's output at its last step: (T, B, H) to (B, H)."""
    last_B1 = graph.unsqueeze(graph.add("Sub", lengths, graph.constant([1])), 1)
    h_BTH = graph.add("Transpose", h_TBH, perm=[1, 0, 2])
    return graph.add("GatherND", h_BTH, last_B1, batch_dims=1)


def masked(graph: Graph, value: str, alive: str) -> str:
    """Minus infinity where a sequence has ended."""
    return graph.add("Where", alive, value, graph.constant(-math.inf))


def attention_score(graph: Graph, model: Classifier, h: str) -> str:
    """The score of a step's output before the softmax: (..., H) to (..., 1)."""
    assert model.attention is not None
    hidden = model.attention.hidden
    u = graph.add("Tanh", graph.linear(h, hidden.weight, hidden.bias, "attention_hidden"))
    return graph.linear(u, model.attention.v_1H, None, "attention_v")


def pool_step(graph: Graph, model: Classifier, h_BH: str, old: dict[str, str]) -> tuple[str, dict[str, str]]:
    """What stands for the sequence so far, and the states that this takes, by name.

    Learned means keep the largest score so far, so that no exponential overflows: all that was summed is scaled again
    where a larger one comes (Milakov and Gimelshein 2018, arXiv:1805.02867).
    """
    if model.pooling == "last":
        return h_BH, {}
    if model.pooling == "max":
        most_BH = graph.add("Max", old["pool_max"], h_BH)
        return most_BH, {"pool_max": most_BH}
    new = {}
    weight = graph.constant(1.0)
    sum_BH, total_B1 = old["pool_sum"], old["pool_total"]
    if model.attention is not None:
        score_B1 = attention_score(graph, model, h_BH)
        new["pool_score"] = graph.add("Max", old["pool_score"], score_B1)
        shrink_B1 = graph.add("Exp", graph.add("Sub", old["pool_score"], new["pool_score"]))
        weight = graph.add("Exp", graph.add("Sub", score_B1, new["pool_score"]))
        sum_BH, total_B1, h_BH = (
            graph.add("Mul", sum_BH, shrink_B1),
            graph.add("Mul", total_B1, shrink_B1),
            graph.add("Mul", h_BH, weight),
        )
    new |= {"pool_sum": graph.add("Add", sum_BH, h_BH), "pool_total": graph.add("Add", total_B1, weight)}
    return graph.add("Div", new["pool_sum"], new["pool_total"]), new
