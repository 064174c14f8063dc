"""The sequence-to-sequence model, its attention and its decoding."""

from typing import Any

import pytest
import torch
from seq2seq_models import SIZES, Attention, make_model, random_batch, words_before

from gru_bench.backends.base import Backend
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.compiled import Compiled
from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.models.attention import BahdanauAttention, LuongAttention, padding
from gru_bench.models.encoder import num_parameters
from gru_bench.models.streams import Streams

CELLS: list[Any] = [RNN, LSTM, GRU]
ATTENTIONS: list[Attention] = ["none", "luong", "bahdanau"]


# attention


def test_attention_weights_sum_to_one_and_ignore_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = LuongAttention(5, 6, Streams(0), init="uniform").double()
    h_SBH = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    memory_TBM = torch.randn(7, 3, 6, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([7, 2, 4])
    attended, weights = attention(h_SBH, memory_TBM, lengths)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 4, dtype=torch.float64))
    assert all((weights[b, :, n:] == 0).all() and (weights[b, :, :n] > 0).all() for b, n in enumerate([7, 2, 4]))
    # sequence 1 alone, cut at its length, by the equations
    memory, h = memory_TBM[:2, 1], h_SBH[:, 1]
    a = torch.softmax(h @ attention.W_a @ memory.T, dim=1)
    expected = torch.tanh(torch.cat([a @ memory, h], dim=1) @ attention.combine.weight.T + attention.combine.bias)
    torch.testing.assert_close(attended[:, 1], expected)


def test_bahdanau_attention_by_its_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = BahdanauAttention(5, 6, 3, Streams(0), init="uniform").double()
    h_BH = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    memory_TBM = torch.randn(7, 3, 6, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([7, 2, 4])
    context, weights = attention(h_BH, attention.keys(memory_TBM), memory_TBM, padding(memory_TBM, lengths))
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(3, dtype=torch.float64))
    assert all((weights[n:, b] == 0).all() and (weights[:n, b] > 0).all() for b, n in enumerate([7, 2, 4]))
    # sequence 1 alone, cut at its length, step by step
    scores = [
        attention.v_a @ torch.tanh(attention.W_a.T @ h_BH[1] + attention.key.weight @ m + attention.key.bias)
        for m in memory_TBM[:2, 1]
    ]
    a = torch.softmax(torch.stack(scores), dim=0)
    torch.testing.assert_close(weights[:2, 1], a)
    torch.testing.assert_close(context[1], a[0] * memory_TBM[0, 1] + a[1] * memory_TBM[1, 1])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_bahdanau_step_asks_with_the_state_before_it(cell: Any, num_layers: int) -> None:
    model = make_model(cell, num_layers=num_layers, attention="bahdanau", bidirectional=True)
    attention = model.attention
    assert isinstance(attention, BahdanauAttention)
    source, target = torch.tensor([[4], [5], [6]]), torch.tensor([[2], [7]])
    memory, state = model.encode(source, None)
    logits = []
    for word in target:
        context, _ = attention(state[0][-1], attention.keys(memory), memory, None)
        embedded = model.target_embedding(word)
        h, state = model.decoder(torch.cat([embedded, context], dim=1)[None], state)
        assert h[0].equal(state[0][-1])
        logits.append(model.output(attention.readout(context[None], h, embedded[None])))
    torch.testing.assert_close(model(source, None, target), torch.cat(logits))


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_weights_are_there_to_be_looked_at(attention: Attention) -> None:
    model = make_model(attention=attention)
    batch = random_batch([6, 3, 4], [4, 2, 5])
    weights = model.attention_weights(batch.inputs, batch.lengths, words_before(batch.targets))
    assert weights.shape == (3, 5, 6)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 5, dtype=torch.float64))
    assert all((weights[b, :, n:] == 0).all() for b, n in enumerate([6, 3, 4]))
    assert not torch.allclose(weights[0, 0], weights[0, 1])
    with pytest.raises(ValueError, match="attention=none has no weights"):
        make_model(attention="none").attention_weights(batch.inputs, batch.lengths, words_before(batch.targets))


