"""The loss over a large output layer against the plain one."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench import losses
from gru_bench.losses import IGNORED, mean_nats, token_nats

T, B, E, V = 5, 3, 4, 11


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, nn.Linear, Tensor]:
    torch.manual_seed(0)
    targets_TB = torch.randint(V, (T, B))
    targets_TB[-1, 1:] = IGNORED
    return torch.randn(T, B, E, dtype=dtype, requires_grad=True), nn.Linear(E, V).to(dtype), targets_TB


def loss_and_gradients(h_TBE: Tensor, layer: nn.Linear, targets_TB: Tensor) -> list[Tensor]:
    loss = mean_nats(h_TBE, layer, targets_TB)
    return [loss, *torch.autograd.grad(3 * loss, [h_TBE, layer.weight, layer.bias])]


@pytest.mark.parametrize("rows", [1, 2, 4, 7, 14])
def test_chunks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    given = inputs()
    whole = loss_and_gradients(*given)
    monkeypatch.setattr(losses, "CHUNK_BYTES", rows * V * 8)
    monkeypatch.setattr(losses, "token_nats", None)  # the plain way would raise
    for chunked, expected in zip(loss_and_gradients(*given), whole, strict=True):
        torch.testing.assert_close(chunked, expected, rtol=1e-12, atol=1e-14)


def test_what_fits_one_chunk_is_the_plain_loss_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    h_TBE, layer, targets_TB = inputs(torch.float32)
    monkeypatch.setattr(losses, "CHUNK_BYTES", T * B * V * 4)
    expected = F.cross_entropy(layer(h_TBE).flatten(0, 1), targets_TB.flatten(), reduction="none").sum() / 13
    loss, *gradients = loss_and_gradients(h_TBE, layer, targets_TB)
    assert loss == expected
    for ours, theirs in zip(
        gradients, torch.autograd.grad(3 * expected, [h_TBE, layer.weight, layer.bias]), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_no_gradient_is_made_where_none_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs()
    expected = mean_nats(*given)
    monkeypatch.setattr(losses, "CHUNK_BYTES", 1)
    with torch.no_grad():
        loss = mean_nats(*given)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected.detach())


def test_a_tied_matrix_gets_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    _, layer, targets_TB = inputs()
    tokens_TB = torch.randint(V, (T, B))
    embedding = nn.Embedding.from_pretrained(layer.weight, freeze=False)
    embedding.weight = layer.weight
    expected = torch.autograd.grad(mean_nats(embedding(tokens_TB), layer, targets_TB), layer.weight)[0]
    monkeypatch.setattr(losses, "CHUNK_BYTES", 2 * V * 8)
    chunked = torch.autograd.grad(mean_nats(embedding(tokens_TB), layer, targets_TB), layer.weight)[0]
    torch.testing.assert_close(chunked, expected)


def test_half_precision_takes_the_plain_way_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_BYTES", 1)
    given = inputs(torch.bfloat16)
    assert mean_nats(*given).dtype == torch.float32


def test_token_nats_ignores() -> None:
    logits_TBV = torch.zeros(2, 1, 4)
    assert token_nats(logits_TBV, torch.tensor([[1], [IGNORED]])).flatten().tolist() == pytest.approx([1.3862944, 0.0])
