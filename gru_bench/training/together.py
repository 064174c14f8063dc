"""Several sessions of one small model that differ in the seed, with their training steps taken together.

Each is a session like any other: its data, evaluations, stopping rule, best weights, curves and checkpoints are its
own, it ends or fails by itself, and it ends with bitwise the weights and scores that it has alone. Only the training
step is taken for all at once: for small models most of its time is not arithmetic.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gru_bench.models import several
from gru_bench.tasks.base import Batch, Task
from gru_bench.training.checkpoint import Keeper, State
from gru_bench.training.fit import Clock, Fit, Hook, Progress
from gru_bench.training.joint_step import JointStep
from gru_bench.training.session import Session
from gru_bench.training.trainer import Trainer

LOSSES = "gru_bench.tasks.objectives."
"""Where the losses are that ask their model once, with the batch's own inputs."""


@dataclass
class Part:
    """One seed: what :meth:`Trainer.fit` takes, whose arguments are explained there."""

    trainer: Trainer
    model: nn.Module
    task: Task
    generator: torch.Generator
    clock: Clock
    hooks: tuple[Hook, ...] = ()
    progress: Callable[[Progress], None] | None = None
    result: Fit = field(default_factory=Fit)
    keeper: Keeper | None = None

    def fit(self) -> None:
        """Train it by itself.

        Raises:
            Exception: As :meth:`Trainer.fit`.
        """
        self.trainer.fit(
            self.model,
            self.task,
            self.generator,
            self.clock,
            hooks=self.hooks,
            progress=self.progress,
            result=self.result,
            keeper=self.keeper,
        )


def refusal(parts: Sequence[Part]) -> str | None:
    """Why these cannot take their steps together, in one line; None if they can. One part: whether its like can."""
    first = parts[0]
    for part in parts:
        why = several.refusal(part.model)
        if why is not None:
            return why
        if part.trainer.autocast is not None:
            return f"mixed precision in {str(part.trainer.autocast)[6:]}"
        if part.trainer.limits.max_seconds is not None:
            return "max_seconds: a run's seconds would go further than alone"
        if not type(part.task).loss.__module__.startswith(LOSSES):
            return f"task {type(part.task).__name__} has a loss of its own"
        kind = getattr(part.trainer.optimizer, "func", part.trainer.optimizer)
        if not getattr(kind, "__module__", "").startswith("torch.optim"):
            return f"optimizer {getattr(kind, '__name__', kind)} is not one of torch.optim"
    if not several.alike([part.model for part in parts]):
        return "their models are not alike"
    if any(settings(part.trainer) != settings(first.trainer) for part in parts):
        return "their trainers are not alike"
    return None


def settings(trainer: Trainer) -> tuple[Any, ...]:
    """What a joint step takes from one trainer for all."""
    kind = getattr(trainer.optimizer, "func", trainer.optimizer)
    return kind, getattr(trainer.optimizer, "keywords", {}), trainer.clip_norm


def fit_together(parts: Sequence[Part]) -> list[BaseException | None]:
    """Train all parts, each as ``trainer.fit`` does.

    A step's seconds are shared out equally among those that took it, and each result says among how many it began.

    Args:
        parts: For which :func:`refusal` has nothing to say.

    Returns:
        What ended each, where something did; a signal among them, after which each has kept its checkpoint.

    Raises:
        BaseException: One that came outside of any part: a second signal.
    """
    together = _Together(parts)
    try:
        with (parts[0].keeper or Keeper()).whole_steps():
            together.run()
            if together.leaving is not None:
                raise together.leaving  # all have heard it: the end of whole_steps is not to raise it again
    except BaseException as error:
        if error is not together.leaving:
            raise
    finally:
        together.close()
    return together.errors


