"""Small sequence-to-sequence models and batches for tests."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from gru_bench.backends.base import Backend
from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.models.encoder import Encoder
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.models.streams import Streams
from gru_bench.tasks.base import Batch
from gru_bench.tasks.objectives.translate import collate

SIZES = {"source_vocab_size": 11, "target_vocab_size": 9}
Attention = Literal["none", "luong", "bahdanau"]


def make_model(
    cell: Callable[..., Cell] = GRU,
    backend: Backend | None = None,
    *,
    sizes: dict[str, int] = SIZES,
    num_layers: int = 1,
    attention: Attention = "luong",
    bidirectional: bool = False,
    dropout: float = 0.0,
    hidden_size: int = 12,
    dtype: torch.dtype = torch.float64,
    seed: int = 3,
) -> Seq2Seq:
    def build_encoder(
        input_size: int, streams: Streams, /, *, bidirectional: bool = False, dropout: float = 0.0
    ) -> Encoder:
        return Encoder(
            input_size,
            cell,
            backend or Loop(),
            streams,
            hidden_size=hidden_size,
            num_layers=num_layers,
            device=torch.device("cpu"),
            dtype=dtype,
            bidirectional=bidirectional,
            dropout=dropout,
        )

    model = Seq2Seq(
        sizes,
        build_encoder,
        Streams(seed),
        embedding_size=7,
        attention=attention,
        bidirectional=bidirectional,
        dropout=dropout,
        init="uniform",
    )
    return model.to(dtype)


def random_batch(lengths: list[int], target_lengths: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(5)
    return collate(
        [torch.randint(4, 11, (n,), generator=generator) for n in lengths],
        [torch.randint(4, 9, (n,), generator=generator) for n in target_lengths],
    )


def words_before(targets_SB: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.full_like(targets_SB[:1], 2), targets_SB[:-1].clamp(min=0)])


def sure(num_words: int) -> nn.Linear:
    """An output layer that is sure of the word whose one-hot vector it is fed."""
    layer = nn.Linear(num_words, num_words)
    layer.load_state_dict({"weight": 50 * torch.eye(num_words), "bias": torch.zeros(num_words)})
    return layer
