"""One step a call: on every backend the same numbers as the whole sequence."""

import pytest
import torch
from backend_pairs import A_CELL_OF, PAIRS, backend, draw
from made_cells import CPU, maker

from gru_bench.backends.base import State
from gru_bench.errors import UserError
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


def test_a_bidirectional_encoder_has_no_steps() -> None:
    with pytest.raises(UserError, match="bidirectional=true has no single steps"):
        encoder("gru", "loop", bidirectional=True).stepper(1)
