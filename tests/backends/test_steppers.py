"""One step a call: on every backend the same numbers as the whole sequence."""

from collections.abc import Sequence

import pytest
import torch
from backend_pairs import A_CELL_OF, EQUATIONS, PAIRS, backend, draw
from made_cells import CPU, maker, seeded
from torch import Tensor

from gru_bench.backends.base import Stack, State
from gru_bench.backends.native import stepper
from gru_bench.backends.native.build import CannotBuild, library
from gru_bench.backends.native.layer import DTYPES, has_kernel
from gru_bench.cells.base import Cell
from gru_bench.errors import Unsupported, UserError
from gru_bench.models.encoder import Encoder
from gru_bench.models.streams import Streams


def encoder(
    cell: str, runner: str, *, hidden_size: int = 5, num_layers: int = 2, bidirectional: bool = False
) -> Encoder:
    """An encoder of 3 features in float64."""
    return Encoder(
        3,
        maker(cell),
        backend(runner),
        Streams(0),
        hidden_size=hidden_size,
        num_layers=num_layers,
        device=CPU,
        dtype=torch.float64,
        bidirectional=bidirectional,
    ).double()


@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_a_stream_of_steps_is_the_whole_sequence(cell: str, runner: str) -> None:
    module, x_TBD = encoder(cell, runner), draw(6, 3, 3)
    whole_TBH, final = module(x_TBD)
    step = module.stepper(3)
    state: State | None = None
    before: list[tuple[State, State]] = []
    for t in range(6):
        out_BH, state = step(x_TBD[t], state)
        torch.testing.assert_close(out_BH, whole_TBH[t].detach(), rtol=1e-12, atol=1e-12)
        assert not out_BH.requires_grad
        assert not any(s_LBH.requires_grad for s_LBH in state)
        before.append((state, tuple(s_LBH.clone() for s_LBH in state)))
    assert state is not None
    for got, expected in zip(state, final, strict=True):
        torch.testing.assert_close(got, expected.detach(), rtol=1e-12, atol=1e-12)
    # what an earlier step returned still is what it was
    assert all(torch.equal(a, b) for kept, copied in before for a, b in zip(kept, copied, strict=True))


@pytest.mark.parametrize("runner", sorted(A_CELL_OF))
def test_what_does_not_fit_a_stepper_is_refused(runner: str) -> None:
    module = encoder(A_CELL_OF[runner], runner)
    with pytest.raises(UserError, match="at least 1, got 0"):
        module.stepper(0)
    step = module.stepper(2)
    with pytest.raises(UserError, match=r"takes \(2, "):
        step(draw(3, 3), None)
    _, state = step(draw(2, 3), None)
    with pytest.raises(UserError, match=r"states .* 2, "):
        step(draw(2, 3), tuple(s_LBH[:, :1] for s_LBH in state))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_vendors_steps_take_slices_and_count_the_states(cell: str) -> None:
    step, x_BD = encoder(cell, "vendor").stepper(2), draw(2, 3)
    _, state = step(x_BD, None)
    wide = tuple(torch.cat((s_LBH, s_LBH), dim=2)[..., : s_LBH.shape[2]] for s_LBH in state)
    assert torch.equal(step(x_BD, wide)[0], step(x_BD, state)[0])
    for given in ((*state, state[0]), ()):
        with pytest.raises(UserError, match=rf"takes {len(state)} of states \(L, B, H\), got {len(given)}"):
            step(x_BD, given)
    with pytest.raises(UserError, match=r"takes \(2, "):
        step(draw(3, 3), step(x_BD, state)[1])


def test_the_vendors_step_refuses_a_type_that_was_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = encoder("gru", "vendor").float()
    step = module.stepper(2)
    half = torch.zeros(1, 2, 5, dtype=torch.float16)
    monkeypatch.setattr(module.stacks[0].module, "forward", lambda *_: (half, half))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(Unsupported, match="does not run dtype=bfloat16"):
        step(draw(2, 3).float(), None)


def test_a_bidirectional_encoder_has_no_steps() -> None:
    with pytest.raises(UserError, match="bidirectional=true has no single steps"):
        encoder("gru", "loop", bidirectional=True).stepper(1)


def is_native(cell: Cell) -> bool:
    try:
        return has_kernel(cell, torch.float32)
    except CannotBuild:
        return False


NATIVE = [cell for cell in EQUATIONS if is_native(maker(cell)(1, 1, seeded()))]
needs_native = pytest.mark.skipif(not NATIVE, reason="no native code here")


def two_layers(cell: str, runner: str, D: int, H: int, dtype: torch.dtype) -> Stack:
    """Layers of D and H inputs whose biases are not zero."""
    cells = [maker(cell)(size, H, seeded(size)) for size in (D, H)]
    with torch.no_grad():
        for parameter in (p for one in cells for p in one.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=seeded(5)), alpha=0.1)
    return backend(runner).stack([one.to(dtype) for one in cells], CPU, dtype)


def test_every_native_cell_has_a_native_step() -> None:
    for cell in NATIVE:
        for dtype in DTYPES:
            assert hasattr(library(), f"{maker(cell)(1, 1, seeded()).name}_step_{dtype.itemsize}")


