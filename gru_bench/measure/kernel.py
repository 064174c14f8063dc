"""Which kernel ran, as the profiler saw it: not what was asked for."""

import bisect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile, record_function

from gru_bench.backends.base import Stack
from gru_bench.measure.trace import Audit, Event, operators, readable

FUSED = {"aten::miopen_rnn": "MIOpen", "aten::mkldnn_rnn_layer": "oneDNN"}
"""Whole layers in one call of a library; cuDNN is named by :func:`cudnn_name`."""
CUDNN = "aten::_cudnn_rnn"
ATEN = ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")
"""The operators behind ``torch.nn``. Where nothing fused ran inside, ATen looped over the steps itself."""
NATIVE, BPTT = "gru_bench::native", "gru_bench::bptt"
"""How the bptt backend marks its compiled code (followed by the instruction set), and its plain torch."""
INDUCTOR = "## Call CompiledFxGraph"
"""How inductor marks each call of what it compiled, while a profiler runs."""
STACK = "gru_bench::stack"
"""How the audit marks the forward call of each stack of layers."""
SPELLING = {"avx512": "AVX-512", "avx2": "AVX2"}


def kernel_name(
    encoder_or_stack: nn.Module,
    input_size: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    num_steps: int = 2,
    batch_size: int = 2,
    autocast: torch.dtype | None = None,
) -> str:
    """Run forward and backward and name what the profiler saw: the short form of :func:`audit`.

    Args:
        encoder_or_stack: An ``Encoder`` or a ``Stack``, already on ``device`` and in ``dtype``.
        input_size: D.
        device: Where it runs.
        dtype: In which floating type it runs.
        num_steps: T. Kernels may be chosen by shape.
        batch_size: B.
        autocast: Floating type of mixed precision, or None; ``dtype`` is then that of the parameters.

    Returns:
        ``cuDNN`` with its class of algorithm (see :func:`cudnn_name`), ``MIOpen``, ``oneDNN``, ``ATen loop``,
        ``native`` with the instruction set, ``hand-derived torch``, ``compiled loop`` or ``Python loop``; several,
        joined by `` + ``, where parts ran on different ones.
    """
    shape = (num_steps, batch_size, input_size)
    return name_of(recorded(encoder_or_stack, shape, device, dtype, None, autocast))


def audit(
    encoder_or_stack: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    *,
    lengths: Tensor | None = None,
    autocast: torch.dtype | None = None,
) -> Audit:
    """Run forward and backward on random input and say which kernel ran, and which operators took the time.

    The module's gradients, its mode and the random state are left as they were.

    Args:
        encoder_or_stack: As for :func:`kernel_name`.
        shape: (T, B, D).
        device: Where it runs.
        dtype: In which floating type it runs.
        lengths: (B,) where the sequences differ in length.
        autocast: As for :func:`kernel_name`.
    """
    events = recorded(encoder_or_stack, shape, device, dtype, lengths, autocast)
    name = str(dtype).removeprefix("torch.")
    if autocast is not None:
        name = f"{str(autocast).removeprefix('torch.')} products by autocast, parameters in {name}"
    return Audit(name_of(events), shape, name, device.type, lengths is not None, operators(events))


