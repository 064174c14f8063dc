"""Marks in a real run: which part of it each second of CPU time is charged to. ``bench/parts.py`` sums them up.

A ledger of one thread's CPU seconds charges one part at a time, from mark to mark, so that the parts sum to the whole
by construction. Marks are set by functions that stand in for the project's own, and by hooks before and behind the
modules of a model: on the way forward, and on the way back, where autograd runs the nodes of one module after those of
another, in this same thread.
"""

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gru_bench.models.attention import BahdanauAttention, LuongAttention
from gru_bench.models.encoder import Encoder
from gru_bench.models.pooling import AttentionPooling
from gru_bench.run import build, loaded, preflight, probing, record
from gru_bench.run import job as jobs
from gru_bench.run import train as story
from gru_bench.store.courier import Courier
from gru_bench.store.write import Run, Store
from gru_bench.tasks.base import Batch, Task
from gru_bench.training.trainer import Trainer

WHOLE = ("parity", "audit", "memory", "probes")
"""Phases that are charged as a whole, whatever they call."""


class Ledger:
    """CPU seconds of one thread, each charged to one part.

    Args:
        clock: Seconds that never run backward.

    Attributes:
        seconds: Seconds by part.
        inner: The same within evaluations, by part of the model.
        counts: How often some things happened: ``steps``, ``validation``.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.clock = clock
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self.now, self.phase, self.since = "rest", "rest", self.clock()

    def switch(self, part: str) -> str:
        """From here on charge ``part``; returns the one before."""
        at = self.clock()
        if self.phase == "step":
            self.seconds[self.now] += at - self.since
        else:
            self.seconds[self.phase] += at - self.since
            self.inner[f"{self.phase}.{self.now}"] += at - self.since
        before, self.now, self.since = self.now, part, at
        return before

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge the block to a part of the model; then again what was charged before."""
        before = self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    @contextlib.contextmanager
    def enter(self, phase: str, part: str = "rest") -> Iterator[None]:
        """Charge the block to a phase of the run: ``step``, whose parts are charged by name, or a part by itself."""
        outer, before = self.phase, self.switch(part)
        self.phase = phase
        try:
            yield
        finally:
            self.switch(before)
            self.phase = outer

    @property
    def whole(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())


def part_of(module: nn.Module, name: str) -> str | None:
    """Which part of a model a module is; None for one that is only made of parts, or holds them together."""
    if isinstance(module, Encoder):
        return "cell"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if isinstance(module, LuongAttention | BahdanauAttention | AttentionPooling) or name.startswith("bridges."):
        return "attention"
    if isinstance(module, nn.Linear) and "attention" not in name and "encoder" not in name and "decoder" not in name:
        return "head"
    return None


def watch_model(model: nn.Module, ledger: Ledger) -> nn.Module:
    """Set marks before and behind the named modules of a model, on both ways."""

    def before(part: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        module.charged_before = ledger.switch(part)  # type: ignore[assignment]
        if not hasattr(inputs[0], "made_by"):  # else, on the way back, another module begins there
            mark(inputs[0], "glue")

    def behind(part: str, module: nn.Module, _: Any, outputs: Any) -> None:
        made = outputs[0] if isinstance(outputs, tuple) else outputs
        made.made_by = part
        mark(made, part)
        ledger.switch(module.charged_before)  # type: ignore[arg-type]

    def mark(tensor: Tensor, part: str) -> None:
        if tensor.requires_grad:
            tensor.register_hook(lambda _: void(ledger.switch(part)))  # called when its gradient is there

    for name, module in model.named_modules():
        part = part_of(module, name)
        if part is not None:
            module.register_forward_pre_hook(functools.partial(before, part))
            module.register_forward_hook(functools.partial(behind, part))
    for name in ("forward", "features"):
        if hasattr(model, name):
            setattr(model, name, inside(ledger, "glue", getattr(model, name)))
    return model


def void(_: object) -> None:
    """What a hook returns that changes nothing."""


def inside(ledger: Ledger, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, charged to a part of the model."""

    @functools.wraps(call)
    def charged(*args: Any, **kwargs: Any) -> Any:
        with ledger.part(part):
            return call(*args, **kwargs)

    return charged


def phase(ledger: Ledger, name: str, call: Callable[..., Any], part: str = "rest") -> Callable[..., Any]:
    """The call, charged to a phase of the run; not where one is under way that measures all of its own."""

    @functools.wraps(call)
    def charged(*args: Any, **kwargs: Any) -> Any:
        if ledger.phase in WHOLE:
            return call(*args, **kwargs)
        with ledger.enter(name, part):
            ledger.counts[name] += 1
            return call(*args, **kwargs)

    return charged


def drawn(ledger: Ledger, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Training batches, whose making is charged to the data."""
    while True:
        with ledger.enter("data"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def watch_runs(ledger: Ledger) -> Iterator[tuple[Any, str, Any]]:
    """What is to stand in for functions of the project while runs are measured: owner, name, the new one."""
    for owner, name, part in (
        (preflight, "check_parity", "parity"),
        (preflight, "audit_kernel", "audit"),
        (preflight, "memory_of_a_step", "memory"),
        (preflight, "largest_batch", "memory"),
        (probing.Probing, "at", "probes"),
        (probing, "require_answers", "probes"),
        (jobs, "prepare", "loading"),
        (loaded, "known", "loading"),
        (build.ModelBuilder, "count", "loading"),
        (build.ModelBuilder, "flops_a_token", "loading"),
        (story, "write_facts", "tracking"),
        *((record.Recorder, name, "tracking") for name in ("data", "kernel", "memory", "arithmetic")),
        *((record.Recorder, name, "tracking") for name in ("curves", "test", "end")),
        *((Run, name, "tracking") for name in ("params", "value", "flush", "close")),
        (Courier, "end", "tracking"),
        (Store, "open", "tracking"),
        (Trainer, "step", "step"),
    ):
        first = "optimizer" if part == "step" else "rest"
        yield owner, name, phase(ledger, part, getattr(owner, name), first)
    yield story, "prepare", phase(ledger, "loading", story.prepare)

    build_model, evaluate, backward = build.ModelBuilder.build, Trainer.evaluate, Tensor.backward

    def building(self: build.ModelBuilder, *args: Any, **kwargs: Any) -> nn.Module:
        if ledger.phase in WHOLE:  # a probe's twin
            return build_model(self, *args, **kwargs)
        with ledger.enter("loading"):
            return watch_model(build_model(self, *args, **kwargs), ledger)

    def evaluating(self: Trainer, model: nn.Module, task: Task, split: Any) -> Any:
        with ledger.enter("validation" if split == "valid" else "test"):
            ledger.counts[split] += 1
            return evaluate(self, model, task, split)

    yield build.ModelBuilder, "build", building
    yield Trainer, "evaluate", evaluating
    yield Tensor, "backward", inside(ledger, "loss", backward)
    yield Batch, "to", inside(ledger, "data", Batch.to)


def watch_task(task: Task, ledger: Ledger) -> None:
    """Charge a task's loss, and its training batches."""
    loss, batches = task.loss, task.batches

    def charged_loss(*args: Any) -> Any:
        with ledger.part("loss"):
            return loss(*args)

    def charged_batches(split: Any, generator: torch.Generator | None = None) -> Iterator[Batch]:
        found = batches(split, generator)
        return drawn(ledger, found) if split == "train" and ledger.phase == "rest" else found

    task.loss, task.batches = charged_loss, charged_batches  # type: ignore[method-assign, assignment]
