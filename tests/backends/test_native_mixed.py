"""Mixed precision by compiled code: operands rounded to bfloat16, sums and everything else in float32."""

import pytest
import torch
from bptt_cells import COMPILED, draw, needs_native
from made_cells import CPU, maker, seeded
from torch import Tensor

from gru_bench.backends.base import Stack
from gru_bench.backends.bptt import BPTT
from gru_bench.cells.rnn import RNN
from gru_bench.errors import Unsupported
from gru_bench.measure import parity
from gru_bench.measure.kernel import kernel_name

pytestmark = needs_native
BF16 = torch.bfloat16


def rounded(tensor: Tensor) -> Tensor:
    return tensor.detach().bfloat16().double()


def stack_of(name: str, D: int = 19, H: int = 37) -> Stack:
    return BPTT(native="required").stack([maker(name)(D, H, seeded())], CPU, torch.float32)


def test_every_operand_is_rounded_and_nothing_else() -> None:
    cell = RNN(19, 37, seeded())
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    x, h0, dh = (draw(2, 5, D, seed=D).float() for D in (19, 37, 38))
    x.requires_grad_(), (h0 := h0[:1]).requires_grad_()
    with torch.autocast("cpu", BF16):
        h, _ = stack(x, (h0,))
    dh = dh[:, :, :37]
    h.backward(dh)
    W, U, b = rounded(cell.W), rounded(cell.U), cell.b.detach().double()
    state, dlater, wanted = h0[0], torch.zeros(5, 37).double(), []
    for t in range(2):
        new = torch.tanh(rounded(x[t]) @ W.T + b + rounded(state) @ U.T)
        torch.testing.assert_close(h[t].detach().double(), new, rtol=0, atol=1e-6)
        state = h[t]
    for t in (1, 0):
        dgates = rounded(((dh[t] + dlater.float()) * (1 - h[t] * h[t])).detach())
        dlater = dgates @ U
        wanted.append([dgates.T @ rounded(x[t]), dgates.T @ rounded((h0, h)[t][0]), dgates.sum(0), dgates @ W])
    found = [cell.W.grad, cell.U.grad, cell.b.grad]
    for gradient, later, earlier in zip(found, *wanted, strict=False):
        assert gradient is not None
        torch.testing.assert_close(gradient.double(), later + earlier, rtol=1e-5, atol=1e-5)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), torch.stack([wanted[1][3], wanted[0][3]]), rtol=1e-5, atol=1e-5)
    assert h0.grad is not None
    torch.testing.assert_close(h0.grad[0].double(), dlater, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in COMPILED if name != "irnn"])
def test_it_is_as_close_to_the_equations_as_other_backends(name: str) -> None:
    for case in parity.QUICK:
        errors = parity.compare(case, maker(name), BPTT(native="required"), CPU, BF16, autocast=True)
        assert 1e-4 < max(errors) <= parity.TOLERANCES[BF16] / 2


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "mgu"])
@pytest.mark.parametrize("ragged", [False, True])
def test_neither_threads_nor_keeping_nothing_change_a_bit(name: str, ragged: bool) -> None:
    lengths = torch.tensor([70, 3, 68, 1, 70, 33, 34, 35, 9, 12, 50]) if ragged else None
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        stack, x = stack_of(name), draw(70, 11, 19).float().requires_grad_()
        state = tuple(draw(1, 11, 37, seed=k).float().requires_grad_() for k in range(1 + (name == "lstm")))
        with torch.autocast("cpu", BF16):
            h, final = stack(x, state, lengths)
            with torch.no_grad():
                assert torch.equal(stack(x, state, lengths)[0], h)
        (h.square().sum() + final[0].sum()).backward()
        assert {h.dtype, *(s.dtype for s in final)} == {torch.float32}
        results.append([h.detach(), x.grad, state[0].grad, *stack.cell_tensors(grad=True)[0].values()])
    assert all(map(torch.equal, *results))


def test_inputs_in_bfloat16_are_taken_and_the_kernel_is_named() -> None:
    stack, x = stack_of("gru"), draw(4, 2, 19).to(BF16).requires_grad_()
    with torch.autocast("cpu", BF16):
        h = stack(x)[0]
        assert torch.equal(h, stack(x.float())[0])
    assert h.dtype is torch.float32
    h.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is BF16
    name = kernel_name(stack, BPTT(), 19, CPU, torch.float32, autocast=BF16)
    assert name.startswith("native ")
    assert name.endswith(" bf16")


def test_steps_under_autocast_are_the_layers() -> None:
    stack, x = stack_of("lstm"), draw(2, 3, 19).float()
    step = stack.stepper(3)
    with torch.autocast("cpu", BF16), torch.no_grad():
        out_BH, state = step(x[0], None)
        out_BH, _ = step(x[1], state)
        assert torch.equal(out_BH, stack(x)[0][1])
    assert not torch.equal(step(x[1], state)[0], out_BH)


def test_what_native_code_does_not_run_is_refused_by_name() -> None:
    BPTT().require_autocast(BF16, maker("gru")(1, 1, seeded()))
    with pytest.raises(Unsupported, match=r"bfloat16 of JANET here: .*backend=loop runs every cell in it$"):
        BPTT().require_autocast(BF16, maker("janet")(1, 1, seeded()))
    with pytest.raises(Unsupported, match="bfloat16 of RNN with ReLU: in mixed precision its slope"):
        BPTT().require_autocast(BF16, maker("irnn")(1, 1, seeded()))
    with pytest.raises(Unsupported, match="backend=bptt does not run dtype=bfloat16 here"):
        BPTT(native="never").require_autocast(BF16)
    with torch.autocast("cpu", torch.float16), pytest.raises(Unsupported, match="does not run dtype=float16"):
        stack_of("gru")(draw(2, 2, 19).float())
