"""Our cells against those of torchrecurrent (MIT licence), which somebody else wrote from the same papers.

torchrecurrent has two bias vectors where we have one: ours goes where the paper has it, the other is set to zero. All
cells of the two projects that have the same equations are listed, and none is left out for being wrong. Where
torchrecurrent 0.2.5 departs from a paper that it cites:

- ``MUT1Cell`` has a bias inside the inner tanh, :math:`\\tanh(W x + b)`, which Jozefowicz et al. (2015) do not have.
- ``MUT2Cell`` puts a matrix before the bare x of the reset gate, as we do, and says nothing of it: its equations are
  then those of the GRU with the reset gate before the product. A test below holds ours to that.
- ``OriginalLSTMCell`` is not the cell of 1997, whose squashing functions were scaled sigmoids (ranges -2..2 and
  -1..1); it is today's LSTM without its forget gate.
- ``LiGRUCell`` lacks the batch normalization of Ravanelli et al. (2018), without which that paper's ReLU is not stable;
  with tanh it is our GRU without reset gate.
- ``JANETCell`` trains beta, which van der Westhuizen and Lasenby (2018) hold at 1, and carries h and c, which are the
  same numbers at every step.

It has no minGRU, minLSTM, SRU, layer-normalized cell, IRNN, CIFG or LSTM without input or output gate: for these the
statements in ``tests/equations`` are the only independent ones here.
"""

import functools
from collections.abc import Callable

import pytest
import torch
import torchrecurrent
from backend_pairs import draw
from made_cells import build, equations
from torch import Tensor, nn

from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell

Values = dict[str, Tensor]
H, CPU = 5, torch.device("cpu")


def plain(cell: Cell) -> Values:
    """The same equations, and the gates in the same order."""
    return {"weight_ih": cell.W, "weight_hh": cell.U, "bias_ih": cell.b}


def peephole(cell: Cell) -> Values:
    p = cell.p
    assert isinstance(p, Tensor)
    return plain(cell) | {"weight_ph": p}


def mut1(cell: Cell) -> Values:
    """Of r and n it is the recurrent bias that counts: the other one of n is inside the inner tanh."""
    b_z, b_rn = cell.b.split((H, 2 * H))
    return plain(cell) | {"bias_ih": nn.functional.pad(b_z, (0, 2 * H)), "bias_hh": b_rn}


SAME: dict[str, tuple[Callable[..., nn.Module], Callable[[Cell], Values]]] = {
    "mut1": (torchrecurrent.MUT1Cell, mut1),
    "mut2": (torchrecurrent.MUT2Cell, plain),
    "mut3": (torchrecurrent.MUT3Cell, plain),
    "mgu": (torchrecurrent.MGUCell, plain),
    "janet": (torchrecurrent.JANETCell, plain),
    "lstm_peephole": (torchrecurrent.PeepholeLSTMCell, peephole),
    "lstm_no_forget": (torchrecurrent.OriginalLSTMCell, plain),
    "gru_no_reset": (functools.partial(torchrecurrent.LiGRUCell, nonlinearity="tanh"), plain),
}
"""Our cell: their class, and what our values are there. Their other biases are zero."""


@pytest.mark.parametrize("name", SAME)
def test_outputs_and_gradients_are_torchrecurrents(name: str) -> None:
    make, values_of = SAME[name]
    ours, theirs = build(name, hidden_size=H), make(3, H, dtype=torch.float64)
    values, parameters = values_of(ours), dict(theirs.named_parameters())
    assert parameters.keys() - values.keys() - {"bias_hh", "beta"} == set()
    with torch.no_grad():
        for key, parameter in parameters.items():
            if key != "beta":
                parameter.copy_(values.pop(key, torch.zeros_like(parameter)))
    assert not values
    found: list[tuple[Tensor, ...]] = []
    x, weight = draw(6, 4, 3), draw(6, 4, H, seed=2)
    for mine, U in ((True, ours.U), (False, parameters["weight_hh"])):
        leaf = x.clone().requires_grad_()
        if mine:
            h, _ = Loop().stack([ours], CPU, torch.float64)(leaf)
        else:
            state, outputs = None, []
            for x_BD in leaf:
                state = theirs(x_BD, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            h = torch.stack(outputs)
        found.append((h, *torch.autograd.grad((h * weight).sum(), (leaf, U))))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_mut2_with_a_matrix_in_its_reset_gate_is_the_gru_with_the_reset_before() -> None:
    mut2, gru = equations("mut2"), equations("gru_reset_before")
    cell = build("mut2")
    values = {key: p.detach() for key, p in cell.named_parameters()}

    def as_gru(rows: Tensor) -> Tensor:
        z, r, n = rows.chunk(3)
        return torch.cat((r, -z, n))  # the gate named the other way round: sigma(-s) = 1 - sigma(s)

    x, h = draw(4, 3).numpy(), draw(4, 5, seed=1).numpy()
    (found,) = mut2({key: value.numpy() for key, value in values.items()}, x, h)
    (wanted,) = gru({key: as_gru(value).numpy() for key, value in values.items()}, x, h)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-14)
