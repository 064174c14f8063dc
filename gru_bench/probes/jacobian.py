"""How one step multiplies what came before: the spectrum of the Jacobian of a state with respect to the one before."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gru_bench.probes import steps
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.probes.gates import of_layer, spread
from gru_bench.tasks.base import PositiveInt


class Jacobian(Probe):
    r"""Spectra of :math:`J = \partial s_t / \partial s_{t-1}`, layer by layer, at some steps of some examples.

    s is all that a layer's step hands on: h, and of an LSTM h and c. Kept are quantiles over steps, examples and layers
    of the largest singular value, ``jacobian_norm``, and of the largest absolute eigenvalue, ``jacobian_radius``.
    A gradient shrinks at every step where the norm is below 1; where a radius near 1 stays the same from step to step,
    something is kept for long.

    ``direct_share`` is of the direct way alone, which leaves out what passes through the recurrent weights:
    :math:`\partial c_t / \partial c_{t-1} = \mathrm{diag}(f_t)` of an LSTM, diag(z) of a GRU. It is diagonal, so its
    eigenvalues are the shares that the units keep. The quantiles are taken over those of all units, steps and examples,
    not over the largest of each step, so that it is no radius. A cell without a direct way has none.

    Args:
        examples: Most examples; the longest of one validation batch, the one of the first 64 whose median length is
            largest.
        steps: Most steps of an example, the last ones.
        places: Steps of each example at which the whole Jacobian is made, equally far apart; one of 256 units of an
            LSTM costs a second or so.

    Source: Pascanu et al. (2013), arXiv:1211.5063.
    """

    name: ClassVar[str] = "jacobian"
    moments: ClassVar[tuple[Moment, ...]] = ("start", "middle", "end")

    def __init__(self, *, examples: PositiveInt, steps: PositiveInt, places: PositiveInt) -> None:
        self.examples, self.steps, self.places = examples, steps, places

    def refusal(self, subject: Subject, /) -> str | None:
        return steps.needs_encoder(subject)

    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        run = steps.run(subject, self.examples, self.steps)
        shares: list[Tensor] = []
        table: dict[str, list[object]] = {name: [] for name in ("layer", "step", "example", "norm", "radius")}
        shortest = int(run.lengths.min())
        at = sorted({int(step) for step in np.linspace(shortest - 1, 0, self.places + 1)[:-1]})
        for number, layer in enumerate(run.layers):
            _, kept = of_layer(layer, run.lengths)
            shares += [] if kept is None else [kept.flatten()]
            for step in at:
                J_BNN = jacobian(layer, step)
                table["layer"] += [number] * len(J_BNN)
                table["step"] += [step] * len(J_BNN)
                table["example"] += range(len(J_BNN))
                table["norm"] += torch.linalg.matrix_norm(J_BNN, ord=2).tolist()
                table["radius"] += torch.linalg.eigvals(J_BNN).abs().amax(dim=1).tolist()
        values: list[Finding] = []
        for name in ("norm", "radius"):
            values += spread(f"jacobian_{name}_{moment}", np.array(table[name], dtype=float), "1")
        if shares:
            values += spread(f"direct_share_{moment}", torch.cat(shares).numpy(), "1")
        return Findings(values, {moment: table})


def jacobian(layer: steps.Layer, step: int) -> Tensor:
    """(B, S, S) in float64, with S the numbers of the layer's state: row by row, for all examples at once."""
    cell, old = layer.cell, [s_BH.detach().requires_grad_() for s_BH in layer.olds[step]]
    with torch.enable_grad():
        _, new = type(cell).step(cell, layer.projections[step].detach(), tuple(old))  # not the one that is watched
        new_BS = torch.cat(new, dim=1)
        if not new_BS.requires_grad:  # nothing of the old state is used
            return new_BS.new_zeros(*new_BS.shape, new_BS.shape[1]).double().cpu()
        rows = []
        for column_B in new_BS.unbind(1):
            found = torch.autograd.grad(column_B.sum(), old, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [torch.zeros_like(s_BH) if g is None else g for g, s_BH in zip(found, old, strict=True)], dim=1
                )
            )
    return torch.stack(rows, dim=1).double().cpu()
