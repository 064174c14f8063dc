"""One prediction for every time step."""

import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.cells.base import Init
from gru_bench.models.encoder import BuildEncoder
from gru_bench.models.init import embedding, linear
from gru_bench.models.streams import Streams


class Tagger(nn.Module):
    """Tokens, recurrent layers, and one linear layer for each step's class.

    Args:
        sizes: ``vocab_size`` and ``num_classes``.
        build_encoder: Builds the recurrent layers.
        streams: Sources of the initial values, one per part.
        embedding_size: D; null feeds each token as a one-hot vector.
        bidirectional: Reads the sequence from both ends.
        dropout: Probability of a zero before the head and between layers.
        init: How the head starts; see ``models/init.py``.

    Shapes:
        tokens: (T, B). Output: (T, B, C).
    """

    def __init__(
        self,
        sizes: dict[str, int],
        build_encoder: BuildEncoder,
        streams: Streams,
        /,
        *,
        embedding_size: int | None,
        bidirectional: bool,
        dropout: float,
        init: Init,
    ) -> None:
        super().__init__()
        self.vocab_size = sizes["vocab_size"]
        self.embedding = (
            None if embedding_size is None else embedding(self.vocab_size, embedding_size, streams("embedding"))
        )
        input_size = self.vocab_size if embedding_size is None else embedding_size
        self.encoder = build_encoder(input_size, streams.part("encoder"), bidirectional=bidirectional, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = linear(self.encoder.output_size, sizes["num_classes"], streams("head"), init)

    def forward(self, tokens_TB: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores of all classes at all steps."""
        h_TBH, _ = self.encoder(self.before(tokens_TB), None, lengths)
        return self.after(h_TBH, lengths)

    def before(self, tokens_TB: Tensor) -> Tensor:
        """What the recurrent layers read."""
        if self.embedding is None:
            return F.one_hot(tokens_TB, self.vocab_size).to(self.head.weight.dtype)
        return self.embedding(tokens_TB)

    def after(self, h_TBH: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores from the outputs of the recurrent layers."""
        return self.head(self.dropout(h_TBH))
