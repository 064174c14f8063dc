"""One prediction for a whole sequence."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from gru_bench.cells.base import Init
from gru_bench.errors import UserError
from gru_bench.models.encoder import BuildEncoder, last_output
from gru_bench.models.init import embedding, linear
from gru_bench.models.pooling import AttentionPooling
from gru_bench.models.streams import Streams


class Classifier(nn.Module):
    """Recurrent layers, pooling over time, dense layers with ReLU, and one linear layer.

    Args:
        sizes: ``vocab_size`` for tokens or ``input_size`` for features; and the number of outputs C as
            ``num_classes`` or ``num_outputs``.
        build_encoder: Makes the recurrent layers.
        streams: Sources of the initial values, one per part.
        input: ``tokens``, ids (T, B); or ``features``, numbers (T, B, D).
        embedding_size: E of the tokens; null feeds each token as a one-hot vector. Null for features.
        pooling: What stands for a sequence: its ``last`` output (read from both ends, each direction's own last
            one), the ``mean`` or ``max`` over its steps, or the mean by ``attention``, whose weights are learned.
        dense: Units of the dense layers between pooling and output; empty for none.
        bidirectional: Read the sequence from both ends.
        dropout: Probability of a zero before the recurrent layers (tokens only), between them and after pooling,
            in training only.
        init: Initial values of the dense and the output layer; see :func:`~gru_bench.models.init.linear`.

    Shapes:
        inputs: (T, B) or (T, B, D), right-padded. lengths: (B,), or None where nothing is padded. Output: (B, C).

    Raises:
        UserError: ``embedding_size`` is given for features, or ``input`` is not what the task has.
    """

    once_a_sequence: ClassVar[tuple[str, ...]] = ("dense", "output")
    """Parts that are applied to a sequence and not to its tokens, as ``models/products.py`` asks."""

    def __init__(
        self,
        sizes: dict[str, int],
        build_encoder: BuildEncoder,
        streams: Streams,
        /,
        *,
        input: Literal["tokens", "features"],
        embedding_size: Annotated[int, Gt(0)] | None,
        pooling: Literal["last", "mean", "max", "attention"],
        dense: list[Annotated[int, Gt(0)]],
        bidirectional: bool,
        dropout: Annotated[float, Ge(0), Lt(1)],
        init: Init,
    ) -> None:
        super().__init__()
        if input == "features" and embedding_size is not None:
            raise UserError(f"model.embedding_size={embedding_size}: features are not embedded; set null")
        needed = "input_size" if input == "features" else "vocab_size"
        if needed not in sizes:
            raise UserError(f"model.input={input}: not what this task gives; leave it as the task's yaml has it")
        self.input = input
        self.pooling = pooling
        self.embedding: nn.Embedding | None = None
        if embedding_size is not None:
            self.embedding = embedding(sizes["vocab_size"], embedding_size, streams("embedding"))
        # without an embedding every token is a one-hot vector
        self.input_size = embedding_size or sizes[needed]
        self.encoder = build_encoder(
            self.input_size, streams.part("encoder"), bidirectional=bidirectional, dropout=dropout
        )
        self.attention: AttentionPooling | None = None
        if pooling == "attention":
            self.attention = AttentionPooling(self.encoder.output_size, streams.part("attention"), init=init)
        self.dropout = nn.Dropout(dropout)
        widths = [self.encoder.output_size, *dense]
        self.dense = nn.ModuleList(
            linear(before, after, streams(f"dense{index}"), init)
            for index, (before, after) in enumerate(pairwise(widths))
        )
        num_outputs = sizes["num_classes"] if "num_classes" in sizes else sizes["num_outputs"]
        self.output = linear(widths[-1], num_outputs, streams("output"), init)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, C): logits of the classes, or the numbers asked for."""
        h_TBH, _ = self.encoder(self.before(inputs), None, lengths)
        return self.after(h_TBH, lengths)

    def after(self, h_TBH: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores from the outputs of the recurrent layers."""
        h_BH = self.dropout(self._pool(h_TBH, lengths))
        for layer in self.dense:
            h_BH = F.relu(layer(h_BH))
        return self.output(h_BH)

    def before(self, inputs: Tensor) -> Tensor:
        """What the recurrent layers read."""
        if self.input == "features":
            return inputs
        if self.embedding is None:
            return F.one_hot(inputs, self.input_size).to(self.output.weight.dtype)
        return self.dropout(self.embedding(inputs))

    def _pool(self, h_TBH: Tensor, lengths: Tensor | None) -> Tensor:
        if self.pooling == "last":
            last_BH = last_output(h_TBH, lengths)
            if not self.encoder.bidirectional:
                return last_BH
            # the backward direction ends at the first step
            H = self.encoder.hidden_size
            return torch.cat([last_BH[:, :H], h_TBH[0, :, H:]], dim=1)
        if self.attention is not None:
            return self.attention(h_TBH, lengths)[0]
        if lengths is None:
            return h_TBH.mean(dim=0) if self.pooling == "mean" else h_TBH.amax(dim=0)
        lengths = lengths.to(h_TBH.device)
        if self.pooling == "mean":
            # outputs past a length are zero
            return h_TBH.sum(dim=0) / lengths[:, None].to(h_TBH.dtype)
        steps_T = torch.arange(h_TBH.shape[0], device=h_TBH.device)
        padded_TB = steps_T[:, None] >= lengths[None, :]
        return h_TBH.masked_fill(padded_TB[:, :, None], -torch.inf).amax(dim=0)
