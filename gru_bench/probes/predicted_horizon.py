"""Up to how many steps back an input can still be seen in the read-out: measured, and predicted for affine cells."""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, cast

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from gru_bench.backends.loop import LoopStack
from gru_bench.cells.base import Cell
from gru_bench.models.encoder import Encoder
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.tasks.base import Batch, Split
from gru_bench.tasks.objectives.model_language import ModelLanguage

LAGS_PER_DOUBLING = 4
"""How finely lags are looked at: each one is a fifth longer than the one before."""
NOT_AFFINE = 1e-3
"""Error of an affine prediction of a step, relative to the state, above which the step is not affine."""
LONGEST = 10**7
"""Lags up to which a horizon is predicted; infinite beyond."""


class MeasuredHorizon(Probe):
    r"""The longest lag at which an input still accounts for a share of the read-out's variance.

    An input k steps before the last one is exchanged for that of another sequence at the same step, and all later
    inputs stay. With y the logits at the last step, less their mean over classes, and :math:`\Delta_k` their change,

    .. math::
        S(k) = \frac{\frac{1}{2} \mathrm{E} \lVert \Delta_k \rVert^2}{\mathrm{E} \lVert y - \bar y \rVert^2}

    is the share of the variance of y that the input k steps back accounts for (Sobol's total effect, by Jansen's
    estimate): what it does, relative to the noise that all inputs make together. The horizon is the largest lag looked
    at with :math:`S(k) \ge` ``share``; it is -1 where no input is seen, and infinite where the longest lag still is.

    Sequences: the longest that the task's test split has, so with those ``beyond`` training. Read-out: the linear layer
    that reads the last output of the top layer.

    Values: ``visible_share`` by slice ``lag``, ``visible_horizon_steps`` and ``longest_visible_lag_steps``.

    Source of the estimate: Jansen (1999), doi:10.1016/S0010-4655(98)00154-4.

    Args:
        examples: Most sequences.
        share: Of the variance that counts as seen.
    """

    name: ClassVar[str] = "measured_horizon"

    def __init__(self, *, examples: Annotated[int, Gt(3)], share: Annotated[float, Gt(0), Lt(1)]) -> None:
        self.examples = examples
        self.share = share

    def refusal(self, subject: Subject, /) -> str | None:
        encoder = encoder_of(subject.model)
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
        encoder = encoder_of(subject.model)
        assert encoder is not None
        x_TBD = inputs_of(subject, "test", self.examples)
        T, B, D = x_TBD.shape
        lags = lags_below(T)
        # all lags side by side, and the sequences as they are
        x_TLBD = x_TBD[:, None].repeat(1, len(lags) + 1, 1, 1)
        for at, lag in enumerate(lags):
            x_TLBD[T - 1 - lag, at] = exchanged(x_TBD[T - 1 - lag])
        h_TNH, _ = encoder(x_TLBD.reshape(T, -1, D))
        y_LBC = read_out(subject.model, encoder, h_TNH[-1].reshape(len(lags) + 1, B, -1))
        changes_L = (y_LBC[:-1] - y_LBC[-1]).square().sum(-1).mean(-1) / 2
        shares = (changes_L / spread(y_LBC[-1])).tolist()
        values = [Finding("visible_share", share, "1", "lag", str(k)) for k, share in zip(lags, shares, strict=True)]
        seen = [k for k, share in zip(lags, shares, strict=True) if share >= self.share]
        horizon = math.inf if seen and seen[-1] == lags[-1] else max(seen, default=-1)
        values.append(Finding("visible_horizon_steps", horizon, "steps"))
        values.append(Finding("longest_visible_lag_steps", lags[-1], "steps"))
        return Findings(values, {"lags": {"lag": lags, "share": shares}})


