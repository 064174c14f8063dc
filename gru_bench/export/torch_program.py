"""The same graphs as programs of ``torch.export``, in plain operators of torch, with time and batch dynamic.

``torch.export`` unrolls a Python loop over time to the length that it traced. So layers run through torch's ``scan``
operator here, whose body is one step of the cell: a program reads sequences of any length. It is a prototype in torch
(its loop runs in Python when the program is not compiled), so an export that it refuses is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from gru_bench.cells.base import Cell, State
from gru_bench.errors import UserError
from gru_bench.export.states import (
    DECODER,
    ENCODER,
    SEQUENCE,
    STREAM,
    Named,
    Program,
    States,
    cells_of,
    input_name,
    layer_states,
    states_of,
)
from gru_bench.export.traced import BATCH, TIME, TRACED_BATCH, TRACED_TIME
from gru_bench.models.attention import BahdanauAttention
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import Encoder, flip
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.models.tagger import Tagger


@dataclass(frozen=True)
class Traced:
    """A program with the names of what goes in and comes out, in their order, which torch does not keep."""

    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def scan_layer(cell: Cell, x_TBD: Tensor, state: State, lengths: Tensor) -> tuple[Tensor, State]:
    """One layer over a sequence; outputs past a length are zero, and states stay as they were there."""
    from torch._higher_order_ops.scan import scan

    gx_TBG = cell.input_projection(x_TBD)
    steps_T = torch.arange(x_TBD.shape[0], device=x_TBD.device)
    alive_TB1 = (steps_T[:, None] < lengths[None])[:, :, None]

    def step(old: list[Tensor], given: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        gx_BG, alive_B1 = given
        output_BH, new = cell.step(gx_BG, tuple(old))
        kept = [torch.where(alive_B1, after, before) for before, after in zip(old, new, strict=True)]
        return kept, torch.where(alive_B1, output_BH, torch.zeros_like(output_BH))

    final, h_TBH = scan(step, list(state), [gx_TBG, alive_TB1])
    return h_TBH, tuple(final)


def scan_layers(encoder: Encoder, x_TBD: Tensor, state: State | None, lengths: Tensor) -> tuple[Tensor, State]:
    """All layers, in evaluation; as ``Encoder.forward``."""
    cells, directions = cells_of(encoder), 2 if encoder.bidirectional else 1
    finals: list[State] = []
    for number in range(0, len(cells), directions):
        outputs = []
        for place, cell in enumerate(cells[number : number + directions], start=number):
            start = (
                tuple(x_TBD.new_zeros(x_TBD.shape[1], cell.hidden_size) for _ in cell.states)
                if state is None
                else tuple(s_LBH[place] for s_LBH in state)
            )
            turned = place > number
            h_TBH, final = scan_layer(cell, flip(x_TBD, lengths) if turned else x_TBD, start, lengths)
            outputs.append(flip(h_TBH, lengths) if turned else h_TBH)
            finals.append(final)
        x_TBD = torch.cat(outputs, dim=2) if directions > 1 else outputs[0]
    return x_TBD, tuple(torch.stack(states) for states in zip(*finals, strict=True))


class Whole(nn.Module):
    """Sequences of a classifier, tagger or language model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        if isinstance(model, LanguageModel):
            scale = 1.0 if model.embedding_scale is None else model.embedding_scale
            h_TBH, new = scan_layers(model.encoder, model.embedding(x) * scale, state, lengths)
            return (model.output(model.projection(h_TBH)), *new)
        model = cast(Classifier | Tagger, model)
        h_TBH, new = scan_layers(model.encoder, model.embed(x), None, lengths)
        scores = model.answer(h_TBH, lengths) if isinstance(model, Classifier) else model.answer(h_TBH)
        return (scores, *(() if model.encoder.bidirectional else new))


class One(nn.Module):
    """One step of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        if isinstance(model, LanguageModel):
            scores, new = model(x[None], state)
            return (scores[0], *new)
        model = cast(Classifier | Tagger, model)
        num_states = len(cells_of(model.encoder)[0].states)
        h_1BH, new = model.encoder(model.embed(x[None]), state[:num_states])
        if isinstance(model, Tagger):
            return (model.answer(h_1BH)[0], *new)
        pooled_BH, more = pool_step(model, h_1BH[0], state[num_states:])
        return (head(model, pooled_BH), *new, *more)


def head(model: Classifier, pooled_BH: Tensor) -> Tensor:
    """Scores from what stands for a sequence."""
    for layer in model.dense:
        pooled_BH = torch.relu(layer(pooled_BH))
    scores_BC: Tensor = model.output(pooled_BH)
    return scores_BC


def pool_step(model: Classifier, h_BH: Tensor, old: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As in ``export/pooling.py``."""
    if model.pooling == "last":
        return h_BH, ()
    if model.pooling == "max":
        most_BH = torch.maximum(old[0], h_BH)
        return most_BH, (most_BH,)
    if model.attention is None:
        sum_BH, total_B1 = old[0] + h_BH, old[1] + 1
        return sum_BH / total_B1, (sum_BH, total_B1)
    score_B1 = torch.tanh(model.attention.hidden(h_BH)) @ model.attention.v_1H.T
    most_B1 = torch.maximum(old[2], score_B1)
    shrink_B1, weight_B1 = (old[2] - most_B1).exp(), (score_B1 - most_B1).exp()
    sum_BH = old[0] * shrink_B1 + h_BH * weight_B1
    total_B1 = old[1] * shrink_B1 + weight_B1
    return sum_BH / total_B1, (sum_BH, total_B1, most_B1)


