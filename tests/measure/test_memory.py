"""Tensor bytes of models that can be counted by hand: the peak of a call, and what it is made of."""

import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from made_cells import CPU, seeded
from torch import Tensor, nn

from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import layer as native
from gru_bench.backends.native import workspace
from gru_bench.backends.native.build import CannotBuild
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.measure.memory import Change, PeakMemory, kept_bytes, live_bytes, peak_of
from gru_bench.measure.memory_split import Split, bytes_at_peak, split
from gru_bench.models.encoder import MakeCell

MISSING: str | None = None
try:
    native_build.build_id()
except CannotBuild as error:
    MISSING = str(error)

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


# what the peak is made of


WEIGHT, INPUTS, OUTPUTS = 4 * 100 * 50, 4 * 400 * 100, 4 * 400 * 50


def linear() -> tuple[nn.Linear, Tensor]:
    return nn.Linear(100, 50, bias=False), torch.ones(400, 100)


def test_a_linear_layer_with_sgd() -> None:
    model, x = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # without old gradients, and with
        found = split(lambda: linear_step(model, optimizer, x), model=model, optimizer=optimizer, inputs=[x])
        # at the end of the backward pass: the batch, the outputs and their gradient
        assert found == Split(2 * WEIGHT + INPUTS + 2 * OUTPUTS, WEIGHT, WEIGHT, 0, INPUTS + 2 * OUTPUTS)


def test_a_linear_layer_with_adam() -> None:
    model, x = linear()
    optimizer = torch.optim.Adam(model.parameters())
    linear_step(model, optimizer, x)
    found = split(lambda: linear_step(model, optimizer, x), model=model, optimizer=optimizer, inputs=[x, x[3:]])
    averages = 2 * WEIGHT + 4  # and the number of steps, one float
    assert (found.parameters, found.gradients, found.optimizer) == (WEIGHT, WEIGHT, averages)
    assert found.activations == INPUTS + 2 * OUTPUTS
    assert found.peak == 2 * WEIGHT + averages + INPUTS + 2 * OUTPUTS


def test_inference_has_no_gradients_and_buffers_count_as_parameters() -> None:
    model, x = nn.Sequential(linear()[0], nn.BatchNorm1d(50)).eval(), torch.ones(400, 100)
    with torch.no_grad():
        found = split(lambda: model(x), model=model, inputs=[x])
    norm = 4 * 4 * 50 + 8  # scale, shift, mean, variance; and a count in int64
    assert (found.parameters, found.gradients, found.optimizer) == (WEIGHT + norm, 0, 0)
    assert found.activations >= INPUTS + OUTPUTS


def test_old_gradients_count_while_they_are_there() -> None:
    model, x = linear()
    linear_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x)

    def step(early: bool) -> None:
        if early:
            model.zero_grad()
        torch.empty(10**6)  # the peak
        model.zero_grad()
        model(x).sum().backward()

    late, early = (split(lambda when=when: step(when), model=model, inputs=[x]) for when in (False, True))  # type: ignore[misc]
    assert (late.gradients, early.gradients) == (WEIGHT, 0)
    assert late.activations == early.activations == INPUTS + 4 * 10**6
    assert late.peak - early.peak == WEIGHT


def test_a_gradient_that_is_added_to_counts_once() -> None:
    model, x = linear()
    model(x).sum().backward()

    def step() -> None:
        model.zero_grad(set_to_none=False)
        model(x).sum().backward()
        torch.empty(10**6)

    found = split(step, model=model, inputs=[x])
    assert (found.gradients, found.activations) == (WEIGHT, INPUTS + 4 * 10**6)


def test_tied_matrices_count_once() -> None:
    model = nn.ModuleList([nn.Embedding(30, 8), nn.Linear(8, 30, bias=False)])
    model[0].weight = model[1].weight
    ids = torch.arange(30)

    def step() -> None:
        model[1](model[0](ids)).sum().backward()
        torch.empty(10**6)

    found = split(step, model=model, inputs=[ids])
    assert (found.parameters, found.gradients) == (4 * 30 * 8, 4 * 30 * 8)
    assert found.activations == 4 * 10**6 + ids.nbytes
    assert found.peak == found.parameters + found.gradients + found.activations


