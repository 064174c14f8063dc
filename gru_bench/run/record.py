"""What is written about one run: its facts as params, curves, scores, speed and memory. It measures nothing itself."""

import dataclasses
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from gru_bench.config.keys import NO_INFLUENCE, extras, flatten
from gru_bench.measure.environment import CoreTime, core_time, had_company, noted_core_time
from gru_bench.measure.memory_split import Split
from gru_bench.measure.parity import Parity
from gru_bench.measure.trace import Audit
from gru_bench.probes.base import Finding, Findings
from gru_bench.run import loaded
from gru_bench.run.job import Job
from gru_bench.store.private import clean
from gru_bench.store.schema import (
    CONFIG_FILE,
    CONFUSION_TABLE,
    DATA_FILE,
    EXAMPLES_TABLE,
    KERNEL_FILE,
    PART_SIZE,
    PART_SIZE_UNIT,
    PROBE_TABLE,
    SAMPLES_TABLE,
)
from gru_bench.store.write import Run
from gru_bench.tasks.base import Scores, SliceScore, Task
from gru_bench.training.fit import WARM_UP_STEPS, Event, Fit

MIB = 2**20
SEND_EVERY_S = 1.0
"""Least time between two sendings of the curves: a short run is not to spend its time on them."""


def write_facts(run: Run, job: Job) -> None:
    """Before the data is there: facts, keys and the resolved config, so that a run that fails is on record."""
    config_key, group_key = job.keys
    config = {key: value for key, value in job.node.items() if key not in ("hydra", "tracking")}
    settings = {key: value for key, value in config.items() if key not in NO_INFLUENCE}
    keys = {"config_key": config_key, "group_key": group_key, "kept": " ".join(extras(job.node))}
    run.params(job.facts | keys | {f"config.{key}": value for key, value in flatten(settings).items()})
    run.text(CONFIG_FILE, yaml.safe_dump(clean(config), sort_keys=False))
    run.flush()


