"""The vendor backend's own: its redundant bias, what it refuses, and oneDNN switched off."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from backend_pairs import draw
from made_cells import CPU, maker, seeded
from torch import Tensor

from gru_bench.backends.base import Stack
from gru_bench.backends.vendor import Vendor, VendorStack
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.errors import Unsupported, UserError
from gru_bench.models.encoder import num_parameters


@pytest.mark.parametrize("make_copy", [lambda s: s, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
@pytest.mark.parametrize(("make", "redundant"), [(RNN, 5), (LSTM, 20), (GRU, 10)])
def test_the_vendors_redundant_bias_stays_at_zero_and_is_not_counted(
    make: type[Cell], redundant: int, make_copy: Callable[[Stack], Stack]
) -> None:
    cells = [make(3, 5, seeded()), make(5, 5, seeded(1))]
    counted = sum(p.numel() for cell in cells for p in cell.parameters())
    stack = make_copy(Vendor().stack(cells, CPU, torch.float64)).double()
    assert isinstance(stack, VendorStack)
    assert num_parameters(stack) == counted
    optimizer = torch.optim.AdamW([p for p in stack.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    for step in range(3):
        optimizer.zero_grad()
        stack(draw(4, 2, 3, seed=step))[0].square().sum().backward()
        optimizer.step()
    for layer in range(2):
        b_hh = getattr(stack.module, f"bias_hh_l{layer}")
        assert (b_hh[:redundant] == 0).all()
        assert (b_hh[redundant:] != 0).all()
        assert b_hh.numel() == redundant + (5 if make is GRU else 0)


def test_the_vendors_redundant_gradient_is_zero_even_where_it_would_be_nan() -> None:
    stack = Vendor().stack([GRU(3, 5, seeded())], CPU, torch.float32)
    (stack(torch.zeros(2, 2, 3))[0].sum() * float("nan")).backward()
    assert (stack.module.bias_hh_l0.grad[:10] == 0).all()  # type: ignore[union-attr, index]


@pytest.mark.parametrize("name", ["gru_article", "gru_reset_before", "rnn_article"])
def test_what_the_vendor_cannot_compute_it_refuses_by_name(name: str) -> None:
    cell = maker(name)(3, 5, seeded())
    with pytest.raises(Unsupported, match=rf"{type(cell).__name__}.*backend=loop runs every cell"):
        Vendor().stack([cell], CPU, torch.float32)


def test_onednn_is_refused_to_be_switched_off_where_it_never_runs() -> None:
    cell, cuda = LSTM(3, 5, seeded()), torch.device("cuda")
    assert Vendor().refusal(cell, cuda, torch.float32) is None
    with pytest.raises(Unsupported, match=r"backend=vendor with onednn=false means nothing on cuda.*backend=vendor$"):
        Vendor(onednn=False).stack([cell], cuda, torch.float32)
    with pytest.raises(Unsupported, match=r"backend=vendor with onednn=false does not run RNN.activation=sigmoid"):
        Vendor(onednn=False).stack([maker("rnn_article")(3, 5, seeded())], CPU, torch.float32)


@pytest.mark.parametrize("ran_in", [torch.float16, torch.bfloat16, torch.float32])
def test_float16_is_refused_where_bfloat16_was_asked_for(ran_in: torch.dtype) -> None:
    stack = Vendor().stack([LSTM(3, 5, seeded())], CPU, torch.float32)
    assert isinstance(stack, VendorStack)
    stack._run = lambda *_: (torch.zeros(2, 2, 5, dtype=ran_in),) * 3  # type: ignore[method-assign]
    stack(torch.ones(2, 2, 3))  # not in mixed precision: the type is that of the layer
    with torch.autocast("cpu", torch.bfloat16):
        if ran_in is torch.float16:
            with pytest.raises(
                Unsupported, match=r"^backend=vendor does not run dtype=bfloat16 on cpu: .*backend=loop"
            ):
                stack(torch.ones(2, 2, 3))
        else:
            stack(torch.ones(2, 2, 3))


needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


def onednn_calls(run: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> int:
    """How many primitives oneDNN itself says that it ran."""
    capfd.readouterr()
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        run()
    return capfd.readouterr().out.count(",exec,")


@needs_onednn
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
def test_onednn_is_off_in_both_directions_and_elsewhere_on(
    make: type[Cell], dtype: torch.dtype, capfd: pytest.CaptureFixture[str]
) -> None:
    x = draw(4, 16, 64).to(dtype).requires_grad_()
    found: dict[bool, tuple[int, int]] = {}
    for onednn in (True, False):
        stack = Vendor(onednn=onednn).stack([make(64, 64, seeded())], CPU, dtype).to(dtype)
        losses: list[Tensor] = []
        forward = onednn_calls(lambda stack=stack, losses=losses: losses.append(stack(x)[0].sum()), capfd)  # type: ignore[misc]
        found[onednn] = (forward, onednn_calls(losses[0].backward, capfd))
        with torch.no_grad():
            assert (onednn_calls(lambda stack=stack: stack(x), capfd) > 0) == (forward > 0)  # type: ignore[misc]
        assert torch.backends.mkldnn.enabled
    assert found[False] == (0, 0)
    if make is LSTM and dtype is torch.float32:
        assert min(found[True]) > 0  # so oneDNN would have been heard


@pytest.mark.parametrize("enabled", [True, False])
def test_the_setting_of_the_process_comes_back_also_after_an_error(enabled: bool) -> None:
    stack = Vendor(onednn=False).stack([LSTM(3, 5, seeded())], CPU, torch.float32)
    before = torch.backends.mkldnn.enabled
    torch._C._set_mkldnn_enabled(enabled)
    try:
        loss = stack(torch.ones(2, 2, 3))[0].sum()
        assert torch.backends.mkldnn.enabled == enabled
        loss.backward(retain_graph=True)
        assert torch.backends.mkldnn.enabled == enabled
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()  # this graph's own graph is gone: an error inside backward
        assert torch.backends.mkldnn.enabled == enabled
        with pytest.raises(RuntimeError, match=r"size|dimension"):
            stack(torch.ones(2, 2, 4))
        assert torch.backends.mkldnn.enabled == enabled
        with torch.no_grad(), pytest.raises(RuntimeError, match=r"size|dimension"):
            stack(torch.ones(2, 2, 4))
        assert torch.backends.mkldnn.enabled == enabled
    finally:
        torch._C._set_mkldnn_enabled(before)


def test_without_onednn_any_part_of_the_outputs_may_be_used() -> None:
    stacks = [Vendor(onednn=flag).stack([LSTM(3, 5, seeded())], CPU, torch.float64).double() for flag in (False, True)]
    x = draw(4, 2, 3).requires_grad_()
    for parts in ((0,), (1,), (2,), (0, 2)):
        found = []
        for stack in stacks:
            h, (last_h, last_c) = stack(x)
            loss = torch.stack([(h, last_h, last_c)[part].square().sum() for part in parts]).sum()
            found.append(torch.autograd.grad(loss, [x, *(p for p in stack.parameters() if p.requires_grad)]))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-14)
    stack = stacks[0]
    for parameter in stack.parameters():
        parameter.requires_grad_(False)
    assert not stack(x.detach())[0].requires_grad
    assert stack(x)[0].requires_grad


def test_without_onednn_a_second_derivative_is_refused() -> None:
    stack = Vendor(onednn=False).stack([LSTM(3, 5, seeded())], CPU, torch.float64).double()
    x = draw(4, 2, 3).requires_grad_()
    with pytest.raises(UserError, match="no second derivative"):
        torch.autograd.grad(stack(x)[0].sum(), x, create_graph=True)
