"""For how many steps two pasts can be told apart in the read-out: measured, and predicted for affine cells."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, ClassVar, cast

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from gru_bench.backends.loop import LoopStack
from gru_bench.cells.base import Cell
from gru_bench.models.encoder import Encoder
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.probes.steps import read_inputs
from gru_bench.tasks.base import Batch, Split
from gru_bench.tasks.objectives.model_language import ModelLanguage

LAGS_PER_DOUBLING = 4
"""How finely lags are looked at: each one is a fifth longer than the one before."""
NOT_AFFINE = 1e-3
"""Error of an affine prediction of a step, relative to the state, above which the step is not affine."""
LONGEST = 10**7
"""Lags up to which a horizon is predicted; infinite beyond."""


class MeasuredHorizon(Probe):
    r"""The largest number of steps after which different pasts can still be told apart in the read-out.

    k inputs before its end the state of a sequence is exchanged for that of another sequence at the same step; the last
    k inputs stay. With y the logits at the last step, less their mean over classes, and :math:`\Delta_k` their change,

    .. math::
        S(k) = \frac{\frac{1}{2} \mathrm{E} \lVert \Delta_k \rVert^2}{\mathrm{E} \lVert y - \bar y \rVert^2}

    is the share of the variance of y that all inputs further back than k account for (Sobol's total effect, by Jansen's
    estimate): how far apart two pasts keep the read-out, relative to how far all that is read spreads it. S(0) is about
    1. The horizon is the largest k looked at with :math:`S(k) \ge` ``share``, infinite where the largest still has it.

    Sequences: the longest that the task's test split has, so with those ``beyond`` training. Read-out: the linear layer
    that reads the last output of the top layer. All layers' states are exchanged.

    Values: ``told_apart_share`` by slice ``lag``, ``told_apart_steps``, and ``longest_told_apart_lag_steps``, the
    largest k. Table ``lags``: the shares.

    Source of the estimate: Jansen (1999), doi:10.1016/S0010-4655(98)00154-4.

    Args:
        examples: Most sequences.
        share: Of the variance that counts.
    """

    name: ClassVar[str] = "measured_horizon"

    def __init__(self, *, examples: Annotated[int, Gt(3)], share: Annotated[float, Gt(0), Lt(1)]) -> None:
        self.examples = examples
        self.share = share

    def refusal(self, subject: Subject, /) -> str | None:
        encoder = only_encoder_of(subject.model)
        if encoder is None or isinstance(subject.task, ModelLanguage):
            return "needs a task of separate sequences, with recurrent layers; valid for running text: context"
        if encoder.bidirectional:
            return "needs layers that read in one direction: from the other end every input is near"
        if readout_of(subject.model, encoder) is None:
            return "needs a linear layer that reads the last output: model.pooling=last without dense layers"
        if next(subject.task.batches("test")).lengths is not None:
            return f"needs sequences of equal length, and those of {type(subject.task).__name__} differ"
        return None

    @torch.no_grad()
    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        encoder = only_encoder_of(subject.model)
        assert encoder is not None
        x_TBD = longest_inputs(subject, "test", self.examples)
        lags = lags_below(len(x_TBD))
        y_LBC = read_out(subject.model, encoder, last_outputs(encoder, x_TBD, lags))
        changes_L = (y_LBC - y_LBC[0]).square().sum(-1).mean(-1) / 2
        shares = (changes_L[1:] / variance(y_LBC[0])).flip(0).tolist()
        values = [Finding("told_apart_share", share, "1", "lag", str(k)) for k, share in zip(lags, shares, strict=True)]
        seen = [k for k, share in zip(lags, shares, strict=True) if share >= self.share]
        horizon = math.inf if seen and seen[-1] == lags[-1] else max(seen, default=math.nan)
        values.append(Finding("told_apart_steps", horizon, "steps"))
        values.append(Finding("longest_told_apart_lag_steps", lags[-1], "steps"))
        return Findings(values, {"lags": {"lag": lags, "share": shares}})


class PredictedHorizon(MeasuredHorizon):
    r"""The horizon of a cell that is affine in its state, predicted from its factors, beside the measured one.

    Where :math:`h_t = a_t \odot h_{t-1} + b_t` with a and b functions of the input alone, a difference of two states is
    multiplied by a at each step, whatever else comes in: the cell can neither correct it nor tell it from noise. So
    what is left of it after k steps is known beforehand. With :math:`\delta` the difference of two sequences' states, W
    the read-out (rows less their mean over the classes), :math:`G = W^T W`, and inputs that are independent of each
    other,

    .. math::
        \mathrm{E} \lVert \Delta_k \rVert^2 = \sum_{ij} G_{ij} \; \mathrm{E}[a_i a_j]^k \; \mathrm{E}[\delta_i \delta_j]

    Both moments (of a over all steps, of :math:`\delta` at the last one) and the variance of y are taken from the
    longest sequences of the validation split, so no longer than those in training. The horizon that follows, the
    largest k with :math:`S(k) \ge` ``share``, may lie far beyond them, and is infinite past ten million steps. It is
    off where inputs are not alike, as a cue and the blanks after it, or where states spread more and more: that is what
    the measured one is for.

    Values besides those of :class:`MeasuredHorizon`: ``predicted_told_apart_share`` by slice ``lag`` at the same lags,
    and ``predicted_told_apart_steps``.

    The idea that an affine recurrence tracks up to a horizon that follows from how far apart states are that are to be
    told apart, relative to their spread: Chung, Choi, Kim (2026), arXiv:2605.07755 (abstract and a summary were read).
    They take the states of a tracked group and the decoder's own threshold; a share of the variance needs neither, so
    that it can also be had for tasks of memory.
    """

    name: ClassVar[str] = "predicted_horizon"

    def refusal(self, subject: Subject, /) -> str | None:
        why = super().refusal(subject)
        if why is not None:
            return why
        encoder = only_encoder_of(subject.twin())
        assert encoder is not None
        if encoder.num_layers > 1:
            return f"needs one layer: the inputs of the upper ones are not affine, and num_layers={encoder.num_layers}"
        cell = cell_of(encoder)
        if len(cell.states) > 1 or not is_affine(cell):
            return f"{cell.name} is not affine in its state, unit by unit; valid for it: measured_horizon"
        return None

    @torch.no_grad()
    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        found = super().measure(subject, moment)
        encoder = only_encoder_of(subject.twin())
        assert encoder is not None
        expected = self.prediction(subject, encoder, longest_inputs(subject, "valid", self.examples))
        lags = found.tables["lags"]["lag"]
        shares = [expected(lag) for lag in lags]
        found.tables["lags"]["predicted"] = shares
        found.values += [
            Finding("predicted_told_apart_share", share, "1", "lag", str(lag))
            for lag, share in zip(lags, shares, strict=True)
        ]
        found.values.append(Finding("predicted_told_apart_steps", largest(expected, self.share), "steps"))
        return found

    def prediction(self, subject: Subject, encoder: Encoder, x_TBD: Tensor) -> Callable[[int], float]:
        """The share of the variance as a function of the lag, from inputs (T, B, D)."""
        cell = cell_of(encoder)
        state = cell.initial_state(x_TBD.shape[1])
        factors = []
        for gx_BG in cell.input_projection(x_TBD):
            factors.append(affine(cell, gx_BG)[0])
            _, state = cell.step(gx_BG, state)
        a_NH, delta_BH = torch.cat(factors).double(), (exchanged(state[0]) - state[0]).double()
        readout = readout_of(subject.model, encoder)
        assert readout is not None
        W_CH = centered(readout.weight.double().T).T
        moments_HH = (W_CH.T @ W_CH) * (delta_BH.T @ delta_BH) / len(delta_BH)
        factors_HH = a_NH.T @ a_NH / len(a_NH)
        of_all = variance(read_out(subject.model, encoder, state[0]))
        return lambda lag: float((moments_HH * factors_HH**lag).sum() / 2 / of_all)


def last_outputs(encoder: Encoder, x_TBD: Tensor, lags: list[int]) -> Tensor:
    """(L + 1, B, H): the last outputs as they are, then with states exchanged, the longest lag first.

    They run side by side; each lag joins them at the step at which states are exchanged.

    Args:
        encoder: In one direction.
        x_TBD: Its inputs.
        lags: From 0 to T - 1, growing.
    """
    T, B = x_TBD.shape[:2]
    borders = [*(T - lag for lag in reversed(lags) if lag > 0), T]
    h_TNH, state = encoder(x_TBD[: borders[0]], None)
    for start, end in pairwise(borders):
        state = tuple(torch.cat((s_LNH, exchanged(s_LNH[:, :B], 1)), dim=1) for s_LNH in state)
        many = state[0].shape[1] // B
        h_TNH, state = encoder(x_TBD[start:end].repeat(1, many, 1), state)
    return torch.cat((h_TNH[-1], exchanged(h_TNH[-1, :B]))).reshape(len(lags) + 1, B, -1)


def largest(share_of: Callable[[int], float], share: float) -> float:
    """The largest lag whose share is at least so large, by doubling and halving: as if no share grew with the lag."""
    if not share_of(0) >= share:
        return math.nan
    seen, unseen = 0, 1
    while share_of(unseen) >= share:
        seen, unseen = unseen, 2 * unseen
        if seen > LONGEST:
            return math.inf
    while unseen - seen > 1:
        middle = (seen + unseen) // 2
        seen, unseen = (middle, unseen) if share_of(middle) >= share else (seen, middle)
    return float(seen)


def lags_below(steps: int) -> list[int]:
    """0, 1, 2 ... and then wider apart, up to the longest lag that so many steps have."""
    found, lag = [0], 1.0
    while round(lag) < steps:
        found.append(round(lag))
        lag *= 2 ** (1 / LAGS_PER_DOUBLING)
    return sorted({*found, steps - 1})


def affine(cell: Cell, gx_BG: Tensor) -> tuple[Tensor, Tensor]:
    """The a and the b (B, H) of a step that is affine in its one state, from the step itself."""
    zeros_BH = cell.initial_state(len(gx_BG))[0]
    b_BH = cell.step(gx_BG, (zeros_BH,))[1][0]
    return cell.step(gx_BG, (zeros_BH + 1,))[1][0] - b_BH, b_BH


@torch.no_grad()
def is_affine(cell: Cell) -> bool:
    """Whether a step is affine in its state, unit by unit, and gives the state out: tried on inputs and states."""
    generator = torch.Generator().manual_seed(0)
    like = cell.initial_state(8)[0]
    x_TBD = (3 * torch.randn(1, 8, cell.input_size, generator=generator)).to(like)
    h_BH = (3 * torch.randn(like.shape, generator=generator)).to(like)
    gx_BG = cell.input_projection(x_TBD)[0]
    a_BH, b_BH = affine(cell, gx_BG)
    output_BH, (new_BH,) = cell.step(gx_BG, (h_BH,))
    scale = float(h_BH.abs().max() + b_BH.abs().max())
    return all(float((found - a_BH * h_BH - b_BH).abs().max()) < NOT_AFFINE * scale for found in (output_BH, new_BH))


def only_encoder_of(model: nn.Module) -> Encoder | None:
    """The model's only encoder; None where it has none, or two."""
    found = [module for module in model.modules() if isinstance(module, Encoder)]
    return found[0] if len(found) == 1 else None


