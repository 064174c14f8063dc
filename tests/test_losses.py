"""The loss over a large output layer against the plain one."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gru_bench import losses
from gru_bench.losses import IGNORED, chunk_rows, mean_nats, nats_and_guesses, token_nats

T, B, E, V = 5, 3, 4, 11


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, nn.Linear, Tensor]:
    torch.manual_seed(0)
    targets_TB = torch.randint(V, (T, B))
    targets_TB[-1, 1:] = IGNORED
    return torch.randn(T, B, E, dtype=dtype, requires_grad=True), nn.Linear(E, V).to(dtype), targets_TB


def loss_and_gradients(h_TBE: Tensor, layer: nn.Linear, targets_TB: Tensor) -> list[Tensor]:
    loss = mean_nats(h_TBE, layer, targets_TB)
    return [loss, *torch.autograd.grad(3 * loss, [h_TBE, layer.weight, layer.bias])]


def chunks_of(monkeypatch: pytest.MonkeyPatch, rows: int, itemsize: int = 8) -> None:
    """Let a chunk have so many positions, whatever fits the cache."""
    monkeypatch.setattr(losses, "CHUNK_BYTES", rows * V * itemsize)
    monkeypatch.setattr(losses, "CACHED_BYTES", 1)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("rows", [1, 2, 4, 7, 14, 15, 99])
def test_chunks_give_what_the_whole_gives(
    monkeypatch: pytest.MonkeyPatch, rows: int, dtype: torch.dtype, rtol: float
) -> None:
    given = inputs(dtype)
    whole = loss_and_gradients(*given)
    chunks_of(monkeypatch, rows, dtype.itemsize)
    monkeypatch.setattr(losses, "token_nats", None)  # the plain way would raise
    for chunked, expected in zip(loss_and_gradients(*given), whole, strict=True):
        torch.testing.assert_close(chunked, expected, rtol=rtol, atol=rtol / 100)


def test_chunks_have_gradients_that_finite_differences_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    h_TBE, layer, targets_TB = inputs()
    chunks_of(monkeypatch, 4)

    def loss(h_TBE: Tensor, W_VE: Tensor, b_V: Tensor) -> Tensor:
        twin = nn.Linear(E, V)
        del twin.weight, twin.bias
        twin.weight, twin.bias = W_VE, b_V  # type: ignore[assignment]
        return mean_nats(h_TBE, twin, targets_TB)

    assert torch.autograd.gradcheck(loss, (h_TBE, layer.weight, layer.bias))


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_chunks_stay_finite_where_a_target_is_impossible(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    h_TBE, layer, targets_TB = inputs(torch.float32)
    large = (h_TBE.detach() * size).requires_grad_()
    expected = loss_and_gradients(large, layer, targets_TB)
    chunks_of(monkeypatch, 4, 4)
    for chunked, whole in zip(loss_and_gradients(large, layer, targets_TB), expected, strict=True):
        assert chunked.isfinite().all()
        torch.testing.assert_close(chunked, whole)


def test_where_all_targets_are_ignored_nothing_is_a_number_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    h_TBE, layer, targets_TB = inputs()
    nothing_TB = torch.full_like(targets_TB, IGNORED)
    assert mean_nats(h_TBE, layer, nothing_TB).isnan()
    chunks_of(monkeypatch, 4)
    assert mean_nats(h_TBE, layer, nothing_TB).isnan()


@pytest.mark.parametrize(
    ("num_words", "num_rows", "rows"),
    [(1000, 640, 320), (4000, 1024, 256), (33278, 1120, 125), (10**7, 100, 1), (1000, 524, 524), (1000, 525, 263)],
)
def test_chunks_are_of_nearly_one_size_and_within_the_limits(num_words: int, num_rows: int, rows: int) -> None:
    assert chunk_rows(skip_init(nn.Linear, 1, num_words), num_rows) == rows


@pytest.mark.parametrize(
    ("num_words", "num_rows", "rows"), [(1000, None, 4194), (1000, 640, 640), (33278, 1120, 125), (10**7, 100, 1)]
)
def test_off_the_cpu_a_chunk_is_as_large_as_its_bytes_allow(num_words: int, num_rows: int | None, rows: int) -> None:
    assert chunk_rows(nn.Linear(1, num_words, device="meta"), num_rows) == rows


@pytest.mark.parametrize(("rows", "chunked"), [(13, True), (15, False)])
def test_off_the_cpu_logits_of_one_chunk_are_few(monkeypatch: pytest.MonkeyPatch, rows: int, chunked: bool) -> None:
    calls: list[int] = []
    monkeypatch.setattr(losses._ChunkedNats, "apply", lambda *args: calls.append(args[-2]))
    monkeypatch.setattr(losses, "on_cpu", lambda _: False)
    chunks_of(monkeypatch, rows)  # with a cache in which nothing is few
    mean_nats(*inputs())
    assert calls == ([8] if chunked else [])


def test_no_positions_have_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    h_TBE, layer, targets_TB = inputs()
    assert chunk_rows(layer, 0) == 1
    for rows in (1, 99):
        chunks_of(monkeypatch, rows)
        assert mean_nats(h_TBE[:0], layer, targets_TB[:0]).isnan()
        assert [list(found.shape) for found in nats_and_guesses(h_TBE[:0], layer, targets_TB[:0])] == [[0, B]] * 2


def test_a_layer_without_bias_takes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    h_TBE, layer, targets_TB = inputs()
    nn.init.zeros_(layer.bias)
    without = nn.Linear(E, V, bias=False, dtype=torch.float64)
    without.weight = layer.weight
    chunks_of(monkeypatch, 4)
    found, expected = (
        [loss, *torch.autograd.grad(loss, [h_TBE, layer.weight])]
        for loss in (mean_nats(h_TBE, output, targets_TB) for output in (without, layer))
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_few_logits_are_the_plain_loss_to_the_last_bit() -> None:
    h_TBE, layer, targets_TB = inputs(torch.float32)
    expected = F.cross_entropy(layer(h_TBE).flatten(0, 1), targets_TB.flatten(), reduction="none").sum() / 13
    loss, *gradients = loss_and_gradients(h_TBE, layer, targets_TB)
    assert loss == expected
    for ours, theirs in zip(
        gradients, torch.autograd.grad(3 * expected, [h_TBE, layer.weight, layer.bias]), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_mixed_precision_takes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    h_TBE, layer, targets_TB = inputs(torch.float32)
    chunks_of(monkeypatch, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_nats(h_TBE, layer, targets_TB)
        expected = token_nats(layer(h_TBE), targets_TB).sum() / 13
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert not torch.equal(loss, mean_nats(h_TBE, layer, targets_TB))  # which is in chunks, in single precision


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, contextlib.nullcontext])
def test_no_gradient_is_made_where_none_is_asked(
    monkeypatch: pytest.MonkeyPatch, mode: Callable[[], AbstractContextManager[None]]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a gradient is made")

    h_TBE, layer, targets_TB = inputs()
    expected = mean_nats(h_TBE, layer, targets_TB).detach()
    chunks_of(monkeypatch, 1)
    for owner, name in ((torch, "mm"), (torch, "zeros_like"), (torch, "empty_like"), (Tensor, "addmm_")):
        monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(AssertionError, match="a gradient is made"):
        mean_nats(h_TBE, layer, targets_TB)
    if mode is contextlib.nullcontext:  # gradients are recorded, but nobody's are asked for
        h_TBE, layer = h_TBE.detach(), layer.requires_grad_(False)
    with mode():
        loss = mean_nats(h_TBE, layer, targets_TB)
    monkeypatch.undo()
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected)


def test_a_tied_matrix_gets_both_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    _, layer, targets_TB = inputs()
    tokens_TB = torch.randint(V, (T, B))
    embedding = nn.Embedding.from_pretrained(layer.weight, freeze=False)
    embedding.weight = layer.weight
    expected = torch.autograd.grad(mean_nats(embedding(tokens_TB), layer, targets_TB), layer.weight)[0]
    chunks_of(monkeypatch, 2)
    chunked = torch.autograd.grad(mean_nats(embedding(tokens_TB), layer, targets_TB), layer.weight)[0]
    torch.testing.assert_close(chunked, expected)


def test_half_precision_takes_the_plain_way_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(monkeypatch, 1)
    given = inputs(torch.bfloat16)
    assert mean_nats(*given).dtype == torch.float32


def test_token_nats_ignores() -> None:
    logits_TBV = torch.zeros(2, 1, 4)
    assert token_nats(logits_TBV, torch.tensor([[1], [IGNORED]])).flatten().tolist() == pytest.approx([1.3862944, 0.0])


@pytest.mark.parametrize("rows", [1, 4, 15])
def test_nats_and_guesses_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    h_TBE, layer, targets_TB = inputs()
    chunks_of(monkeypatch, rows)
    nats_TB, guesses_TB = nats_and_guesses(h_TBE, layer, targets_TB)
    logits_TBV = layer(h_TBE)
    torch.testing.assert_close(nats_TB, token_nats(logits_TBV, targets_TB))
    assert torch.equal(guesses_TB, logits_TBV.argmax(dim=2))
    assert not nats_TB.requires_grad
    assert nats_TB[-1, 1:].tolist() == [0, 0]
