"""The best rate at which this machine multiplies matrices: what a layer's own rate is held against."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
"""Rows of the square matrices: large enough to be bound by arithmetic, small enough to take a second in all."""
LEAST_TURNS = 3
SECONDS_A_SIZE = 0.25
"""So long a size is repeated, at least three times. The best turn counts: other processes can only slow one down."""

Product = Callable[[], object]


def best_product_gflops(
    device: torch.device,
    dtype: torch.dtype,
    threads: int | None = None,
    *,
    sizes: Sequence[int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The best rate of a square product here, in GFLOP/s (two operations a multiply-add).

    On a CPU both torch's default and oneDNN's product with its weights laid out beforehand are tried, since either may
    be the faster. On CUDA the rate is that of the TF32 setting in force. float32, float64 and bfloat16 are meant; a
    type that the machine has no instructions for is as slow as it is.

    Args:
        device: Where.
        dtype: Floating type of both matrices.
        threads: On a CPU, of so many threads; None for those that torch has now. They are as before afterwards.
        sizes: Rows of the matrices; None for :data:`SIZES`.
        clock: Seconds; a test's own.
    """
    best = 0.0
    with _threads(threads):
        for n in sizes or SIZES[device.type]:
            slowest_turn = 0.0
            for product in _products(n, device, dtype):
                seconds = _turns(product, device, clock)
                best = max(best, 2e-9 * n**3 / min(seconds))
                slowest_turn = max(slowest_turn, *seconds)
            if LEAST_TURNS * slowest_turn > 4 * SECONDS_A_SIZE:  # the next takes eight times as long and says the same
                break
    return best


def _products(n: int, device: torch.device, dtype: torch.dtype) -> list[Product]:
    generator = torch.Generator().manual_seed(n)
    a, b = (torch.randn(n, n, generator=generator).to(device, dtype) for _ in range(2))
    products: list[Product] = [lambda: a @ b]
    if device.type == "cpu" and torch.backends.mkldnn.is_available() and dtype in (torch.float32, torch.bfloat16):
        try:
            laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(b.T.contiguous(), n)
            torch.ops.mkldnn._linear_pointwise(a[:1], laid, None, "none", [], "")
        except RuntimeError:  # this processor has no such product
            return products
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, laid, None, "none", [], ""))
    return products


def _turns(product: Product, device: torch.device, clock: Callable[[], float]) -> list[float]:
    """Seconds of each turn, after one that warms up."""
    product()
    _wait(device)
    seconds: list[float] = []
    while len(seconds) < LEAST_TURNS or sum(seconds) < SECONDS_A_SIZE:
        start = clock()
        product()
        _wait(device)
        seconds.append(clock() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
