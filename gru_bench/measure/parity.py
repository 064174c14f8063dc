"""Does a backend compute what the cell's equations give? Asked by the tests, by ``doctor``, and by every run.

The reference is always the readable loop on the CPU in float64, from the same values: so the loop itself is measured
too, and every error is one of rounding (or a bug), not a difference between two roundings. Only on the CPU in float64
is the loop compared with itself.

The cases are small and of every kind (:func:`check`), and of the shape that a run has (:func:`check_shape`): code for
several threads, for long sequences and for wide layers is not reached by small ones.

Answers are kept: in this process, and for this machine in ``parity/`` of the cache folder, one file per question. The
question names everything that the answer may depend on, the source of cells and backends included.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from gru_bench.backends.base import Backend, Stack
from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell
from gru_bench.errors import Unsupported
from gru_bench.measure import parity_store
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.models.streams import Streams

TOLERANCES = {torch.float64: 1e-13, torch.float32: 2e-5, torch.float16: 2e-2, torch.bfloat16: 0.1}
"""Largest error by floating type: roughly a hundred roundings, since they add up over the steps and back.

Measured in float32 at TxBxH = 35x20x200, 100x32x128 and 400x32x128 (rnn, lstm and gru on vendor, bptt and loop): 4e-7
to 5e-6 at each, so long sequences need no other limit. Under autocast in bfloat16 5e-2 at the longest, and 2e-2 at the
shortest. In float16 alone (loop and vendor on a CPU, all small cases and 100x8x128) at most 1e-2.
"""
TF32_TOLERANCE = 2e-2
"""For float32 on CUDA, where torch lets cuDNN multiply with TF32's 10 bits unless that is switched off."""

WEIGHT_NOISE = 0.2
"""Added to all parameters, so that biases that start at zero take part."""
WIDTH = 7
"""Inputs of a product up to which weights get the whole noise. It shrinks with the root of more, or a layer of 128
units would be chaotic: rounding would grow with each step, in whatever code."""

SHORT = 64
"""Steps up to which a cell without bound gets the whole noise; it shrinks with more. Its states and gradients grow by
a factor at each step, and over 512 steps would leave float32."""


@dataclass(frozen=True)
class Parity:
    """How far a backend is from the reference.

    Attributes:
        output_error: Largest difference in outputs and final states, relative to the reference's largest value.
        gradient_error: Likewise, the worst over the gradients of all parameters, the input and the initial state.
        passed: Whether both are within the tolerance.
        tolerance: For this floating type.
        seen_at: The shape of a run where its errors were found; nothing where the small shapes gave them.
    """

    output_error: float
    gradient_error: float
    passed: bool
    tolerance: float
    seen_at: str = ""

    def worse(self, other: "Parity") -> "Parity":
        """Both answers in one: the larger errors."""
        return Parity(
            max(self.output_error, other.output_error),
            max(self.gradient_error, other.gradient_error),
            self.passed and other.passed,
            self.tolerance,
            other.seen_at if self.passed else self.seen_at,
        )

    def require(self, backend: str, cell: str) -> None:
        """Refuse what is red, by name.

        Raises:
            Unsupported: The errors are not those of rounding.
        """
        if not self.passed:
            where = "`gru-bench doctor` shows what is green here"
            if self.seen_at:
                where = f"Small shapes are green; this was seen at {self.seen_at}"
            raise Unsupported(
                f"backend={backend} is not offered for cell={cell} here: against the readable loop in float64 its "
                f"outputs are off by {self.output_error:.1e} and its gradients by {self.gradient_error:.1e}, where "
                f"rounding gives at most {self.tolerance:.0e}. {where}"
            )


@dataclass(frozen=True)
class Case:
    """One shape that is compared. With ``ragged`` the lengths are drawn, down to 1, where they are not given."""

    T: int
    B: int
    input_size: int = 5
    hidden_size: int = 7
    num_layers: int = 1
    bidirectional: bool = False
    ragged: bool = False
    given_state: bool = False
    lengths: tuple[int, ...] | None = None

    def described(self) -> str:
        """The case in readable form."""
        both = " in both directions" if self.bidirectional else ""
        return f"T={self.T} B={self.B} D={self.input_size} H={self.hidden_size}, layers={self.num_layers}{both}"