class _Share:
    """A part's clock, of whose steps it has a share."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.among: list[int] = []

    def __call__(self) -> AbstractContextManager[Any]:
        return self.clock()

    def seconds(self, skip: int = 0) -> list[float]:
        """As of the clock itself, each divided by how many took the step."""
        return [
            all_of_it / among for all_of_it, among in zip(self.clock.seconds(skip), self.among[skip:], strict=False)
        ]


class _Inside(Keeper):
    """A part's keeper, while one for all keeps steps whole."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def load(self) -> State | None:
        return self.keeper.load()

    def refused(self, why: str) -> None:
        self.keeper.refused(why)

    def goes_on(self) -> None:
        self.keeper.goes_on()

    def interruptible(self, state: Callable[[], State], /) -> AbstractContextManager[Any]:
        return self.keeper.interruptible(state)

    def after_step(self, step: int, state: Callable[[], State], /) -> None:
        self.keeper.after_step(step, state)


@dataclass
class _One:
    """A part that trains.

    Attributes:
        number: Its place among the parts.
        session: Its own.
        share: Its clock.
        steps: The session's, of which the last one asked for has ``batch``.
        batch: What its next step is on.
    """

    number: int
    session: Session
    share: _Share
    steps: Generator[Batch]
    batch: Batch | None = None


class _Together:
    """Drives the sessions of several parts.

    Attributes:
        errors: What ended each part, where something did.
        leaving: What asks all to end.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.errors: list[BaseException | None] = [None] * len(parts)
        self.leaving: BaseException | None = None
        self.alive: list[_One] = []

    def run(self) -> None:
        """Train until each part has ended."""
        for number, part in enumerate(self.parts):
            self.begin(number, part)
        step: JointStep | None = None
        while self.alive:
            last = self.leaving is not None  # who was ahead when it came takes one more step, and hears it after that
            if step is None or len(step.sessions) != len(self.alive):
                step = JointStep([one.session for one in self.alive])
            self.step(step)
            if last:
                break
        self.close(self.leaving)

    def begin(self, number: int, part: Part) -> None:
        """Bring a part to its first step."""
        if self.leaving is not None:
            self.errors[number] = self.leaving
            return
        part.result.together = len(self.parts)
        share = _Share(part.clock)
        keeper = _Inside(part.keeper or Keeper())
        try:
            session = Session(
                part.trainer,
                part.model,
                part.task,
                share,
                part.hooks,
                part.progress,
                part.result,
                keeper,
                part.generator,
            )
        except Exception as error:
            self.errors[number] = error
            return
        one = _One(number, session, share, session.steps())
        self.alive.append(one)
        self.ask(one)

    def ask(self, one: _One) -> None:
        """Let a session do what is due between two steps; it then has the batch of the next one, or has ended."""
        try:
            one.batch = next(one.steps)
        except StopIteration:
            self.alive.remove(one)
        except BaseException as error:
            self.end(one, error)

    def step(self, step: JointStep) -> None:
        """One step of all that are alive, and what is due after it."""
        taking = list(self.alive)
        batches = [one.batch for one in taking if one.batch is not None]
        try:
            with ExitStack() as clocks:
                for one in taking:
                    clocks.enter_context(one.share())
                results = step.take(batches)
        except Exception as error:
            for one in taking:
                self.stop(one, error)
            return
        for one, result in zip(taking, results, strict=True):
            if isinstance(result, Exception):
                self.stop(one, result)
            else:
                one.share.among.append(len(taking))
                one.session.took(*result)
        for one in list(self.alive):
            self.ask(one)

    def stop(self, one: _One, error: BaseException) -> None:
        """End a session as if its step had raised this."""
        try:
            one.steps.throw(error)
        except BaseException as raised:
            self.end(one, raised)

    def end(self, one: _One, error: BaseException) -> None:
        """Note what a session ended with."""
        self.alive.remove(one)
        self.errors[one.number] = error
        if not isinstance(error, Exception) and self.leaving is None:
            self.leaving = error

    def close(self, error: BaseException | None = None) -> None:
        """End the sessions that are still there."""
        for one in list(self.alive):
            if error is None:
                self.alive.remove(one)
                with suppress(Exception):
                    one.steps.close()
            else:
                self.stop(one, error)
