"""Tensor bytes of models that can be counted by hand: the peak of a call, and what it is made of."""

import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from made_cells import CPU, seeded
from torch import Tensor, nn

from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.measure.memory import PeakMemory, live_bytes

# the peak


def test_peak_of_tensors_of_known_size() -> None:
    with PeakMemory(CPU) as meter:
        a = torch.empty(1000)  # 4000 bytes
        b = torch.empty(2000)  # 12000
        del a
        c = torch.empty(500, dtype=torch.float64)  # 8000 + 4000, still 12000
        del b, c
        d = torch.empty(10)
    assert meter.peak_bytes == 12000
    assert d.nbytes == 40


def test_live_bytes_are_added_and_an_empty_block_has_no_peak_of_its_own() -> None:
    with PeakMemory(CPU, 123) as meter:
        pass
    assert meter.peak_bytes == 123


def test_what_is_released_before_it_is_needed_does_not_count() -> None:
    with PeakMemory(CPU) as one:
        for _ in range(5):
            torch.empty(1000)
    with PeakMemory(CPU) as five:
        kept = [torch.empty(1000) for _ in range(5)]
    assert (one.peak_bytes, five.peak_bytes) == (4000, 20000)
    assert len(kept) == 5


def test_a_block_that_raises_has_no_peak() -> None:
    meter = PeakMemory(CPU)
    with pytest.raises(RuntimeError, match="shape"), meter:
        torch.empty(10).view(3)
    assert meter.peak_bytes is None
    with PeakMemory(CPU) as after:
        torch.empty(10)
    assert after.peak_bytes == 40


def linear_step(model: nn.Linear, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    y = model(x)
    optimizer.zero_grad(set_to_none=True)
    y.backward(torch.ones_like(y))
    optimizer.step()


def test_a_linear_step_by_hand() -> None:
    model, inputs = nn.Linear(100, 50, bias=False), torch.ones(8, 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weight, x, y = 4 * 100 * 50, 4 * 8 * 100, 4 * 8 * 50
    assert live_bytes(model, optimizer, [inputs]) == weight + x
    peaks = []
    for _ in range(3):
        with PeakMemory(CPU, live_bytes(model, optimizer, [inputs]), gradients_of=model) as meter:
            linear_step(model, optimizer, inputs)
        peaks.append(meter.peak_bytes)
    # weight, input, output, the output's gradient, and the new gradient; the old one is gone by then
    assert peaks == [weight + x + y + y + weight] * 3
    assert live_bytes(model, optimizer, [inputs]) == 2 * weight + x


def test_gradients_that_live_through_the_forward_pass_count() -> None:
    model, inputs = nn.Linear(100, 50, bias=False), torch.ones(2, 100)
    model(inputs).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = live_bytes(model, optimizer, [inputs])
    gradient = model.weight.grad.clone()
    with PeakMemory(CPU, before, gradients_of=model) as meter:
        torch.empty(10_000)
        assert torch.equal(model.weight.grad, gradient)
        model.weight.grad = None
        torch.empty(10_000)
    assert meter.peak_bytes == before + 40_000


def test_adams_state_counts_and_shared_storage_counts_once() -> None:
    model, x = nn.Linear(100, 50, bias=False), torch.ones(8, 100)
    optimizer = torch.optim.Adam(model.parameters())
    linear_step(model, optimizer, x)
    weight = 4 * 100 * 50
    # weight, gradient, two averages, Adam's step count (one float), inputs
    assert live_bytes(model, optimizer, [x]) == 4 * weight + 4 + 3200
    assert live_bytes(model, optimizer, [x, x[2:]]) == 4 * weight + 4 + 3200
    assert live_bytes(model, optimizer, [x, torch.ones(8, dtype=torch.int64)]) == 4 * weight + 4 + 3200 + 64


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_fused_kernels_are_seen_and_the_same_step_gives_the_same_bytes(cell: type[GRU] | type[LSTM]) -> None:
    stack = Vendor().stack([cell(8, 16, seeded())], CPU, torch.float32)
    x, peaks = torch.ones(20, 4, 8), []
    for _ in range(3):
        with PeakMemory(CPU, gradients_of=stack) as meter:
            stack(x)[0].sum().backward()
        peaks.append(meter.peak_bytes)
        for parameter in stack.parameters():
            parameter.grad = None
    assert len(set(peaks)) == 1
    outputs_and_gates = 4 * 20 * 4 * 16 * 4
    assert peaks[0] is not None
    assert peaks[0] > outputs_and_gates


def test_the_profiler_says_nothing() -> None:
    code = (
        "import torch; from gru_bench.measure.memory import PeakMemory\n"
        "with PeakMemory(torch.device('cpu')) as meter: x = torch.empty(10)\n"
        "print(meter.peak_bytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("40\n", "")
