"""How far back a gradient reaches: its norm at each lag, what is left of it, and after how many steps nothing is."""

import math
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Gt, Lt
from torch import Tensor

from gru_bench.probes import steps
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.tasks.base import PositiveInt

Curve = npt.NDArray[np.float64]

DENSE = 8
"""Lags up to which all of them are values of the run; beyond, there are four to a doubling. The table has them all."""
UNDERFLOW = 1e-30
"""Shares below it are left out of fits: float32 ends at 1e-38, and norms of single units lie below the whole."""
FEWEST = 5
"""Lags that a fit needs at least."""
STILL = 1e-6
"""A logarithm that changes by less over the whole tail does not change: half-lives beyond that would be of rounding."""


class GradientReach(Probe):
    r"""The gradient of the last output with respect to the states k steps earlier.

    .. math::
        g(k) = \frac{\lVert \partial L / \partial s_{T-k} \rVert}{\lVert \partial L / \partial h_T \rVert},
        \quad L = v \cdot h_T

    s is the whole state that one step hands to the next: of all layers, and of an LSTM both h and c. v is a random
    direction, the same for all cells of one size, so that the question is the same for all of them and does not depend
    on what the head has learned. g is taken for each example, and the median and the quartiles over the examples are
    kept. What is h's and what is c's share are also kept: their squares add up to that of the whole.

    A state is differentiated as what the later steps get. So c's share is what flows back along c alone; PyTorch's own
    gradient of c would count the way through h of the same step twice.

    From the medians: an exponential ``log g = a - b k`` and a power law ``log g = a - p log k``, both fitted to the
    tail (the lags beyond the first quarter of those at which anything is left), with their R²; the half-life
    ``log 2 / b``, infinite where nothing decays; and the horizon, the largest lag at which g is at least ``threshold``,
    infinite where the longest lag looked at, which is kept with it, still has so much, and not a number where g is none
    at some lag.

    It is measured in the floating type of the model's weights, on a loop over the cell's own steps with the model's
    weights, since a fused kernel hides its steps. A model that reads both ways is looked at in the forward direction;
    one that translates, in the encoder.

    Args:
        examples: Most examples; the longest of one validation batch, the one of the first 64 whose median length is
            largest.
        steps: Most steps of an example, the last ones.
        text_steps: Most steps of running text, which has no length of its own.
        threshold: Share of the gradient at which the horizon lies.

    Source: Pascanu et al. (2013), arXiv:1211.5063, for the norm and why it vanishes.
    """

    name: ClassVar[str] = "gradient_reach"
    moments: ClassVar[tuple[Moment, ...]] = ("start", "middle", "end")

    def __init__(
        self,
        *,
        examples: PositiveInt,
        steps: PositiveInt,
        text_steps: PositiveInt,
        threshold: Annotated[float, Gt(0), Lt(1)],
    ) -> None:
        self.examples, self.steps, self.text_steps, self.threshold = examples, steps, text_steps, threshold

    def refusal(self, subject: Subject, /) -> str | None:
        return None if steps.encoder_of(subject.model) is not None else steps.NO_ENCODER

    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        run = steps.run(subject, self.examples, self.steps, self.text_steps)
        shares = {name: by_lag(norms_TB, run.lengths) for name, norms_TB in gradients(run, subject.seed).items()}
        curves = {
            "gradient": np.median(shares[""], axis=1),
            "gradient_low": np.quantile(shares[""], 0.25, axis=1),
            "gradient_high": np.quantile(shares[""], 0.75, axis=1),
        } | {f"gradient_{name}": np.median(share, axis=1) for name, share in shares.items() if name}
        return Findings(
            [
                Finding(f"{name}_{moment}", float(curve[lag]), "1", "lag", str(lag))
                for name, curve in curves.items()
                for lag in kept_lags(len(curve))
            ]
            + summary(curves["gradient"], self.threshold, moment),
            {moment: {"lag": list(range(len(curves["gradient"])))} | {k: v.tolist() for k, v in curves.items()}},
        )