# the model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_loop_equals_vendor(cell: Any, num_layers: int, attention: Attention, bidirectional: bool) -> None:
    batch = random_batch([6, 3, 3, 5], [4, 6, 2, 3])
    results = []
    for backend in (Loop(), Vendor()):
        model = make_model(cell, backend, num_layers=num_layers, attention=attention, bidirectional=bidirectional)
        logits = model(batch.inputs, batch.lengths, words_before(batch.targets))
        logits.square().sum().backward()
        grads = [p.grad for name, p in model.named_parameters() if "coder" not in name]
        results.append([logits, *grads])
    for loop, vendor in zip(*results, strict=True):
        torch.testing.assert_close(loop, vendor, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_batch_composition_changes_nothing(cell: Any, attention: Attention) -> None:
    model = make_model(cell, num_layers=2, attention=attention, bidirectional=True)
    batch = random_batch([6, 2, 4], [5, 2, 7])
    together = model(batch.inputs, batch.lengths, words_before(batch.targets))
    spoken = model.greedy(batch.inputs, batch.lengths, bos=2, eos=3, max_length=8)
    for row, (n, s) in enumerate([(6, 5), (2, 2), (4, 7)]):
        source, target = batch.inputs[:n, row : row + 1], batch.targets[:s, row : row + 1]
        alone = model(source, None, words_before(target))
        torch.testing.assert_close(together[:s, row : row + 1], alone)
        own = model.greedy(source, None, bos=2, eos=3, max_length=8)
        assert spoken[: len(own), row : row + 1].equal(own)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_source_padding_changes_nothing(cell: Any, attention: Attention) -> None:
    model = make_model(cell, num_layers=2, attention=attention, bidirectional=True)
    batch = random_batch([6, 2, 4], [5, 2, 7])
    target = words_before(batch.targets)

    def run(source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        logits = model(source, batch.lengths, target)
        spoken = model.greedy(source, batch.lengths, bos=2, eos=3, max_length=8)
        model.zero_grad()
        logits.square().sum().backward()
        return logits.detach(), spoken, [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = run(batch.inputs)
    other_words = batch.inputs.clone()
    for row, length in enumerate(batch.lengths.tolist()):
        other_words[length:, row] = 7
    longer = torch.cat([batch.inputs, torch.full((5, 3), 9)])
    for source in (other_words, longer):
        logits, spoken, grads = run(source)
        torch.testing.assert_close(logits, plain[0], rtol=1e-12, atol=1e-12)
        assert spoken.equal(plain[1])
        for grad, expected in zip(grads, plain[2], strict=True):
            torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "backend",
    [BPTT(), BPTT(native="never"), Vendor(), Vendor(onednn=False)],
    ids=["bptt", "plain_torch", "vendor", "aten"],
)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bahdanau_on_every_backend(cell: Any, backend: Backend, dtype: torch.dtype) -> None:
    batch = random_batch([6, 3, 3, 5], [4, 6, 2, 3])
    results = []
    for runs in (Loop(), backend):
        model = make_model(cell, runs, num_layers=2, attention="bahdanau", bidirectional=True, dtype=dtype)
        logits = model(batch.inputs, batch.lengths, words_before(batch.targets))
        logits.square().sum().backward()
        spoken = model.greedy(batch.inputs, batch.lengths, bos=2, eos=3, max_length=8)
        grads = [p.grad for name, p in model.named_parameters() if "coder" not in name]
        cells = [
            grad for part in (model.encoder, model.decoder) for stack in part.stacks
            for layer in stack.cell_tensors(grad=True) for _, grad in sorted(layer.items())
        ]  # fmt: skip
        results.append([logits, spoken, *grads, *cells])
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for loop, other in zip(*results, strict=True):
        torch.testing.assert_close(loop, other, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_bahdanau_on_the_compiled_backend(cell: Any) -> None:
    test_bahdanau_on_every_backend(cell, Compiled(), torch.float32)


def test_source_order_reaches_the_translation() -> None:
    # guards the tests above against a model that ignores its source
    for attention in ATTENTIONS:
        model = make_model(attention=attention)
        source = torch.tensor([[4], [5], [6]])
        target = torch.tensor([[2], [5]])
        assert not torch.allclose(model(source, None, target), model(source.flip(0), None, target))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_single_steps_equal_the_whole_sequence(cell: Any, num_layers: int, attention: Attention) -> None:
    model = make_model(cell, Vendor(), num_layers=num_layers, attention=attention)
    batch = random_batch([6, 3], [5, 5])
    target_SB = words_before(batch.targets)
    memory, state = model.encode(batch.inputs, batch.lengths)
    whole, whole_state = model.decode(target_SB, state, memory, batch.lengths)
    steps = []
    for word_1B in target_SB.split(1):
        logits, state = model.decode(word_1B, state, memory, batch.lengths)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps), whole)
    for stepped, final in zip(state, whole_state, strict=True):
        torch.testing.assert_close(stepped, final)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_greedy_is_the_teacher_forced_argmax_of_its_own_output(cell: Any, attention: Attention) -> None:
    model = make_model(cell, num_layers=2, attention=attention, seed=4)
    lengths = [6, 3, 2, 5, 4, 4]
    batch = random_batch(lengths, [1] * len(lengths))
    would_have_gone_on = False
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0 if p.dim() > 1 else 0.0)  # so that what is spoken changes from step to step
    for eos in range(SIZES["target_vocab_size"]):
        words = model.greedy(batch.inputs, batch.lengths, bos=2, eos=eos, max_length=9)
        forced = model(batch.inputs, batch.lengths, words_before(words)).argmax(dim=2)
        ended = torch.zeros(len(lengths), dtype=torch.bool)
        for step in range(len(words)):
            assert words[step][~ended].equal(forced[step][~ended])
            assert (words[step][ended] == eos).all()
            would_have_gone_on |= bool((forced[step][ended] != eos).any())
            ended |= words[step] == eos
    assert would_have_gone_on  # the case that matters did occur


