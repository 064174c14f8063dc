"""What the gates do: over how many steps each unit forgets, and how often a gate is shut or wide open."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gru_bench.cells.base import Cell
from gru_bench.probes import steps
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.tasks.base import PositiveInt

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of units, or of what else is many: slices called ``quantile``."""
SHUT, OPEN = 0.1, 0.9
"""Below and above a gate counts as saturated: its slope is then below 0.09, where it is 0.25 at most."""


class Gates(Probe):
    r"""Time scales of units, and saturation of gates, over all steps of some validation examples.

    A unit whose memory is multiplied by the share :math:`k_t` at each step forgets over
    :math:`\tau = -1 / \ln \overline{k}` steps, with the mean over steps and examples. Where k is constant, what enters
    the unit has fallen to 1/e after so long, as far as the direct way alone goes. Where the gate varies, that is longer
    than what is stored on a typical path takes to fall so far, :math:`-1 / \overline{\ln k}`. It is infinite where all
    is kept. The median over the units of all layers is the value; further quantiles are its slices. A cell without a
    direct way has no time scale.

    A gate is saturated where it is below 0.1 or above 0.9: the share of its values over units, steps and examples, by
    gate. Padding does not count.

    Args:
        examples: Most examples; the longest of one validation batch, the one of the first 64 whose median length is
            largest.
        steps: Most steps of an example, the last ones.

    Source: the notion of a time scale is that of Tallec and Ollivier (2018), arXiv:1804.11188, who write 1 / (1 - k);
    saturation as in Karpathy et al. (2015), arXiv:1506.02078.
    """

    name: ClassVar[str] = "gates"
    moments: ClassVar[tuple[Moment, ...]] = ("start", "middle", "end")

    def __init__(self, *, examples: PositiveInt, steps: PositiveInt) -> None:
        self.examples, self.steps = examples, steps

    def refusal(self, subject: Subject, /) -> str | None:
        def of_cell(cell: Cell) -> str | None:
            if cell.gating or cell.keeps:
                return None
            return f"{type(cell).__name__} has no gates; valid: a cell that has some, such as gru or lstm"

        return steps.needs_encoder(subject, of_cell)

    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        run = steps.run(subject, self.examples, self.steps)
        values: list[Finding] = []
        units: dict[str, list[object]] = {"layer": [], "unit": [], "kept": [], "timescale_steps": []}
        saturated: dict[str, list[Tensor]] = {}
        for number, layer in enumerate(run.layers):
            gates, kept = of_layer(layer, run.lengths)
            for name, gate_NH in gates.items():
                saturated.setdefault(name, []).append(((gate_NH < SHUT) | (gate_NH > OPEN)).double().mean())
                units.setdefault(f"mean_{name}", []).extend(gate_NH.mean(0).tolist())
            H = layer.cell.hidden_size
            kept_H = torch.full((H,), torch.nan) if kept is None else kept.mean(0)
            units["layer"] += [number] * H
            units["unit"] += range(H)
            units["kept"] += kept_H.tolist()
            units["timescale_steps"] += timescale(kept_H).tolist()
        if run.layers[0].cell.keeps:
            values += spread(f"timescale_steps_{moment}", np.array(units["timescale_steps"], dtype=float), "steps")
        values += [
            Finding(f"saturation_{moment}", float(torch.stack(shares).mean()), "share of values", "gate", name)
            for name, shares in saturated.items()
        ]
        return Findings(values, {moment: units})


@torch.no_grad()
def of_layer(layer: steps.Layer, lengths_B: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """The gates (N, H) by name and what is kept (N, H), at the N steps of all examples that are no padding."""
    cell = layer.cell
    values = [cell.gate_values(gx_BG, old) for gx_BG, old in zip(layer.projections, layer.olds, strict=True)]
    alive_TB = torch.arange(len(values))[:, None] < lengths_B

    def alive(tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors).double().cpu()[alive_TB]

    gates = {name: alive([one[name] for one in values]) for name in cell.gating}
    kept = [share for one in values if (share := cell.kept(one)) is not None]
    return gates, alive(kept) if kept else None


def timescale(kept: Tensor) -> Tensor:
    """Steps after which a constant share leaves 1/e of what is stored: infinite where it is 1, 0 where it is 0."""
    kept = kept.double()
    return torch.where(kept < 1, -1 / kept.log(), torch.where(kept.isnan(), torch.nan, torch.inf))


def spread(metric: str, numbers: np.ndarray, unit: str) -> list[Finding]:
    """The median as the value, and quantiles as its slices."""
    found = np.quantile(numbers, QUANTILES, method="inverted_cdf")  # infinite ones are not averaged with others
    parts = [Finding(metric, float(q), unit, "quantile", str(share)) for share, q in zip(QUANTILES, found, strict=True)]
    return [Finding(metric, float(found[QUANTILES.index(0.5)]), unit), *parts]