class PredictedHorizon(MeasuredHorizon):
    r"""The horizon of a cell that is affine in its state, predicted from its factors, beside the measured one.

    Where :math:`h_t = a_t \odot h_{t-1} + b_t` with a and b functions of the input alone, a difference of two states is
    multiplied by a at each step, whatever else comes in: the cell can neither correct it nor tell it from noise. So
    what an input k steps back does to the read-out is known from two moments. With :math:`\delta` the change of the
    state at the step at which an input is exchanged, W the read-out (rows less their mean over the classes),
    :math:`G = W^T W`, and inputs that are independent of each other,

    .. math::
        \mathrm{E} \lVert \Delta_k \rVert^2 = \sum_{ij} G_{ij} \; \mathrm{E}[a_i a_j]^k \; \mathrm{E}[\delta_i \delta_j]

    Both moments, and the variance of y at the last step, are taken from sequences of the validation split, so no longer
    than those in training; the horizon that follows, the largest k with :math:`S(k) \ge` ``share``, may lie far
    beyond them. It is infinite past ten million steps. Where inputs are not alike, as a cue and blanks after it, the
    prediction is that for the mean of them, and off: that is what the measured one is for.

    Values besides those of :class:`MeasuredHorizon`: ``predicted_share`` by slice ``lag`` at the same lags, and
    ``predicted_horizon_steps``.

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
        encoder = encoder_of(subject.twin())
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
        encoder = encoder_of(subject.twin())
        assert encoder is not None
        expected = self.prediction(subject, encoder, inputs_of(subject, "valid", self.examples))
        lags = found.tables["lags"]["lag"]
        shares = [expected(lag) for lag in lags]
        found.tables["lags"]["predicted"] = shares
        found.values += [
            Finding("predicted_share", share, "1", "lag", str(lag)) for lag, share in zip(lags, shares, strict=True)
        ]
        found.values.append(Finding("predicted_horizon_steps", largest(expected, self.share), "steps"))
        return found

    def prediction(self, subject: Subject, encoder: Encoder, x_TBD: Tensor) -> Callable[[int], float]:
        """The share of the variance as a function of the lag, from inputs (T, B, D)."""
        cell = cell_of(encoder)
        gx_TBG = cell.input_projection(x_TBD)
        state = cell.initial_state(x_TBD.shape[1])
        factors, deltas = [], []
        for gx_BG in gx_TBG:
            _, (other_BH,) = cell.step(exchanged(gx_BG), state)
            a_BH, _ = affine(cell, gx_BG)
            _, state = cell.step(gx_BG, state)
            factors.append(a_BH)
            deltas.append(other_BH - state[0])
        a_NH, delta_NH = (torch.cat(parts).double() for parts in (factors, deltas))
        readout = readout_of(subject.model, encoder)
        assert readout is not None
        W_CH = centered(readout.weight.double().T).T
        moments_HH = (W_CH.T @ W_CH) * (delta_NH.T @ delta_NH) / len(delta_NH)
        factors_HH = a_NH.T @ a_NH / len(a_NH)
        variance = spread(read_out(subject.model, encoder, state[0]))
        return lambda lag: float((moments_HH * factors_HH**lag).sum() / 2 / variance)


def largest(share_of: Callable[[int], float], share: float) -> float:
    """The largest lag whose share is at least so large, by doubling and halving: as if no share grew with the lag."""
    if not share_of(0) >= share:
        return -1.0
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


def encoder_of(model: nn.Module) -> Encoder | None:
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


def spread(y_BC: Tensor) -> float:
    """The variance over the sequences, summed over the classes; not a number where they are all alike."""
    variance = float((y_BC - y_BC.mean(0)).square().sum(-1).mean())
    return variance if variance > 0 else math.nan


def exchanged(x_BD: Tensor) -> Tensor:
    """Each sequence's input given to the sequence that is half of the sequences further on."""
    return x_BD.roll(len(x_BD) // 2, dims=0)


class Seen(Exception):  # no error: the way out of a model once its encoder was called
    """The encoder was called."""


def inputs_of(subject: Subject, split: Split, examples: int) -> Tensor:
    """What the encoder reads (T, B, D) of the longest sequences of a split."""
    longest: list[Batch] = []
    for batch in subject.task.batches(split):
        if longest and len(batch.inputs) > len(longest[0].inputs):
            longest = []
        if not longest or len(batch.inputs) == len(longest[0].inputs):
            longest.append(batch)
    encoder, found = encoder_of(subject.model), []

    def note(_: nn.Module, args: tuple[Any, ...]) -> None:
        found.append(args[0])
        raise Seen

    assert encoder is not None
    handle = encoder.register_forward_pre_hook(note)
    try:
        for batch in longest:
            try:
                subject.task.loss(subject.model, batch.to(*subject.task.place(subject.model)), None)
            except Seen:
                continue
    finally:
        handle.remove()
    return torch.cat(found, dim=1)[:, :examples]