QUICK = (
    Case(T=1, B=3, given_state=True),
    Case(T=63, B=3, num_layers=2),
    Case(T=9, B=5, num_layers=2, bidirectional=True, ragged=True, given_state=True),
)
FULL = (
    *QUICK,
    Case(T=1, B=1),
    Case(T=1, B=33, num_layers=2, bidirectional=True),
    Case(T=63, B=1, given_state=True),
    Case(T=63, B=33, input_size=1, hidden_size=19),
    Case(T=63, B=33, input_size=11, hidden_size=19, num_layers=2, given_state=True),
    Case(T=63, B=5, ragged=True),
    Case(T=63, B=33, num_layers=2, ragged=True, given_state=True),
    Case(T=63, B=5, num_layers=2, bidirectional=True),
    Case(T=63, B=5, num_layers=3, bidirectional=True, ragged=True, given_state=True),
    Case(T=10, B=4, input_size=3, hidden_size=1, ragged=True),
)

_checked: dict[parity_store.Key, Parity] = {}


def check(
    make_cell: MakeCell,
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    *,
    quick: bool = False,
    autocast: bool = False,
) -> Parity:
    """Compare outputs and all gradients of a backend with the reference. A kept answer is given at once.

    Args:
        make_cell: Makes one cell.
        backend: What is compared.
        device: Where the backend runs.
        dtype: In which floating type it runs.
        quick: Only the shapes of :data:`QUICK`; a fraction of a second.
        autocast: Whether it runs in mixed precision: parameters in float32, under ``torch.autocast`` in ``dtype``.

    Raises:
        Unsupported: The backend does not run this cell here.
    """
    if autocast:
        backend.require_autocast(dtype, make_cell(1, 1, torch.Generator()))
    key = parity_store.question(make_cell, backend, device, dtype, "quick" if quick else "full", autocast)
    return answer(key, lambda: measure(make_cell, backend, device, dtype, quick, autocast), tolerance(device, dtype))


def check_shape(
    case: Case,
    make_cell: MakeCell,
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    *,
    autocast: bool = False,
) -> Parity:
    """As :func:`check`, at one shape and with this process's threads; see :func:`bounded` for what it may cost."""
    if autocast:
        backend.require_autocast(dtype, make_cell(1, 1, torch.Generator()))
    threads = torch.get_num_threads()
    key = parity_store.question(make_cell, backend, device, dtype, f"{case}, {threads} threads", autocast)
    found = answer(key, lambda: compare(case, make_cell, backend, device, dtype, autocast), tolerance(device, dtype))
    return replace(found, seen_at=f"{case.described()}, {threads} thread{'s' if threads > 1 else ''}")


def answer(key: parity_store.Key, measured: Callable[[], tuple[float, float]], limit: float) -> Parity:
    """The kept answer, or a measured one, which is then kept."""
    if key not in _checked:
        errors = parity_store.recall(key)
        if errors is None:
            errors = measured()
            parity_store.keep(key, errors)
        _checked[key] = Parity(*errors, max(errors) <= limit, limit)
    return _checked[key]


MOST_WORK = 2**31
"""Steps times sequences times parameters of a shape that is checked as it is: seconds on one core."""
MOST_UNITS = 2**21
"""Steps times sequences times units of all layers, likewise: the reference keeps some 20 numbers in float64 of each."""
MOST_STEPS = 512
LEAST_STEPS, LEAST_SEQUENCES = 64, 16


