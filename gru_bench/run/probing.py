"""The probes of a run: whether they can answer, and that they disturb nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gru_bench.config.check import PROBES, Node, Settings, construct
from gru_bench.errors import UserError
from gru_bench.models.encoder import MakeCell
from gru_bench.models.streams import stream_seed
from gru_bench.probes.base import Findings, Moment, Probe, Subject
from gru_bench.run import build
from gru_bench.tasks.base import Task
from gru_bench.training.fit import Event


@dataclass(frozen=True)
class Probing:
    """Asks the probes that a config chose.

    Attributes:
        probes: In the order of the config; none where it chose none.
        subject: What they look at. Its model may go on training in between.
        keep: What becomes of the findings: it is given the probe's name and what it found.
        clock: Inside it the time counts as the probes', not as the run's.
    """

    probes: list[Probe]
    subject: Subject
    keep: Callable[[str, Findings], None]
    clock: Callable[[], AbstractContextManager[Any]]

    def hook(self, event: Event) -> None:
        """A hook of the trainer, for the start and the middle of training.

        The end is not its business: it is asked for once the weights of the best step are back, which are those that
        are tested and kept.
        """
        if event.kind in ("start", "middle"):
            self.at(event.kind)

    def at(self, moment: Moment) -> None:
        """Measure with each probe that wants this moment."""
        for probe in self.probes:
            if moment in probe.moments:
                with self.clock(), undisturbed(self.subject.model):
                    self.keep(probe.name, probe.measure(self.subject, moment))


def make_probes(node: Node) -> list[Probe]:
    """The probes of a checked config."""
    return [construct(part) for part in (node.get(PROBES) or {}).values()]


def make_subject(
    model: nn.Module, task: Task, builder: build.ModelBuilder, cell: MakeCell, hidden_size: int, seed: int
) -> Subject:
    """What probes look at.

    Args:
        model: As the builder built it with this cell and size.
        task: Loaded.
        builder: Of the model's config.
        cell: Of the model.
        hidden_size: Of the model.
        seed: The run's. A probe's own draws come from it, so they are the same for all cells.
    """
    return Subject(model, task, lambda: builder.twin(model, cell, hidden_size), stream_seed(seed, "probe"))


def refuse(node: Node, settings: Settings, task: Task, place: build.Place) -> None:
    """Ask the probes, before anything is trained, whether they have an answer: with a model built for the question.

    Raises:
        UserError: One has none; says why.
    """
    probes = make_probes(node)
    if not probes:
        return
    cell, builder = build.make_cell(node), build.ModelBuilder(node, task.sizes(), place)
    hidden_size: int = construct(node["budget"]).solve(settings.hidden_size, cell, builder.count)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        model = builder.build(cell, construct(node["backend"]), hidden_size, settings.seed)
    require_answers(probes, make_subject(model, task, builder, cell, hidden_size, settings.seed))


def require_answers(probes: list[Probe], subject: Subject) -> None:
    """Refuse the first probe that cannot answer.

    Raises:
        UserError: With the probe's reason.
    """
    with undisturbed(subject.model):
        for probe in probes:
            why = probe.refusal(subject)
            if why is not None:
                raise UserError(f"probe={probe.name}: {why}")


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards the mode and torch's random state as they were. Probes leave weights alone."""
    training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        model.train(training)
