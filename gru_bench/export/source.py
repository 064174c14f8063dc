"""The model that is exported, asked in the words of the graphs: by whole sequences, and step by step."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from gru_bench.backends.base import State
from gru_bench.export.states import cells_of
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import Encoder
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.models.tagger import Tagger

OFTEN, EVERY = 64, 16
"""A classifier's answer to what it has read so far costs all of that: it is asked at each of so many first steps, and
at every so many afterwards."""

Outputs = dict[str, Tensor]


class Source:
    """A model in evaluation mode, without gradients.

    Args:
        model: With any backend, on the CPU.
        twin: Its equations in plain torch; says which states there are.
    """

    def __init__(self, model: nn.Module, twin: nn.Module) -> None:
        self.model = model.eval()
        encoder = twin.decoder if isinstance(twin, Seq2Seq) else twin.encoder
        self.states = cells_of(cast(Encoder, encoder))[0].states
        self.dtype = next(model.parameters()).dtype

    @torch.no_grad()
    def sequence(self, x: Tensor, state: State | None = None) -> Outputs:
        """One or more sequences without padding: ``scores``, and ``new_h`` ... after the last step."""
        model = self.model
        if isinstance(model, LanguageModel):
            scores, new = model(x, state)
            return {"scores": scores, **self.named(new)}
        model = cast(Classifier | Tagger, model)
        h_TBH, new = model.encoder(model.embed(self.typed(x)), state)
        scores = model.answer(h_TBH, None) if isinstance(model, Classifier) else model.answer(h_TBH)
        return {"scores": scores, **({} if model.encoder.bidirectional else self.named(new))}

    @torch.no_grad()
    def source(self, x_TB: Tensor) -> tuple[Outputs, State]:
        """What the encoder of a translator makes of sources without padding."""
        model = cast(Seq2Seq, self.model)
        memory_TBM, state = model.encode(x_TB, None)
        keys_TBH = model.keys(memory_TBM)
        more = {} if keys_TBH is None else {"keys": keys_TBH}
        return {"memory": memory_TBM, **dict(zip(self.states, state, strict=True)), **more}, state

    def stream(self) -> "Stream":
        """Step by step, from the start."""
        return Stream(self)

    def typed(self, x: Tensor) -> Tensor:
        """Numbers in the model's type."""
        return x.to(self.dtype) if x.is_floating_point() else x

    def named(self, state: State, prefix: str = "new_") -> Outputs:
        """A state by the names of the graph's outputs."""
        return {f"{prefix}{name}": value for name, value in zip(self.states, state, strict=True)}


class Stream:
    """A stream of steps; remembers what a model's answer depends on.

    Args:
        source: Reads forward only.
        decoding: Of a translator: ``memory``, ``lengths`` and ``keys`` as :meth:`Source.source` gives them.
        state: Of a translator's decoder.
    """

    def __init__(self, source: Source, decoding: Mapping[str, Any] | None = None, state: State | None = None) -> None:
        self.source, self.decoding, self.state = source, decoding, state
        self.outputs: list[Tensor] = []
        self.steps = 0

    @torch.no_grad()
    def step(self, x: Tensor) -> Outputs:
        """One step: the new states, and ``scores`` where they are asked for at this step."""
        model, self.steps = self.source.model, self.steps + 1
        found: Outputs = {}
        if isinstance(model, Seq2Seq):
            assert self.decoding is not None
            assert self.state is not None
            given = self.decoding
            scores, self.state = model.decode(x[None], self.state, given["memory"], given["lengths"], given.get("keys"))
            found["scores"] = scores[0]
        elif isinstance(model, LanguageModel):
            scores, self.state = model(x[None], self.state)
            found["scores"] = scores[0]
        else:
            model = cast(Classifier | Tagger, model)
            h_1BH, self.state = model.encoder(model.embed(self.source.typed(x[None])), self.state)
            if isinstance(model, Tagger):
                found["scores"] = model.answer(h_1BH)[0]
            else:
                self.outputs.append(h_1BH)
                if self.steps <= OFTEN or self.steps % EVERY == 0:
                    found["scores"] = model.answer(torch.cat(self.outputs), None)
        assert self.state is not None
        return found | self.source.named(self.state)
