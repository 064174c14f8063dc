"""From one sequence to another: an encoder, a decoder, and attention between them."""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from gru_bench.backends.base import State
from gru_bench.cells.base import Init
from gru_bench.models.attention import BahdanauAttention, LuongAttention, padding
from gru_bench.models.encoder import BuildEncoder, Encoder
from gru_bench.models.init import embedding, linear
from gru_bench.models.streams import Streams


class Seq2Seq(nn.Module):
    """Encoder, decoder that starts from the encoder's last state, and a linear layer over the target vocabulary.

    Args:
        sizes: ``source_vocab_size`` and ``target_vocab_size``.
        build_encoder: Builds the recurrent layers, once for the source and once for the target.
        streams: Sources of the initial values, one per part.
        embedding_size: D of source and target words.
        attention: ``luong`` lets each target step look at all source steps after the decoder; ``bahdanau`` before
            it, so that the decoder reads what was looked at and runs step by step; with ``none`` the encoder's last
            state is all that the decoder knows of the source.
        bidirectional: The encoder reads the source from both ends. One linear map per state, shared by the layers,
            then brings the two directions to the decoder's size.
        dropout: Probability of a zero after the embeddings, between layers and before the output, in training only.
        init: How the linear layers start; see ``models/init.py``.

    Shapes:
        source: (T, B) ids. lengths: (B,) of the source, or None where nothing is padded. target: (S, B) ids, the
        words that came before: ``<bos> y_1 y_2 ...``. Output: (S, B, V) scores of the next word at each step.

    Source: Sutskever et al. (2014), arXiv:1409.3215; attention by Luong et al. (2015), arXiv:1508.04025, and by
    Bahdanau et al. (2015), arXiv:1409.0473.
    """

    once_a_sequence: ClassVar[tuple[str, ...]] = ("bridges",)
    """Parts that are applied to a sequence and not to its tokens, as ``models/products.py`` asks."""

    def __init__(
        self,
        sizes: dict[str, int],
        build_encoder: BuildEncoder,
        streams: Streams,
        /,
        *,
        embedding_size: Annotated[int, Gt(0)],
        attention: Literal["none", "luong", "bahdanau"],
        bidirectional: bool,
        dropout: Annotated[float, Ge(0), Lt(1)],
        init: Init,
    ) -> None:
        super().__init__()
        target_vocab_size = sizes["target_vocab_size"]
        self.source_embedding = embedding(sizes["source_vocab_size"], embedding_size, streams("source_embedding"))
        self.encoder = build_encoder(
            embedding_size, streams.part("encoder"), bidirectional=bidirectional, dropout=dropout
        )
        self.target_embedding = embedding(target_vocab_size, embedding_size, streams("target_embedding"))
        context_size = self.encoder.output_size if attention == "bahdanau" else 0
        self.decoder = build_encoder(embedding_size + context_size, streams.part("decoder"), dropout=dropout)
        memory_size, hidden_size = self.encoder.output_size, self.decoder.output_size
        num_bridges = num_states(self.encoder, embedding_size) if bidirectional else 0
        self.bridges = nn.ModuleList(
            linear(memory_size, hidden_size, streams(f"bridge{index}"), init) for index in range(num_bridges)
        )
        self.attention: LuongAttention | BahdanauAttention | None = None
        if attention == "luong":
            self.attention = LuongAttention(hidden_size, memory_size, streams.part("attention"), init=init)
        elif attention == "bahdanau":
            self.attention = BahdanauAttention(
                hidden_size, memory_size, embedding_size, streams.part("attention"), init=init
            )
        self.dropout = nn.Dropout(dropout)
        self.output = linear(hidden_size, target_vocab_size, streams("output"), init)

    def forward(self, source_TB: Tensor, lengths: Tensor | None, target_SB: Tensor) -> Tensor:
        """Scores of all next words, given all right ones before (teacher forcing)."""
        memory_TBM, state = self.encode(source_TB, lengths)
        logits_SBV, _ = self.decode(target_SB, state, memory_TBM, lengths)
        return logits_SBV

    def encode(self, source_TB: Tensor, lengths: Tensor | None) -> tuple[Tensor, State]:
        """The encoder's outputs (T, B, M) and the state that the decoder starts from."""
        memory_TBM, state = self.encoder(self.dropout(self.source_embedding(source_TB)), None, lengths)
        if len(self.bridges) > 0:
            # (layer 0 forward, layer 0 backward, layer 1 ...): both directions of a layer side by side
            state = tuple(
                bridge(torch.cat([s_LBH[0::2], s_LBH[1::2]], dim=2))
                for bridge, s_LBH in zip(self.bridges, state, strict=True)
            )
        return memory_TBM, state

    def keys(self, memory_TBM: Tensor) -> Tensor | None:
        """What attention computes of the encoder's outputs once for all target steps, if it does."""
        return self.attention.keys(memory_TBM) if isinstance(self.attention, BahdanauAttention) else None

    def decode(
        self,
        target_SB: Tensor,
        state: State,
        memory_TBM: Tensor,
        lengths: Tensor | None,
        keys_TBH: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Scores (S, B, V) after each of the target's words, and the state after the last. S = 1 is a step.

        Target padding stands at the end, so no earlier step sees it.

        Args:
            target_SB: The words before.
            state: The decoder's.
            memory_TBM: The encoder's outputs.
            lengths: (B,) of the source, or None where nothing is padded.
            keys_TBH: What :meth:`keys` gives, so that single steps do not compute it anew.
        """
        h_SBH, state, _ = self._attend(target_SB, state, memory_TBM, lengths, keys_TBH)
        return self.output(self.dropout(h_SBH)), state

    def attention_weights(self, source_TB: Tensor, lengths: Tensor | None, target_SB: Tensor) -> Tensor:
        """How much of each source step each target step looks at, (B, S, T), given all right words before.

        Raises:
            ValueError: The model has no attention.
        """
        memory_TBM, state = self.encode(source_TB, lengths)
        _, _, weights_BST = self._attend(target_SB, state, memory_TBM, lengths, None)
        if weights_BST is None:
            raise ValueError("attention=none has no weights")
        return weights_BST

    def _attend(
        self, target_SB: Tensor, state: State, memory_TBM: Tensor, lengths: Tensor | None, keys_TBH: Tensor | None
    ) -> tuple[Tensor, State, Tensor | None]:
        """What the output layer reads (S, B, H), the state after the last step, and weights (B, S, T)."""
        words_SBD = self.dropout(self.target_embedding(target_SB))
        if isinstance(self.attention, BahdanauAttention):
            return self._step_by_step(self.attention, words_SBD, state, memory_TBM, lengths, keys_TBH)
        h_SBH, state = self.decoder(words_SBD, state)
        if self.attention is None:
            return h_SBH, state, None
        attended_SBH, weights_BST = self.attention(h_SBH, memory_TBM, lengths)
        return attended_SBH, state, weights_BST

    def _step_by_step(
        self,
        attention: BahdanauAttention,
        words_SBD: Tensor,
        state: State,
        memory_TBM: Tensor,
        lengths: Tensor | None,
        keys_TBH: Tensor | None,
    ) -> tuple[Tensor, State, Tensor]:
        if keys_TBH is None:
            keys_TBH = attention.keys(memory_TBM)
        padding_TB = None if lengths is None else padding(memory_TBM, lengths)
        outputs: list[Tensor] = []
        contexts: list[Tensor] = []
        weights: list[Tensor] = []
        for words_1BD in words_SBD.split(1):
            # the first state is the cell's output; its last row is that of the last layer
            context_BM, weights_TB = attention(state[0][-1], keys_TBH, memory_TBM, padding_TB)
            h_1BH, state = self.decoder(torch.cat([words_1BD, context_BM[None]], dim=2), state)
            outputs.append(h_1BH)
            contexts.append(context_BM)
            weights.append(weights_TB)
        h_SBH = attention.readout(torch.stack(contexts), torch.cat(outputs), words_SBD)
        return h_SBH, state, torch.stack(weights).permute(2, 0, 1)

    @torch.no_grad()
    def greedy(self, source_TB: Tensor, lengths: Tensor | None, /, *, bos: int, eos: int, max_length: int) -> Tensor:
        """Translate a batch: the likeliest next word at each step, until every sentence has ended.

        Args:
            source_TB: Ids of the source.
            lengths: (B,) of the source, or None where nothing is padded.
            bos: Id that the decoder starts from.
            eos: Id that ends a sentence.
            max_length: Most words of a translation, ``eos`` included.

        Returns:
            Ids (S, B) with S at most ``max_length``. What follows a sentence's first ``eos`` is ``eos`` too.
        """
        memory_TBM, state = self.encode(source_TB, lengths)
        keys_TBH = self.keys(memory_TBM)
        word_1B = torch.full_like(source_TB[:1], bos)
        ended_1B = torch.zeros_like(word_1B, dtype=torch.bool)
        words: list[Tensor] = []
        while len(words) < max_length and not bool(ended_1B.all()):
            logits_1BV, state = self.decode(word_1B, state, memory_TBM, lengths, keys_TBH)
            word_1B = logits_1BV.argmax(dim=2).masked_fill(ended_1B, eos)
            ended_1B = word_1B == eos
            words.append(word_1B)
        return torch.cat(words)


@torch.no_grad()
def num_states(encoder: Encoder, input_size: int) -> int:
    """How many states the encoder's cells have, found by one step: every backend keeps them in its own way."""
    training = encoder.training
    encoder.eval()  # dropout would draw random numbers
    parameter = next(encoder.parameters())
    _, state = encoder(parameter.new_zeros(1, 1, input_size))
    encoder.train(training)
    return len(state)
