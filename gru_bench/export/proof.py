"""The proof that an exported model is its source: run at every export, before any file is left.

Whole sequences are compared with the source on each sequence *alone and without padding*, so what a graph makes of
lengths, of the batch and of numbers of steps that nobody traced is all under test. Streams run for :data:`STEPS` steps
on their own state, and each of these steps once more from the source's state: errors that add up are seen by the first,
and a step that is wrong where rounding would hide it by the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from gru_bench.export.errors import OWN_ROUNDINGS, TOLERANCE, Errors
from gru_bench.export.source import Source, Stream
from gru_bench.export.states import DECODER, ENCODER, SEQUENCE, STREAM, Program, States, input_name
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import Encoder
from gru_bench.models.seq2seq import Seq2Seq

STEPS = 1000
RAGGED = ((1,), (3, 1, 2), (2, 2), (17, 5, 1, 9, 17, 16, 2), (1000, 371, 1))
"""Lengths of the sequences of each batch."""
STREAM_BATCH = 2
SOURCES = (7, 1, 12)
"""Lengths of the sources of the decoder's stream."""


@dataclass
class Proof:
    """What was compared, by graph; a stream also step by step, as ``NAME from the source's state``."""

    errors: dict[str, Errors] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return bool(self.errors) and all(one.holds for one in self.errors.values())

    @property
    def absolute(self) -> float:
        """The worst of all."""
        return max(one.absolute for one in self.errors.values())

    @property
    def relative(self) -> float:
        return max(one.relative for one in self.errors.values())

    def line(self) -> str:
        """In one line."""
        labels = sum(one.labels for one in self.errors.values())
        different = sum(one.different - one.ties for one in self.errors.values())
        said = f", {labels - different:,} of {labels:,} labels equal" if labels else ""
        return (
            f"worst error {self.absolute:.1e} absolute, {self.relative:.1e} relative in float32{said} "
            f"(batches of unequal lengths; {STEPS:,} streamed steps)"
        )

    def as_json(self) -> dict[str, Any]:
        """What ``export.json`` keeps."""
        return {
            "holds": self.holds,
            "worst_absolute_error": self.absolute,
            "worst_relative_error": self.relative,
            "tolerance": f"{TOLERANCE:g} of the largest value of an output, at least of 1; or {OWN_ROUNDINGS} times "
            "the difference between the source in float32 and in float64",
            "steps": STEPS,
            "lengths": [list(lengths) for lengths in RAGGED],
            **{name: one.as_json() for name, one in self.errors.items()},
        }


