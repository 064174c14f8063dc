"""What the train command writes of one run: its facts as params, curves, scores, speed and memory."""

import itertools
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import yaml
from torch import nn

from gru_bench.backends.base import Backend
from gru_bench.backends.native import workspace
from gru_bench.config.check import Node
from gru_bench.config.keys import flatten
from gru_bench.measure import parity
from gru_bench.measure.kernel import audit
from gru_bench.measure.memory import PeakMemory, live_bytes
from gru_bench.models.encoder import Encoder, MakeCell, num_parameters
from gru_bench.run.build import Place
from gru_bench.store.write import Run
from gru_bench.tasks.base import TRAIN_DATA_SEED, Batch, Scores, SliceScore, Task
from gru_bench.training.trainer import WARM_UP_STEPS, Event, Fit, Trainer

MIB = 2**20
MEMORY_BATCHES = 32
"""How many training batches are looked at for the largest one, whose kernel is audited and memory measured."""


class Recorder:
    """Writes one run to the tracker as it goes; each method says at which moment it is called."""

    def __init__(self, run: Run, task: Task, started: float) -> None:
        self.run, self.task, self.started = run, task, started
        self.fit = Fit()
        self.title = ""
        self.backend, self.cell = "", ""
        self.trivial: dict[str, float] = {}
        self.units = {metric.name: metric for metric in task.metrics}
        self.largest: Batch | None = None
        self.tested: Scores | None = None

    def before(self, node: Node, facts: dict[str, Any], keys: tuple[str, str]) -> None:
        """At the start: facts, keys and the resolved config."""
        config_key, group_key = keys
        self.run.tags(
            {
                "family": str(facts["family"]),
                "gru_bench.config_key": config_key,
                "gru_bench.group_key": group_key,
            }
        )
        self.title = f"{facts['cell']} {facts['task']}"
        self.backend, self.cell = str(facts["backend"]), str(facts["cell"])
        config = {key: value for key, value in node.items() if key not in ("hydra", "tracking")}
        told = {key: value for key, value in config.items() if key != "tuning"}
        self.run.params(facts | {f"config.{key}": value for key, value in flatten(told).items()})
        self.run.text("config.yaml", yaml.safe_dump(config, sort_keys=False))

    def notes(self) -> list[str]:
        """What the data's source and the task had to decide, one sentence each; complete after loading."""
        return [*getattr(self.task.data, "notes", []), *self.task.notes]

    def data(self) -> None:
        """After loading: what the rows were, and what a trivial guess scores on them."""
        notes = self.notes()
        self.run.params({"data_fingerprint": self.task.fingerprint(), "notes": "; ".join(notes)})
        if self.task.facts:
            self.run.params({f"data.{name}": value for name, value in self.task.facts.items()})
            self.run.text("data.yaml", yaml.safe_dump({"notes": notes, "facts": self.task.facts}, sort_keys=False))
        self.trivial = self.task.trivial()
        for name, value in self.trivial.items():
            self._value("test", f"trivial_{name}", value, name)
        for part in self.task.trivial_slices():
            self._part(f"trivial_{part.metric}", part)

    def model(self, model: nn.Module, make_cell: MakeCell, backend: Backend, place: Place, hidden_size: int) -> None:
        """Before training: sizes, whether the backend computes what the reference computes, and the kernel that runs.

        Raises:
            Unsupported: It computes something else; nothing of it is timed, and the run keeps the errors.
        """
        mixed = place.autocast is not None
        checked = parity.check(make_cell, backend, place.device, place.dtype, quick=True, autocast=mixed)
        number = num_parameters(model)
        self.run.params(
            {
                "hidden_size": hidden_size,
                "num_parameters": number,
                "parity": "passed" if checked.passed else "red",
                "parity_output_error": checked.output_error,
                "parity_gradient_error": checked.gradient_error,
            }
        )
        self.run.tags({"hidden_size": str(hidden_size), "num_parameters": str(number)})
        checked.require(self.backend, self.cell)
        encoder = next(module for module in model.modules() if isinstance(module, Encoder))
        batch = self.largest_batch()
        T, B = batch.inputs.shape[:2]  # kernels are chosen by shape
        shape = (T, B, encoder.input_size)
        audited = audit(encoder, shape, place.device, place.parameters, lengths=batch.lengths, autocast=place.autocast)
        self.run.params({"kernel": audited.kernel})
        self.run.text("kernel_audit.txt", audited.text())

    def memory(self, model: nn.Module, trainer: Trainer) -> None:
        """Before training: the peak memory of one training step; the model is left as it was."""
        batch = self.largest_batch().to(*self.task.place(model))
        with undisturbed(model):
            optimizer = trainer.make_optimizer(model)
            trainer.step(model, optimizer, self.task, batch, None)  # makes the optimizer's state
            workspace.clear()  # what is kept there would not be seen to be taken
            meter = PeakMemory(batch.inputs.device, live_bytes(model, optimizer, batch), gradients_of=model)
            with meter:
                trainer.step(model, optimizer, self.task, batch, None)
        if meter.peak_bytes is not None:
            self.run.value("memory", "peak_tensor_mib", meter.peak_bytes / MIB, unit="MiB", higher_is_better=False)

    def curves(self, event: Event) -> None:
        """A hook of the trainer: the curves, at every evaluation."""
        if event.kind != "evaluation" or event.scores is None:
            return
        if event.train_loss is not None:
            self.run.curve("train/loss", event.step, event.train_loss)
        for name, value in event.scores.metrics.items():
            self.run.curve(f"valid/{name}", event.step, value)
        self.run.flush()

    def test(self, scores: Scores) -> None:
        """After the one look at the test split."""
        self.tested = scores
        for name, value in scores.metrics.items():
            self._value("test", name, value, name)
        for part in scores.slices:
            self._part(part.metric, part)
        if scores.examples:
            self.run.table("test_examples", scores.examples)
        if scores.samples:
            self.run.table("test_samples", scores.samples)

    def after(self) -> None:
        """At the end, however it ended: the last good scores, speed and memory."""
        fit = self.fit
        if fit.valid is not None:
            for name, value in fit.valid.metrics.items():
                self._value("valid", name, value, name)
        for name, number in (("steps", fit.steps), ("best_step", fit.best_step), ("epochs", fit.epochs)):
            self.run.value("train", name, number, unit=name.removeprefix("best_"), higher_is_better=None)
        if fit.stopped:
            self.run.params({"stopped": fit.stopped})
        self._speed("wall_s", time.perf_counter() - self.started, "s", False)
        if fit.step_seconds:
            self._speed("train_s", sum(fit.step_seconds), "s", False)
            self._speed(
                "step_time_ms", 1000 * statistics.median(fit.step_seconds[WARM_UP_STEPS:] or [math.nan]), "ms", False
            )
            self._speed("train_tokens_per_s", fit.per_second(fit.step_tokens), "tokens/s", True)
            self._speed("train_examples_per_s", fit.per_second(fit.step_examples), "examples/s", True)

    def largest_batch(self) -> Batch:
        """The largest of the first training batches of a stream that all cells and seeds share."""
        if self.largest is None:
            stream = self.task.batches("train", torch.Generator().manual_seed(TRAIN_DATA_SEED))
            self.largest = max(itertools.islice(stream, MEMORY_BATCHES), key=lambda batch: batch.inputs.numel())
        return self.largest

    def summary(self) -> str:
        """One line for the terminal."""
        name = self.task.primary_metric.name
        score = self.tested.metrics[name] if self.tested else math.nan
        trivial = self.trivial.get(name, math.nan)
        seconds = time.perf_counter() - self.started
        return f"test {name} {score:.4g} (trivial guess {trivial:.4g}), {seconds:.1f} s, run {self.run.run_id}"

    def _value(self, split: str, name: str, value: float, metric_name: str) -> None:
        metric = self.units[metric_name]
        self.run.value(split, name, value, unit=metric.unit, higher_is_better=metric.higher_is_better)

    def _part(self, name: str, part: SliceScore) -> None:
        metric = self.units[part.metric]
        self.run.value(
            "test",
            name,
            part.value,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
            slice=part.slice,
            slice_value=part.slice_value,
        )

    def _speed(self, name: str, value: float, unit: str, higher_is_better: bool) -> None:
        self.run.value("speed", name, value, unit=unit, higher_is_better=higher_is_better)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put weights, gradients and random state back as they were. The copy lies on the CPU, where nobody counts it."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
    model.load_state_dict(state)
    model.zero_grad(set_to_none=True)