def test_greedy_stops_when_all_have_ended_or_at_the_limit() -> None:
    model = make_model()
    source = torch.full((3, 2), 4)
    with torch.no_grad():
        model.output.bias[:] = 0.0
        model.output.bias[3] = 100.0
    assert model.greedy(source, None, bos=2, eos=3, max_length=9).tolist() == [[3, 3]]
    assert model.greedy(source, None, bos=2, eos=5, max_length=9).tolist() == [[3, 3]] * 9


def test_without_attention_the_decoder_knows_only_the_last_state() -> None:
    model = make_model(attention="none")
    memory, state = model.encode(torch.tensor([[4], [5]]), None)
    target = torch.tensor([[2], [6]])
    changed, _ = model.decode(target, state, memory + 1, None)
    assert changed.equal(model.decode(target, state, memory, None)[0])


def test_bridges_join_the_two_directions_of_each_layer() -> None:
    model = make_model(LSTM, num_layers=2, bidirectional=True)
    source = torch.tensor([[4, 5], [5, 6]])
    _, state = model.encode(source, None)
    _, raw = model.encoder(model.source_embedding(source), None, None)
    assert len(state) == len(model.bridges) == 2
    for bridge, bridged, s_LBH in zip(model.bridges, state, raw, strict=True):
        forward_0, backward_0, forward_1, backward_1 = s_LBH
        torch.testing.assert_close(bridged[0], bridge(torch.cat([forward_0, backward_0], dim=1)))
        torch.testing.assert_close(bridged[1], bridge(torch.cat([forward_1, backward_1], dim=1)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_parameters_are_counted_without_building(bidirectional: bool) -> None:
    real = make_model(LSTM, num_layers=2, bidirectional=bidirectional, dropout=0.5)
    with torch.device("meta"):
        counted = make_model(LSTM, num_layers=2, bidirectional=bidirectional, dropout=0.5)
    assert num_parameters(real) == num_parameters(counted)
    assert all(p.is_meta for p in counted.encoder.parameters())


def test_all_initial_values_come_from_the_generator() -> None:
    before = torch.get_rng_state()
    first = make_model(bidirectional=True, num_layers=2, dropout=0.5).state_dict()
    assert torch.get_rng_state().equal(before)  # torch's global generator was left alone
    second = make_model(bidirectional=True, num_layers=2, dropout=0.5).state_dict()
    assert all(first[name].equal(second[name]) for name in first)
