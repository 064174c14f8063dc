"""Predicts the next token of a stream at every step."""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from gru_bench.backends.base import State
from gru_bench.cells.base import Init
from gru_bench.models.encoder import BuildEncoder
from gru_bench.models.init import embedding, linear, redraw
from gru_bench.models.streams import Streams


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, linear output over the vocabulary.

    Args:
        sizes: ``vocab_size`` is V.
        build_encoder: Makes the recurrent layers.
        streams: Sources of the initial values, one per part.
        embedding_size: E.
        tied: Share one matrix between embedding and output layer (Press and Wolf, 2017). It then starts as the
            output layer's, since the embedding's larger values would saturate the softmax. A linear projection from
            the encoder's output size to E stands between where the two differ, and for every cell of a sweep in which
            a budget chooses the sizes: whether there is one must not depend on the size that a cell happens to get.
        scale_embedding: Multiply the embedding's output by sqrt(E), as Vaswani et al. (2017) do where it is tied. Its
            values are then as small as an output layer's, and an LSTM that hardly hears its input may learn the words'
            frequencies as one of two states that it never leaves, and score far worse than the trivial guess wherever
            it starts in the other one.
        dropout: Probability of a zero after the embedding, between the layers and before the output, in training.
        init: Initial values of the output layer; see :func:`~gru_bench.models.init.linear`.
        init_range: Draw every parameter of the model from U(-init_range, init_range), biases too, as Zaremba et al.
            (2014) did; ``init`` and the cell's own initial values, such as a forget bias, then count for nothing.
            Null for these.

    Shapes:
        tokens: (T, B) of ids. Output: logits (T, B, V) and the state for the next call; see
        :class:`~gru_bench.models.encoder.Encoder`.
    """

    def __init__(
        self,
        sizes: dict[str, int],
        build_encoder: BuildEncoder,
        streams: Streams,
        /,
        *,
        embedding_size: Annotated[int, Gt(0)],
        tied: bool,
        scale_embedding: bool,
        dropout: Annotated[float, Ge(0), Lt(1)],
        init: Init,
        init_range: Annotated[float, Gt(0)] | None,
    ) -> None:
        super().__init__()
        self.embedding_scale = math.sqrt(embedding_size) if scale_embedding else None
        self.embedding = embedding(sizes["vocab_size"], embedding_size, streams("embedding"))
        self.encoder = build_encoder(embedding_size, streams.part("encoder"), dropout=dropout, init_range=init_range)
        self.dropout = nn.Dropout(dropout)
        output_size = self.encoder.output_size
        self.projection: nn.Module = nn.Identity()
        if tied and (output_size != embedding_size or self.encoder.resizable):
            self.projection = linear(output_size, embedding_size, streams("projection"), init)
            output_size = embedding_size
        self.output = linear(output_size, sizes["vocab_size"], streams("output"), init)
        if tied:
            self.embedding.weight = self.output.weight
        if init_range is not None:
            for name in ("embedding", "projection", "output"):
                redraw(self.get_submodule(name), init_range, streams(name))

    def forward(self, tokens_TB: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of the next token at every step, and the state after the last."""
        h_TBE, state = self.features(tokens_TB, state)
        return self.output(h_TBE), state

    def features(self, tokens_TB: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the output layer is fed at every step, (T, B, H), or (T, B, E) where it is tied; and the last state."""
        h_TBH, state = self.encoder(self.before(tokens_TB), state)
        return self.after(h_TBH), state

    def before(self, tokens_TB: Tensor) -> Tensor:
        """What the recurrent layers read."""
        x_TBE = self.embedding(tokens_TB)
        if self.embedding_scale is not None:
            x_TBE = x_TBE * self.embedding_scale
        return self.dropout(x_TBE)

    def after(self, h_TBH: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the output layer is fed, from the outputs of the recurrent layers."""
        return self.projection(self.dropout(h_TBH))