def test_addresses_are_used_again() -> None:
    changes = [
        Change(0, 1, 100),  # an old gradient
        Change(1, 1, -100),
        Change(2, 1, 500),  # something else in its place; the peak
        Change(3, 1, -500),
        Change(4, 1, 50),  # a new gradient
        Change(5, 2, 60),
    ]
    assert peak_of(changes) == 500
    assert bytes_at_peak(changes, first={1}, last={1}) == 0
    assert bytes_at_peak(changes[:2], first={1}, last=()) == 100
    assert bytes_at_peak(changes[4:], first=(), last={1, 2}) == 110
    assert bytes_at_peak([*changes[4:], Change(6, 2, -60)], first=(), last={1}) == 50


LAYER = (5, 3, 16)
"""T, B, H of a layer whose pieces are too small for the shelf of the compiled code, so that each byte is its own."""


@pytest.mark.skipif(MISSING is not None, reason=f"no compiled code here: {MISSING}")
@pytest.mark.parametrize(("cell", "per_unit"), [(RNN, 1), (GRU, 5), (LSTM, 6)])
def test_a_compiled_layer_keeps_what_its_formula_says(cell: MakeCell, per_unit: int) -> None:
    T, B, H = LAYER
    made = cell(H, H, seeded())
    stack, x = BPTT(native="required").stack([made], CPU, torch.float32), torch.ones(T, B, H, requires_grad=True)
    final = len(made.states) * 4 * B * H
    kept = kept_bytes(lambda: stack(x), CPU)
    assert kept == T * B * 4 * native.saved_values(made, torch.float32) + final
    assert kept == T * B * 4 * per_unit * H + final
    weights = sum(parameter.nbytes for parameter in stack.parameters())
    for _ in range(2):
        found = split(lambda: stack(x)[0].sum().backward(), model=stack, inputs=[x])
        assert (found.parameters, found.gradients) == (weights, weights)
        assert found.activations >= kept + x.nbytes
        assert found.peak == 2 * weights + found.activations
        stack.zero_grad()


@pytest.mark.skipif(MISSING is not None, reason=f"no compiled code here: {MISSING}")
def test_what_lies_on_the_shelf_is_counted_where_it_is_used_again() -> None:
    stack, x = BPTT(native="required").stack([GRU(64, 64, seeded())], CPU, torch.float32), torch.ones(40, 32, 64)

    def forward() -> None:
        stack(x)

    first, second = (split(forward, model=stack, inputs=[x]) for _ in range(2))
    assert workspace.held_bytes() > 0  # the scratch memory, too
    assert first == second
    assert first.activations > x.nbytes + 5 * x.nbytes


@pytest.mark.skipif(MISSING is not None, reason=f"no compiled code here: {MISSING}")
def test_what_was_laid_on_the_shelf_is_not_kept() -> None:
    T, B, H = 40, 32, 64
    stack, x = BPTT(native="required").stack([GRU(H, H, seeded())], CPU, torch.float32), torch.ones(T, B, H)
    by_formula = T * B * 4 * 5 * H + 4 * B * H
    for _ in range(2):
        assert by_formula <= kept_bytes(lambda: stack(x), CPU) <= by_formula * 9 / 8


def test_the_vendors_lstm() -> None:
    T, B, H = LAYER
    stack, x = Vendor().stack([LSTM(H, H, seeded())], CPU, torch.float32), torch.ones(T, B, H)
    weights = 4 * 4 * H * (H + H + 2)  # torch has two biases
    found = split(lambda: stack(x)[0].sum().backward(), model=stack, inputs=[x])
    assert found.parameters == weights
    assert found.gradients == sum(p.nbytes for p in stack.parameters() if p.requires_grad)
    assert found.activations >= x.nbytes + 6 * x.nbytes  # four gates and two states of the same shape


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_linear_layer_on_cuda() -> None:
    model, x = linear()
    model, x = model.cuda(), x.cuda()
    optimizer = torch.optim.Adam(model.parameters())
    linear_step(model, optimizer, x)
    found = split(lambda: linear_step(model, optimizer, x), model=model, optimizer=optimizer, inputs=[x])
    assert (found.parameters, found.gradients) == (WEIGHT, WEIGHT)
    assert found.optimizer in (2 * WEIGHT, 2 * WEIGHT + 4)  # the number of steps may be on the CPU
    assert found.peak == found.parameters + found.gradients + found.optimizer + found.activations
    assert found.activations >= INPUTS + 2 * OUTPUTS