def gradients(run: steps.Steps, seed: int) -> dict[str, Tensor]:
    """Norms (T, B) by step and example, as shares of that at the last output.

    Returns:
        Under an empty name those of the whole state; where a cell has several states, those of each under its name.
    """
    H = run.last.shape[1]
    v_H = torch.randn(H, generator=torch.Generator().manual_seed(seed)).to(run.last)
    states = [[news[i] for news in layer.news] for layer in run.layers for i in range(len(layer.cell.states))]
    names = [name for layer in run.layers for name in layer.cell.states]
    flat = [s_BH for of_one in states for s_BH in of_one]
    found = torch.autograd.grad((run.last @ v_H).sum(), flat, allow_unused=True)  # examples do not touch each other
    T, B = len(states[0]), len(run.last)
    norms_NTB = torch.stack([torch.zeros_like(flat[0]) if g is None else g for g in found]).norm(dim=2)
    norms_NTB = norms_NTB.double().cpu().view(len(states), T, B) / float(v_H.norm())
    kinds = list(dict.fromkeys(names))
    parts = {kind: norms_NTB[[name == kind for name in names]].norm(dim=0) for kind in kinds}
    whole_TB = norms_NTB.norm(dim=0)
    for norms_TB in (whole_TB, parts[kinds[0]]):  # at the last step the output itself, which no later step gets
        norms_TB[run.lengths.cpu() - 1, torch.arange(B)] = 1.0
    return {"": whole_TB} | (parts if len(kinds) > 1 else {})


def by_lag(norms_TB: Tensor, lengths_B: Tensor) -> Curve:
    """(K, B) by lag from each example's own last step; K lags that half of the examples reach.

    Shorter examples have no number there: not a number would make a median one, so the rows are those that reach it.
    """
    K = int(lengths_B.sort(descending=True).values[(len(lengths_B) - 1) // 2])
    rows_B = lengths_B >= K
    last_B = lengths_B[rows_B] - 1
    steps_KB = last_B - torch.arange(K)[:, None]
    return norms_TB[:, rows_B].gather(0, steps_KB).numpy()


def kept_lags(K: int) -> list[int]:
    """The lags below K that become values: all the short ones, then fewer and fewer, and always the longest."""
    lags = list(range(min(K, DENSE + 1)))
    while lags[-1] < K - 1:
        lags.append(min(K - 1, math.ceil(lags[-1] * 2**0.25)))
    return lags


def summary(g_K: Curve, threshold: float, moment: Moment) -> list[Finding]:
    """The numbers that describe a curve of shares by lag: half-life, power law, how well both fit, horizon."""
    half_life, of_exponential, exponent, of_power_law = fits(g_K)
    return [
        Finding(f"half_life_steps_{moment}", half_life, "steps"),
        Finding(f"exponential_r2_{moment}", of_exponential, "1"),
        Finding(f"power_law_exponent_{moment}", exponent, "1"),
        Finding(f"power_law_r2_{moment}", of_power_law, "1"),
        Finding(f"horizon_steps_{moment}", horizon(g_K, threshold), "steps"),
        Finding(f"longest_lag_steps_{moment}", len(g_K) - 1, "steps"),
    ]


def horizon(g_K: Curve, threshold: float) -> float:
    """The largest lag at which the share is at least the threshold.

    Infinite where the longest lag is such a one, since what lies beyond was not looked at; nan where a share is.
    """
    if np.isnan(g_K).any():
        return math.nan
    if g_K[-1] >= threshold:
        return math.inf
    return float(np.flatnonzero(g_K >= threshold)[-1])


def fits(g_K: Curve) -> tuple[float, float, float, float]:
    """Half-life and R² of the exponential, exponent and R² of the power law; nan where too few lags are left."""
    lags = np.flatnonzero(np.isfinite(g_K) & (g_K > UNDERFLOW))
    lags = lags[lags >= max(1, lags[-1] // 4)] if len(lags) else lags
    if len(lags) < FEWEST:
        return (math.nan,) * 4
    log_g = np.log(g_K[lags])
    still = float(np.ptp(log_g)) < STILL
    slope, of_exponential = line(lags.astype(float), log_g)
    exponent, of_power_law = line(np.log(lags), log_g)
    if still:
        return math.inf, math.nan, 0.0, math.nan
    return math.inf if slope >= 0 else math.log(2) / -slope, of_exponential, -exponent, of_power_law


def line(x_N: Curve, y_N: Curve) -> tuple[float, float]:
    """Slope of the line of least squares, and R²."""
    slope, intercept = np.polyfit(x_N, y_N, 1)
    residual = float(((y_N - slope * x_N - intercept) ** 2).sum())
    return float(slope), 1 - residual / float(((y_N - y_N.mean()) ** 2).sum() or math.nan)