@needs_native
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("cell", NATIVE)
def test_native_steps_are_the_loops(cell: str, dtype: torch.dtype, atol: float) -> None:
    for B, D, H in ((1, 3, 5), (3, 17, 16), (8, 40, 37), (17, 1, 50), (6, 33, 7)):
        found: list[list[Tensor]] = []
        for runner in ("loop", "bptt"):
            step = two_layers(cell, runner, D, H, dtype).stepper(B)
            state: State | None = None
            found.append([])
            for t in range(3):
                out_BH, state = step(draw(B, D, seed=t).to(dtype), state)
                found[-1] += [out_BH, *state]
        for expected, got in zip(*found, strict=True):
            assert got.dtype == dtype
            torch.testing.assert_close(got, expected, rtol=0, atol=atol)


@needs_native
def test_a_step_follows_the_weights() -> None:
    stack, x_BD = two_layers("gru", "bptt", 3, 5, torch.float32), draw(2, 3).float()
    step = stack.stepper(2)

    def differs_from_before(before: Tensor) -> Tensor:
        out_BH, _ = step(x_BD.to(before.dtype), None)
        expected_TBH, _ = stack(x_BD.to(before.dtype)[None])
        torch.testing.assert_close(out_BH, expected_TBH[0].detach(), rtol=0, atol=1e-6)
        assert (out_BH - before).abs().max() > 1e-3
        return out_BH

    out_BH = differs_from_before(torch.zeros(2, 5))
    optimizer = torch.optim.Adam(stack.parameters(), lr=0.1)
    stack(x_BD[None])[0].sum().backward()
    optimizer.step()
    out_BH = differs_from_before(out_BH)
    others = {name: value * 0.5 for name, value in stack.state_dict().items()}
    stack.load_state_dict(others)
    out_BH = differs_from_before(out_BH)
    stack.load_state_dict({name: value * 0.5 for name, value in others.items()}, assign=True)
    out_BH = differs_from_before(out_BH)
    for parameter in stack.parameters():
        parameter.data = parameter.data * 3
    out_BH = differs_from_before(out_BH)
    for parameter in stack.parameters():
        parameter.data.mul_(0.3)
    out_BH = differs_from_before(out_BH)
    stack.double()
    with pytest.raises(UserError, match="must be float64 on the CPU like the weights, got float32"):
        step(x_BD, None)
    differs_from_before(out_BH.double() * 0.5)


@needs_native
def test_a_native_step_takes_views_and_changes_no_state() -> None:
    stack = two_layers("lstm", "bptt", 3, 5, torch.float64)
    step = stack.stepper(2)
    whole, wide = draw(2, 6), [draw(2, 2, 10, seed=k) for k in (1, 2)]
    state = tuple(each[:, :, ::2] for each in wide)
    expected = step(whole[:, ::2].contiguous(), tuple(each.contiguous() for each in state))
    before = [each.clone() for each in (whole, *wide)]
    out_BH, new = step(whole[:, ::2], state)
    assert torch.equal(out_BH, expected[0])
    assert all(map(torch.equal, new, expected[1]))
    assert all(map(torch.equal, before, (whole, *wide)))
    new[0][:] = 0  # as a caller resets a sequence: the next step sees it, and no output has changed
    assert torch.equal(out_BH, expected[0])
    assert not torch.equal(step(whole[:, ::2], new)[0], step(whole[:, ::2], expected[1])[0])


@needs_native
@pytest.mark.parametrize(
    ("x_BD", "state", "words"),
    [
        (draw(2, 4), None, r"takes an input \(2, 3\).* got \(2, 4\)"),
        (draw(2, 3), (draw(2, 2, 4),), r"1 of states \(2, 2, 5\), got"),
        (draw(2, 3), (draw(1, 2, 5),), r"1 of states \(2, 2, 5\), got"),
        (draw(2, 3), (draw(2, 2, 5), draw(2, 2, 5)), "1 of states"),
        (draw(2, 3), (), "1 of states"),
        (draw(2, 3).float(), None, "must be float64 on the CPU like the weights, got float32 on cpu"),
        (draw(2, 3), (draw(2, 2, 5).float(),), "got float64 on cpu, float32 on cpu"),
        (draw(2, 3).to("meta"), None, "got float64 on meta"),
    ],
)
def test_what_does_not_fit_a_native_step_is_refused(x_BD: Tensor, state: State | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        two_layers("gru", "bptt", 3, 5, torch.float64).stepper(2)(x_BD, state)


@needs_native
def test_dropout_acts_in_training_alone() -> None:
    cells = [maker("gru")(4, 64, seeded(k)).double() for k in (1,)] + [maker("gru")(64, 64, seeded(2)).double()]
    stack = backend("bptt").stack(cells, CPU, torch.float64, dropout=0.5)
    step, x_BD = stack.stepper(1), draw(1, 4)
    assert not torch.equal(step(x_BD, None)[0], step(x_BD, None)[0])
    stack.eval()
    torch.testing.assert_close(step(x_BD, None)[0], stack(x_BD[None])[0][0].detach(), rtol=0, atol=1e-12)


@needs_native
def test_a_failed_allocation_is_an_error_and_not_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Huge(stepper._Plan):
        def __init__(self, cells: Sequence[Cell], batch_size: int) -> None:
            super().__init__(cells, batch_size)
            self.stack.batch = 2**50

    monkeypatch.setattr(stepper, "_Plan", Huge)
    step = two_layers("gru", "bptt", 3, 5, torch.float64).stepper(1)
    with pytest.raises(MemoryError, match=r"^no memory for a native step of GRU$"):
        step(draw(1, 3), None)