def cell_of(encoder: Encoder) -> Cell:
    """The first layer's cell of an encoder that runs as a loop."""
    return cast(Cell, cast(LoopStack, encoder.stacks[0]).cells[0])


def readout_of(model: nn.Module, encoder: Encoder) -> nn.Linear | None:
    """The linear layer that reads the last output of the encoder; None where something stands between."""
    if getattr(model, "pooling", "last") != "last" or getattr(model, "dense", ()):
        return None
    layer = getattr(model, "head", None) or getattr(model, "output", None)
    return layer if isinstance(layer, nn.Linear) and layer.in_features == encoder.hidden_size else None


def read_out(model: nn.Module, encoder: Encoder, h_BH: Tensor) -> Tensor:
    """The logits of last outputs, less their mean over the classes, in 64 bits."""
    readout = readout_of(model, encoder)
    assert readout is not None
    return centered(readout(h_BH).double())


def centered(y_BC: Tensor) -> Tensor:
    """Less the mean over the classes, to which a softmax is blind; a single number as it is."""
    return y_BC - y_BC.mean(-1, keepdim=True) if y_BC.shape[-1] > 1 else y_BC


def variance(y_BC: Tensor) -> float:
    """Over the sequences, summed over the classes; not a number where they are all alike."""
    found = float((y_BC - y_BC.mean(0)).square().sum(-1).mean())
    return found if found > 0 else math.nan


def exchanged(values: Tensor, dim: int = 0) -> Tensor:
    """What each sequence has, given to the next one, and what the last one has to the first."""
    return values.roll(1, dims=dim)


def longest_inputs(subject: Subject, split: Split, examples: int) -> Tensor:
    """What the encoder reads (T, B, D) of the longest sequences of a split."""
    longest: list[Batch] = []
    for batch in subject.task.batches(split):
        if longest and len(batch.inputs) > len(longest[0].inputs):
            longest = []
        if not longest or len(batch.inputs) == len(longest[0].inputs):
            longest.append(batch)
    encoder = only_encoder_of(subject.model)
    assert encoder is not None
    found = [x_TBD for x_TBD, _ in read_inputs(subject.model, encoder, subject.task, longest)]
    return torch.cat(found, dim=1)[:, :examples]