class Sources(nn.Module):
    """What a translator's encoder makes of sources."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        memory_TBM, state = scan_layers(model.encoder, model.source_embedding(x), None, lengths)
        if len(model.bridges) > 0:
            state = tuple(
                bridge(torch.cat([s_LBH[0::2], s_LBH[1::2]], dim=2))
                for bridge, s_LBH in zip(model.bridges, state, strict=True)
            )
        keys_TBH = model.keys(memory_TBM)
        return (memory_TBM, *state, *(() if keys_TBH is None else (keys_TBH,)))


class Decoding(nn.Module):
    """One step of a translator's decoder; ``given``: state, then memory, lengths and keys where it attends."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model, self.num_states = model, len(cells_of(model.decoder)[0].states)

    def forward(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        state, rest = given[: self.num_states], given[self.num_states :]
        memory_TBM = rest[0] if rest else x.new_zeros(1, 1, 1)
        scores_1BV, new = self.model.decode(
            x[None], state, memory_TBM, rest[1] if rest else None, rest[2] if len(rest) > 2 else None
        )
        return (scores_1BV[0], *new)


def trace(model: nn.Module) -> dict[str, Traced]:
    """A model's programs by name; inputs, outputs and states are called as in ``export/models.py``.

    Args:
        model: In evaluation, on the CPU; its stacks are loops.

    Raises:
        UserError: A model of another class, or one that this version of torch does not export.
    """
    made = {}
    for name, states in states_of(model)[0].items():
        made[name] = trace_one(model, name, states)
    return made


def trace_one(model: nn.Module, name: str, states: States) -> Traced:
    """One of them.

    Raises:
        UserError: As in :func:`trace`.
    """
    inputs, outputs = examples(model, name, states), output_names(model, name, states)
    kind = {SEQUENCE: Whole, STREAM: One, ENCODER: Sources, DECODER: Decoding}[name]
    try:
        with torch.no_grad():
            program = torch.export.export(
                Flat(kind(model)),  # type: ignore[arg-type]  # Seq2Seq where the graph is one of its own
                tuple(value for value, _ in inputs.values()),
                dynamic_shapes=(tuple(axes for _, axes in inputs.values()),),
                strict=False,
            )
    except Exception as error:  # whatever torch.export raises, of which there is no list
        raise UserError(
            f"format=torch: torch {torch.__version__} does not export the graph {name} of this model "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200]}); valid: format=onnx"
        ) from error
    return Traced(program, tuple(inputs), outputs)


class Flat(nn.Module):
    """Any of the modules above with one list of inputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.inner(*given)
        return found


Example = tuple[Tensor, dict[int, Any]]
"""A tensor and its dynamic axes."""


def examples(model: nn.Module, name: str, states: States) -> dict[str, Example]:
    """What a graph is traced with, by the names of its inputs, in their order."""
    T, B = TRACED_TIME, TRACED_BATCH
    by_step, both = {0: BATCH}, {0: TIME, 1: BATCH}
    found: dict[str, Example] = {}
    if isinstance(model, Seq2Seq):
        if name == ENCODER:
            found["source"] = torch.zeros(T, B, dtype=torch.int64), both
        else:
            found["word"] = torch.zeros(B, dtype=torch.int64), by_step
    else:
        sizes, axes = ((T, B), both) if name == SEQUENCE else ((B,), by_step)
        read = input_name(model)
        if read == "features":
            found[read] = torch.zeros(*sizes, cast(Classifier, model).input_size), axes
        else:
            found[read] = torch.zeros(sizes, dtype=torch.int64), axes
    lengths = torch.full((B,), T), {0: BATCH}
    if name in (SEQUENCE, ENCODER):
        found["lengths"] = lengths
    for state, one in states.items():
        found[state] = one.started(B), {one.shape.index(None): BATCH}
    if isinstance(model, Seq2Seq) and name == DECODER and model.attention is not None:
        found["memory"] = torch.zeros(T, B, model.encoder.output_size), both
        found["lengths"] = lengths
        if isinstance(model.attention, BahdanauAttention):
            found["keys"] = torch.zeros(T, B, model.decoder.hidden_size), both
    return found


def output_names(model: nn.Module, name: str, states: States) -> tuple[str, ...]:
    """Of a graph, in their order."""
    if isinstance(model, Seq2Seq) and name == ENCODER:
        keys = ("keys",) if isinstance(model.attention, BahdanauAttention) else ()
        return ("memory", *layer_states(model.decoder), *keys)
    if name == SEQUENCE:
        encoder = cast(Classifier | Tagger | LanguageModel, model).encoder
        states = {} if encoder.bidirectional else layer_states(encoder)
    return ("scores", *(f"new_{state}" for state in states))


def program_of(traced: Traced) -> Program:
    """What runs it."""
    module = traced.program.module()

    def run(inputs: Named) -> dict[str, Tensor]:
        with torch.no_grad():
            found = module(*(inputs[name] for name in traced.inputs))
        return dict(zip(traced.outputs, found, strict=True))

    return run