def bounded(case: Case, backend: Backend, num_parameters: int, threads: int) -> Case:
    """The case, cut where it would cost too much: in time first, then in the batch, never in its layers.

    More than two of the backend's pieces (see :meth:`Backend.piece`) stay in a sequence, and four sequences for each
    thread in a batch, whatever they cost. Lengths shrink in proportion.

    Args:
        case: A shape as a run has it.
        backend: What is compared.
        num_parameters: Of all layers: what a step of a sequence costs.
        threads: That will be used.
    """
    T, B = case.T, case.B
    units = case.hidden_size * case.num_layers * (2 if case.bidirectional else 1)
    most = min(MOST_WORK // num_parameters, MOST_UNITS // units)  # steps times sequences
    least_B = min(B, max(LEAST_SEQUENCES, 4 * threads))
    least_T = min(T, max(LEAST_STEPS, 2 * backend.piece(least_B) + 1))
    T = max(least_T, min(T, MOST_STEPS, most // B))
    B = max(least_B, min(B, most // T))
    lengths = case.lengths
    if lengths is not None:
        lengths = tuple(max(1, length * T // case.T) for length in lengths[:B])
    return replace(case, T=T, B=B, lengths=lengths)


def measure(
    make_cell: MakeCell, backend: Backend, device: torch.device, dtype: torch.dtype, quick: bool, autocast: bool = False
) -> tuple[float, float]:
    """The largest error of outputs and of gradients over all small cases."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # at these sizes several would only wait for each other
    try:
        errors = [compare(case, make_cell, backend, device, dtype, autocast) for case in (QUICK if quick else FULL)]
    finally:
        torch.set_num_threads(threads)
    return max(output for output, _ in errors), max(gradient for _, gradient in errors)


def tolerance(device: torch.device, dtype: torch.dtype) -> float:
    """The largest error that is still rounding."""
    if device.type == "cuda" and dtype is torch.float32 and torch.backends.cudnn.allow_tf32:
        return TF32_TOLERANCE
    return TOLERANCES[dtype]


def compare(
    case: Case,
    make_cell: MakeCell,
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    autocast: bool = False,
) -> tuple[float, float]:
    """Output error and gradient error of one case; infinite where something is not a number."""
    cpu, exact = torch.device("cpu"), torch.float64
    least_units = make_cell(1, 1, torch.Generator()).least_units
    case = replace(case, hidden_size=max(case.hidden_size, least_units))
    wanted = _run(case, _encoder(case, make_cell, Loop(), cpu, dtype).to(exact), cpu, dtype, exact)
    # in mixed precision too both sides start from values that the smaller type can hold
    held = torch.float32 if autocast else dtype
    encoder = _encoder(case, make_cell, backend, device, held, dtype).to(device)
    found = _run(case, encoder, device, dtype, held, dtype if autocast else None)
    output_error, gradient_error = (
        max(relative_error(b, a) for a, b in zip(one, two, strict=True)) for one, two in zip(wanted, found, strict=True)
    )
    return output_error, gradient_error


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference over the largest absolute value wanted; infinite for nan.

    Raises:
        ValueError: The shapes differ.
    """
    if found.shape != wanted.shape:
        raise ValueError(f"expected shape {tuple(wanted.shape)}, got {tuple(found.shape)}")
    difference = (found.to("cpu", torch.float64) - wanted).abs().max().item()
    scale = wanted.abs().max().item()
    error = difference / scale if scale > 0 else difference
    return error if error == error else float("inf")


def _encoder(
    case: Case,
    make_cell: MakeCell,
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    rounded: torch.dtype | None = None,
) -> Encoder:
    """The case's layers on the CPU, with values that ``rounded`` (else ``dtype``) can hold, the same on both sides."""

    def make_noisy(input_size: int, hidden_size: int, generator: torch.Generator) -> Cell:
        cell = make_cell(input_size, hidden_size, generator)
        with torch.no_grad():
            for parameter in cell.parameters():
                width = parameter.shape[1] if parameter.dim() > 1 else 1
                alpha = WEIGHT_NOISE * min(1.0, math.sqrt(WIDTH / width))
                if not cell.bounded:
                    alpha *= min(1.0, SHORT / case.T)
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=alpha)
        return cell

    encoder = Encoder(
        case.input_size,
        make_noisy,
        backend,
        Streams(0),
        hidden_size=case.hidden_size,
        num_layers=case.num_layers,
        device=device,
        dtype=dtype,
        bidirectional=case.bidirectional,
    )
    return encoder.to(rounded or dtype).to(dtype)


def _run(
    case: Case,
    encoder: Encoder,
    device: torch.device,
    drawn: torch.dtype,
    dtype: torch.dtype,
    autocast: torch.dtype | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and gradients. Inputs are rounded to ``drawn`` before they are computed on in ``dtype``."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(drawn).to(device, dtype)

    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    if case.ragged and lengths is None:
        lengths = torch.randint(1, case.T + 1, (case.B,), generator=generator)
        lengths[0], lengths[-1] = case.T, 1
    x_TBD = draw(case.T, case.B, case.input_size).requires_grad_()
    state = None
    if case.given_state:
        with torch.no_grad():
            _, zeros = encoder(x_TBD[:1])  # for the number of states and their shape
        state = tuple(draw(*s_LBH.shape).requires_grad_() for s_LBH in zeros)
    with torch.autocast(device.type, autocast, enabled=autocast is not None):
        h_TBH, final = encoder(x_TBD, state, lengths)
    outputs = [h_TBH, *final]
    # random weights: a plain sum would hide errors that cancel
    loss = torch.stack([(output * draw(*output.shape)).sum() for output in outputs]).sum()
    loss.backward()
    pairs = [(leaf, leaf.grad) for leaf in (x_TBD, *(state or ()))]
    for stack in cast(Iterable[Stack], encoder.stacks):
        for values, grads in zip(stack.cell_tensors(), stack.cell_tensors(grad=True), strict=True):
            pairs += [(values[name], grads[name]) for name in sorted(values)]
    # what a backend does not reach has no gradient at all
    gradients = [torch.zeros_like(value) if grad is None else grad for value, grad in pairs]
    return [output.detach() for output in outputs], gradients