class Prover:
    """Compares programs with one model.

    Args:
        model: With the backend that it was trained with, on the CPU.
        twin: Its equations in plain torch, in float32.
        exact: The same in float64.
    """

    def __init__(self, model: nn.Module, twin: nn.Module, exact: nn.Module) -> None:
        self.twin = twin
        self.source, self.exact = Source(model, twin), Source(exact, twin)
        self.random = torch.Generator().manual_seed(0)

    def prove(self, programs: Mapping[str, Program], states: Mapping[str, States]) -> Proof:
        """Compare all programs of one model, by the names of its graphs."""
        proof = Proof()
        if isinstance(self.twin, Seq2Seq):
            proof.errors[ENCODER] = self.sources(programs[ENCODER])
            self.decoding(proof, programs[ENCODER], programs[DECODER], states[DECODER])
            return proof
        if SEQUENCE in programs:
            proof.errors[SEQUENCE] = self.sequences(programs[SEQUENCE], states[SEQUENCE])
        if STREAM in programs:
            x_SB = self.inputs(STEPS, STREAM_BATCH)
            self.stream(proof, STREAM, programs[STREAM], self.source.stream(), self.exact.stream(), x_SB,
                        started(states[STREAM], STREAM_BATCH), {}, input_name(self.twin))  # fmt: skip
        return proof

    def inputs(self, *sizes: int) -> Tensor:
        """Random ones: ids of tokens, or numbers from 0 to 1."""
        model = self.twin
        if isinstance(model, Seq2Seq):
            return self.ids(model.source_embedding.num_embeddings, *sizes)
        if input_name(model) == "features":
            return torch.rand(*sizes, cast(int, model.input_size), generator=self.random)
        embedding = cast(nn.Embedding | None, model.embedding)
        number = cast(Encoder, model.encoder).input_size if embedding is None else embedding.num_embeddings
        return self.ids(number, *sizes)

    def ids(self, number: int, *sizes: int) -> Tensor:
        return torch.randint(number, sizes, generator=self.random)

    def sequences(self, program: Program, states: States) -> Errors:
        """Batches of unequal lengths against each sequence alone."""
        errors = Errors()
        by_step = not isinstance(self.twin, Classifier)
        for lengths in RAGGED:
            x = self.inputs(max(lengths), len(lengths))
            start = {name: torch.randn(*value.shape, generator=self.random).mul(0.5)
                     for name, value in started(states, len(lengths)).items()}  # fmt: skip
            found = program({input_name(self.twin): x, "lengths": torch.tensor(lengths), **start})
            for row, length in enumerate(lengths):
                state = tuple(value[:, row : row + 1] for value in start.values()) or None
                alone = self.source.sequence(x[:length, row : row + 1], state)
                exact = self.exact.sequence(x[:length, row : row + 1], doubled(state))
                for name, expected in alone.items():
                    steps = by_step and name == "scores"
                    mine = found[name][:length, row : row + 1] if steps else found[name].narrow(-2, row, 1)
                    errors.see(mine, expected, exact[name], is_scores=name == "scores")
        return errors

    def sources(self, program: Program) -> Errors:
        """The same of a translator's encoder."""
        errors = Errors()
        for lengths in RAGGED:
            x_TB = self.inputs(max(lengths), len(lengths))
            found = program({"source": x_TB, "lengths": torch.tensor(lengths)})
            for row, length in enumerate(lengths):
                (alone, _), (exact, _) = (one.source(x_TB[:length, row : row + 1]) for one in (self.source, self.exact))
                for name, expected in alone.items():
                    steps = name in ("memory", "keys")
                    mine = found[name][:length, row : row + 1] if steps else found[name][:, row : row + 1]
                    errors.see(mine, expected, exact[name])
        return errors

    def decoding(self, proof: Proof, encoder: Program, decoder: Program, states: States) -> None:
        """A translator's decoder: it goes on from what its own encoder made of the sources."""
        lengths = torch.tensor(SOURCES)
        x_TB = self.inputs(max(SOURCES), len(SOURCES))
        mine = encoder({"source": x_TB, "lengths": lengths})
        streams = []
        for one in (self.source, self.exact):
            with torch.no_grad():
                memory_TBM, state = cast(Seq2Seq, one.model).encode(x_TB, lengths)
                keys_TBH = cast(Seq2Seq, one.model).keys(memory_TBM)
            streams.append(Stream(one, {"memory": memory_TBM, "lengths": lengths, "keys": keys_TBH}, state))
        attends = cast(Seq2Seq, self.twin).attention is not None
        given: dict[str, Tensor] = {"lengths": lengths} if attends else {}
        given |= {name: mine[name] for name in ("memory", "keys") if name in mine and attends}
        words_SB = self.ids(cast(Seq2Seq, self.twin).target_embedding.num_embeddings, STEPS, len(SOURCES))
        start = {name: mine[name] for name in states}
        self.stream(proof, DECODER, decoder, streams[0], streams[1], words_SB, start, given, "word")

    def stream(
        self,
        proof: Proof,
        name: str,
        program: Program,
        source: Stream,
        exact: Stream,
        x_SB: Tensor,
        state: dict[str, Tensor],
        given: dict[str, Tensor],
        read: str,
    ) -> None:
        """All steps on the program's own state, and each from the source's."""
        free, each = Errors(), Errors()
        right = state  # the source's own, after the first step
        for x_B in x_SB:
            expected, in_double = source.step(x_B), exact.step(x_B)
            found = program({read: x_B, **given, **state})
            again = program({read: x_B, **given, **right})
            for key, value in expected.items():
                is_scores = key == "scores"
                free.see(found[key], value, in_double[key], is_scores=is_scores)
                each.see(again[key], value, None, is_scores=is_scores)
            state = {key: found[f"new_{key}"] for key in state}
            # what pools the outputs is no state of the source
            right = {key: expected.get(f"new_{key}", again[f"new_{key}"]).float() for key in state}
        proof.errors[name], proof.errors[f"{name} from the source's state"] = free, each


def started(states: States, batch: int) -> dict[str, Tensor]:
    """States before the first step."""
    return {name: one.started(batch) for name, one in states.items()}


def doubled(state: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
    """A state in float64."""
    return None if state is None else tuple(value.double() for value in state)