def recorded(
    module: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    lengths: Tensor | None,
    autocast: torch.dtype | None,
) -> list[Event]:
    """What the profiler saw of one forward and backward pass."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    x_TBD = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)

    def run() -> None:
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            h_TBH, _ = module(x_TBD, None, lengths)
        torch.autograd.grad(cast(Tensor, h_TBH).sum(), parameters, allow_unused=True)

    on_cuda = device.type == "cuda"
    # dropout between layers draws numbers, which must not shift those of the training that follows
    with torch.random.fork_rng(devices=[device] if on_cuda else []), torch.enable_grad(), stacks_marked(module):
        run()  # the first call of all compiles, plans and allocates
        with profile(use_cpu=True, use_device="cuda" if on_cuda else None) as profiled:
            run()
            if on_cuda:
                torch.cuda.synchronize(device)
    return list(readable(profiled.kineto_results.events()))


@contextmanager
def stacks_marked(module: nn.Module) -> Iterator[None]:
    """Let the forward call of each stack inside appear in the profile as :data:`STACK`."""
    marks: list[Any] = []

    def enter(*_: object) -> None:
        marks.append(record_function(STACK))
        marks[-1].__enter__()

    def leave(*_: object) -> None:
        marks.pop().__exit__(None, None, None)

    handles = []
    for part in module.modules():
        if isinstance(part, Stack):
            handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def name_of(events: Iterable[Event]) -> str:
    """The short name of what ran, in a fixed order of parts. A pure function of the events."""
    told = list(events)
    host = [event for event in told if not event.on_device]
    known: list[Event] = []  # each belongs to some named kernel
    names: list[str] = []

    def add(name: str, found: list[Event]) -> None:
        if found:
            names.append(name)
            known.extend(found)

    add(cudnn_name(event.name for event in told if event.on_device), [e for e in host if e.name == CUDNN])
    for operator, name in FUSED.items():
        add(name, [event for event in host if event.name == operator])
    # a library's call lies inside the operator of torch.nn that asked for it
    add("ATen loop", [event for event in host if event.name in ATEN and not any_inside(event, known)])
    for mark in sorted({event.name for event in host if event.name.split(" ")[0] == NATIVE}):
        add(native_name(mark), [event for event in host if event.name == mark])
    add("hand-derived torch", [event for event in host if event.name == BPTT])
    add("compiled loop", [event for event in host if event.name.startswith(INDUCTOR)])
    stacks = [event for event in host if event.name == STACK]
    if not names or any(not any_inside(stack, known) for stack in stacks):
        names.append("Python loop")
    return " + ".join(names)


def any_inside(outer: Event, events: list[Event]) -> bool:
    """Whether one of the events ran within ``outer``, on the same thread."""
    starts = sorted(event.start for event in events if event.thread == outer.thread)
    index = bisect.bisect_left(starts, outer.start)
    return index < len(starts) and starts[index] <= outer.end


def native_name(mark: str) -> str:
    """``gru_bench::native avx512`` -> ``native AVX-512``; what follows the instruction set stays as it is."""
    _, *words = mark.split()
    if words:
        words[0] = SPELLING.get(words[0].lower(), words[0].upper())
    return " ".join(["native", *words])


# Names of CUDA kernels. cuDNN is closed, so this rests on profiles that others have published:
# - RNN_blockPersist_{fp,bp}_{RNN,LSTM,GRU}, also with _HMMA at the end (A100, A10, RTX 50; cuDNN 8.9 to 9.24; float32
#   and float16): one launch a layer. torch asks for CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H there (hidden sizes up to
#   128 .. 384: use_rnn_persist_small_h in ATen/native/cudnn/RNN.cpp), forward and backward by limits of their own.
# - RNN_persist_fp, with template arguments (V100, float16, where torch asked for CUDNN_RNN_ALGO_PERSIST_STATIC).
# - RNN_persist_fprop (extern "C", written for the run-time compiler): CUDNN_RNN_ALGO_PERSIST_DYNAMIC. torch 2 never
#   asks for it, so seeing it would be news.
# - elemWiseRNNcell, LSTM_elementWise_fp and {RNN,LSTM,GRU}_elementWise_bp1: a step's gates in the standard algorithm,
#   between its products. GENERIC_elementWise_bp2 and persistRNN_addBias (biases) run beside several and tell nothing.
# Whether a kernel belongs to the forward pass, with the class of algorithm, in the order in which they are tried:
CUDNN_CLASSES = (
    ("RNN_persist_fprop", "persistent dynamic", True),
    ("RNN_persist_bprop", "persistent dynamic", False),
    ("RNN_blockPersist_fp", "persistent static", True),
    ("RNN_blockPersist_bp", "persistent static", False),
    ("RNN_persist_fp", "persistent static", True),
    ("RNN_persist_bp", "persistent static", False),
    ("elemWiseRNNcell", "standard", True),
    ("_elementWise_fp", "standard", True),
    ("_elementWise_bp1", "standard", False),
)


def cudnn_name(kernels: Iterable[str]) -> str:
    """``cuDNN`` with its class of algorithm, from the names of the CUDA kernels that ran.

    ``cuDNN persistent static`` (or ``persistent dynamic``, ``standard``); ``cuDNN persistent static, backward
    standard`` where the two passes differ; ``cuDNN`` alone where no name is known, or none was seen.
    """
    passes: dict[bool, list[str]] = {True: [], False: []}
    for kernel in kernels:
        for part, algorithm, is_forward in CUDNN_CLASSES:
            if part in kernel:
                passes[is_forward].append(algorithm)
                break
    forward, backward = (" + ".join(sorted(set(passes[is_forward]))) for is_forward in (True, False))
    if not forward or not backward or forward == backward:
        return f"cuDNN {forward or backward}".strip()
    return f"cuDNN {forward}, backward {backward}"