class Recorder:
    """Writes one run to the store as it goes; each method's docstring says when it is called.

    Args:
        run: The open run.
        task: Its task.
        started: When it began, by ``time.perf_counter()``.
        shared: Whether it is on record already that the machine is shared.
    """

    def __init__(self, run: Run, task: Task, started: float, shared: bool = False) -> None:
        self.run, self.task, self.started, self.shared = run, task, started, shared
        self.trivial: dict[str, float] = {}
        self.units = {metric.name: metric for metric in task.metrics}
        self.tested: Scores | None = None
        self.probe_s = 0.0
        self.began = core_time()
        self.fit, self.together_before = Fit(), 1
        self.drawn: list[tuple[str, int, float]] = []  # the points of curves so far
        self.found: list[tuple[str, Findings]] = []  # what probes found so far

    def notes(self) -> list[str]:
        """What the data's source and the task had to decide, one sentence each; complete after loading."""
        return [*getattr(self.task.data, "notes", []), *self.task.notes]

    def remarks(self) -> list[str]:
        """What is odd about the data, and where the rest is told; nothing where nothing is odd."""
        found = [f"remark: {remark}" for remark in self.task.findings.get("remarks", [])]
        return [*found, f"what else the data is: {DATA_FILE} of each run, and its report"] if found else []

    def data(self) -> None:
        """After loading: what the rows were, what a trivial guess scores on them, and what memory is worth."""
        notes = self.notes()
        with self.clock_stopped():  # known from the job before, or computed: no cost of the cell either way
            known = loaded.known(self.task)
        self.run.params({"data_fingerprint": known.fingerprint, "notes": "; ".join(notes)})
        if self.task.facts:
            self.run.params({f"data.{name}": value for name, value in self.task.facts.items()})
            found = {"notes": notes, "facts": self.task.facts} | self.task.findings
            self.run.text(DATA_FILE, yaml.safe_dump(clean(found), sort_keys=False, allow_unicode=True))
        self.trivial = known.trivial
        for name, value in self.trivial.items():
            self._value("test", f"trivial_{name}", value, name, charted=False)
        for part in known.trivial_slices:
            self._part(f"trivial_{part.metric}", part)
        for memory in known.memory_scores:
            self._value("test", f"{memory.name}_{self.task.primary}", memory.scored, self.task.primary, charted=False)
            for part in memory.slices:
                self._part(f"{memory.name}_{part.metric}", part)

    def model(self, hidden_size: int, num_parameters: int, state_size: int) -> None:
        """Once the model is built: its sizes."""
        self.run.params({"hidden_size": hidden_size, "num_parameters": num_parameters, "state_size": state_size})

    def parity(self, found: Parity) -> None:
        """Before training: how far the backend is from the reference."""
        self.run.params(
            {
                "parity": "passed" if found.passed else "red",
                "parity_output_error": found.output_error,
                "parity_gradient_error": found.gradient_error,
            }
        )

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Leave the time of the block out of the run's seconds: a machine does it once, for all runs of its kind."""
        stopped = time.perf_counter()
        yield
        self.started += time.perf_counter() - stopped

    @contextmanager
    def probe_clock(self) -> Iterator[None]:
        """Around a probe: its seconds count by themselves, or a run with probes would seem to be a slower one."""
        started = time.perf_counter()
        with self.clock_stopped():
            yield
        self.probe_s += time.perf_counter() - started
        self._probe_seconds()

    def kernel(self, found: Audit) -> None:
        """Before training: the kernel that runs."""
        self.run.params({"kernel": found.kernel})
        self.run.text(KERNEL_FILE, found.text())

    def memory(self, found: Split) -> None:
        """Before training: the peak memory of one training step, and what it was made of at that moment."""
        for name, nbytes in (
            ("peak_tensor_mib", found.peak),
            ("parameters_mib", found.parameters),
            ("gradients_mib", found.gradients),
            ("optimizer_mib", found.optimizer),
            ("activations_mib", found.activations),
        ):
            self.run.value("memory", name, nbytes / MIB, unit="MiB", higher_is_better=False)

    def arithmetic(self, flops_a_token: int) -> None:
        """Before training: operations of a token's forward pass, as ``models/products.py`` counts them."""
        self.run.value("speed", "flops_per_token", flops_a_token, unit="FLOP/token", higher_is_better=None)

    def curves(self, event: Event) -> None:
        """A hook of the trainer: the curves, at every evaluation."""
        if event.kind != "evaluation" or event.scores is None:
            return
        if event.train_loss is not None:
            self._point("train/loss", event.step, event.train_loss)
        for name, value in event.scores.metrics.items():
            self._point(f"valid/{name}", event.step, value)
        self.run.flush(least_s=SEND_EVERY_S)

    def findings(self, probe: str, found: Findings) -> None:
        """After a probe has measured. No number of it is better or worse."""
        self.found.append((probe, found))
        for one in found.values:
            self.run.value(
                "probe",
                one.metric,
                one.value,
                unit=one.unit,
                higher_is_better=None,
                slice=one.slice,
                slice_value=one.slice_value,
            )
        for name, columns in found.tables.items():
            self.run.table(f"{PROBE_TABLE}{probe}_{name}", columns)

    def test(self, scores: Scores) -> None:
        """After the only look at the test split."""
        self.tested = scores
        for name, value in scores.metrics.items():
            self._value("test", name, value, name)
        for part in scores.slices:
            self._part(part.metric, part)
        self._part_sizes(scores.slices)
        if scores.examples:
            self.run.table(EXAMPLES_TABLE, scores.examples)
        if scores.samples:
            self.run.table(SAMPLES_TABLE, scores.samples)
        if scores.confusion:
            self.run.table(CONFUSION_TABLE, scores.confusion)

    def end(self, fit: Fit) -> None:
        """At the end, however training and test ended: the best validation scores, and what it cost."""
        if fit.valid is not None:
            for name, value in fit.valid.metrics.items():
                self._value("valid", name, value, name)
        for name, number in (("steps", fit.steps), ("best_step", fit.best_step), ("epochs", fit.epochs)):
            self.run.value("train", name, number, unit=name.removeprefix("best_"), higher_is_better=None)
        if fit.stopped:
            self.run.params({"stopped": fit.stopped})
        self.run.params({"seeds_in_batch": self.together})
        self._speed("wall_s", time.perf_counter() - self.started, "s", False)
        if fit.step_seconds:
            self._speed("train_s", sum(fit.step_seconds), "s", False)
            self._speed(
                "step_time_ms", 1000 * statistics.median(fit.step_seconds[WARM_UP_STEPS:] or [math.nan]), "ms", False
            )
            self._speed("train_tokens_per_s", fit.per_second(fit.step_tokens), "tokens/s", True)
            self._speed("train_examples_per_s", fit.per_second(fit.step_examples), "examples/s", True)

    def training(self, fit: Fit) -> None:
        """As training begins, whose result will be ``fit``."""
        self.began, self.fit = core_time(), fit

    @property
    def together(self) -> int:
        """How many seeds took a training step at once, at most; 1 where the run had each step for itself."""
        return max(self.together_before, self.fit.together)

    def leave_out(self, seconds: float) -> None:
        """Some of the time since the run began went to other runs."""
        self.started += seconds

    def company(self) -> None:
        """At the end, however training ended: whether other work ran on the machine since :meth:`training`.

        That is an average: what ran beside a tenth of the training counts as a tenth. A run that was killed without a
        chance to write has no answer, unless the machine was shared from the start.
        """
        ended = noted_core_time()
        if not self.shared:
            self.run.params({"shared": had_company(self.began, ended)})

    def state(self) -> dict[str, Any]:
        """For a checkpoint: what training has written so far, and what it has taken."""
        now, began = dataclasses.astuple(core_time()), dataclasses.astuple(self.began)
        return {
            "curves": list(self.drawn),
            "found": [
                (probe, [dataclasses.astuple(one) for one in found.values], plain(found.tables))
                for probe, found in self.found
            ],
            "probe_s": self.probe_s,
            "together": self.together,
            "wall_s": time.perf_counter() - self.started,
            "core_time": [later - earlier for later, earlier in zip(now, began, strict=True)],
        }

    def resumed(self, step: int, began_as: str, state: dict[str, Any]) -> None:
        """Where training goes on from a checkpoint: as if this run had done all of it.

        Args:
            step: Optimizer steps that were taken before.
            began_as: Id of the run that began.
            state: What :meth:`state` gave there.
        """
        self.run.params({"resumed_at": step, "resumed_from": began_as})
        for point in state["curves"]:
            self._point(*point)
        for probe, values, tables in state["found"]:
            self.findings(probe, Findings([Finding(*one) for one in values], tables))
        self.probe_s, self.together_before = state["probe_s"], state.get("together", 1)
        if self.found:
            self._probe_seconds()
        self.started -= state["wall_s"]
        earlier = zip(dataclasses.astuple(self.began), state["core_time"], strict=True)
        self.began = CoreTime(*(now - spent for now, spent in earlier))
        self.run.flush()

    def summary(self) -> str:
        """One line for the terminal."""
        name = self.task.primary_metric.name
        score = self.tested.metrics[name] if self.tested else math.nan
        trivial = self.trivial.get(name, math.nan)
        seconds = time.perf_counter() - self.started
        return f"test {name} {score:.4g} (trivial guess {trivial:.4g}), {seconds:.1f} s, run {self.run.run_id}"

    def _point(self, metric: str, step: int, value: float) -> None:
        self.drawn.append((metric, step, float(value)))
        self.run.curve(metric, step, value)

    def _probe_seconds(self) -> None:
        self.run.value("probe", "probe_s", self.probe_s, unit="s", higher_is_better=None)

    def _value(self, split: str, name: str, value: float, metric_name: str, *, charted: bool = True) -> None:
        metric = self.units[metric_name]
        better = metric.higher_is_better
        self.run.value(split, name, value, unit=metric.unit, higher_is_better=better, charted=charted)

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

    def _part_sizes(self, parts: list[SliceScore]) -> None:
        """``n`` of each part; ``n_accuracy`` and the like where metrics of one part count different examples."""
        for part in parts:
            alike = {o.n for o in parts if (o.slice, o.slice_value) == (part.slice, part.slice_value)}
            self.run.value(
                "test",
                PART_SIZE if len(alike) == 1 else f"{PART_SIZE}_{part.metric}",
                part.n,
                unit=PART_SIZE_UNIT,
                higher_is_better=None,
                slice=part.slice,
                slice_value=part.slice_value,
            )

    def _speed(self, name: str, value: float, unit: str, higher_is_better: bool) -> None:
        self.run.value("speed", name, value, unit=unit, higher_is_better=higher_is_better)


def plain(nested: Any) -> Any:
    """Nested dictionaries, lists and tuples with numbers of numpy and torch as Python's own."""
    if isinstance(nested, dict):
        return {key: plain(part) for key, part in nested.items()}
    if isinstance(nested, list | tuple):
        return type(nested)(plain(part) for part in nested)
    return nested.tolist() if hasattr(nested, "tolist") else nested
