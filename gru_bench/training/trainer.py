"""Fit and evaluate: the one training loop that all cells share. Knows neither MLflow nor Hydra."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import torch
from annotated_types import Ge, Gt, Le, Len, Lt
from torch import Tensor, nn

from gru_bench.errors import UserError
from gru_bench.tasks.base import Batch, Counts, PositiveFloat, PositiveInt, Scores, Task

CHECK_EVERY = 20
"""Steps between looks at the losses: reading one waits for the device."""
WARM_UP_STEPS = 5
"""Steps left out of the throughput: the first ones allocate, compile and fill caches."""

Fraction = Annotated[float, Gt(0), Lt(1)]


class Diverged(RuntimeError):
    """The loss became NaN, infinite, or far larger than at the start."""


class Clock(Protocol):
    """Times training steps; see ``measure/timing.py``."""

    def __call__(self) -> AbstractContextManager[Any]: ...
    def seconds(self, skip: int = 0) -> list[float]: ...


@dataclass(frozen=True)
class Event:
    """What a hook is told. ``kind`` is start, middle, end or evaluation; the model carries its live weights."""

    kind: Literal["start", "middle", "end", "evaluation"]
    step: int
    model: nn.Module
    task: Task
    scores: Scores | None = None
    train_loss: float | None = None


Hook = Callable[[Event], None]


@dataclass
class Progress:
    """What a progress display is told after each check of the losses."""

    step: int
    total_steps: int | None
    loss: float
    score: float | None
    tokens_per_s: float


@dataclass
class Fit:
    """What training measured.

    Attributes:
        steps: Optimizer steps taken.
        epochs: Passes over the training data begun.
        best_step: Step of the best validation score.
        valid: Validation scores at the best step.
        step_seconds: Seconds of each training step (forward, backward, clipping, update), in order.
        step_tokens: Tokens of each step.
        step_examples: Examples of each step.
        stopped: Why training ended.
    """

    steps: int = 0
    epochs: int = 0
    best_step: int = 0
    valid: Scores | None = None
    step_seconds: list[float] = field(default_factory=list)
    step_tokens: list[int] = field(default_factory=list)
    step_examples: list[int] = field(default_factory=list)
    stopped: str = ""

    def per_second(self, amounts: list[int]) -> float:
        """Total amount over total seconds of the timed steps after the warm-up; never a mean of ratios."""
        skip = WARM_UP_STEPS if len(self.step_seconds) > 2 * WARM_UP_STEPS else 0
        seconds = sum(self.step_seconds[skip:])
        # a step that was interrupted has no time, so its amount does not count either
        return sum(amounts[skip : len(self.step_seconds)]) / seconds if seconds > 0 else math.nan


class Trainer:
    """Trains one model on one task.

    Args:
        max_steps: Most optimizer steps, or null.
        max_epochs: Most passes over the training data, or null.
        max_seconds: Most seconds of training steps (evaluation not counted), or null.
        optimizer: ``adam``, ``adamw`` or ``sgd`` (torch's).
        learning_rate: Step size.
        decay: Factor by which the learning rate shrinks each epoch; 1 for none.
        decay_after: Epochs at the full rate; epoch e, from 1, has ``learning_rate * decay ** max(0, e - decay_after)``.
        betas: Decay rates of Adam's two averages.
        epsilon: Adam's constant against division by zero; torch's default is 1e-8, Keras's 1e-7.
        momentum: Of ``sgd``.
        weight_decay: As the optimizer defines it.
        clip_norm: Largest norm of the whole gradient; null for none.
        eval_every: Steps between evaluations on the validation split; null for once an epoch.
        patience: Evaluations without a better primary metric before training stops; null for never.
        diverged_above: Training fails when a loss exceeds this many times the first one.

    The best validation step decides which weights are scored on the test split, once.
    """

    def __init__(
        self,
        *,
        max_steps: PositiveInt | None,
        max_epochs: PositiveInt | None,
        max_seconds: PositiveFloat | None,
        optimizer: Literal["adam", "adamw", "sgd"],
        learning_rate: PositiveFloat,
        decay: Annotated[float, Gt(0), Le(1)],
        decay_after: Annotated[int, Ge(0)],
        betas: Annotated[list[Fraction], Len(2, 2)],
        epsilon: PositiveFloat,
        momentum: Annotated[float, Ge(0)],
        weight_decay: Annotated[float, Ge(0)],
        clip_norm: PositiveFloat | None,
        eval_every: PositiveInt | None,
        patience: PositiveInt | None,
        diverged_above: Annotated[float, Gt(1)],
    ) -> None:
        if max_steps is None and max_epochs is None and max_seconds is None:
            raise UserError(
                "trainer: max_steps, max_epochs and max_seconds are all null, so training would never end: set one"
            )
        self.max_steps = max_steps
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.decay = decay
        self.decay_after = decay_after
        self.betas = betas
        self.epsilon = epsilon
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.eval_every = eval_every
        self.patience = patience
        self.diverged_above = diverged_above

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over all trainable parameters."""
        trained = [p for p in model.parameters() if p.requires_grad]
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                trained, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            )
        make = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        betas = (self.betas[0], self.betas[1])
        return make(trained, lr=self.learning_rate, betas=betas, eps=self.epsilon, weight_decay=self.weight_decay)

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 1."""
        return self.learning_rate * self.decay ** max(0, epoch - self.decay_after)

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, task: Task, batch: Batch, carry: Any
    ) -> tuple[Tensor, Counts, Any]:
        """One training step: forward, backward, clipping, update."""
        loss, counts, carry = task.loss(model, batch, carry)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
        optimizer.step()
        return loss.detach(), counts, detach(carry)

    def fit(
        self,
        model: nn.Module,
        task: Task,
        generator: torch.Generator,
        clock: Clock,
        /,
        *,
        hooks: tuple[Hook, ...] = (),
        progress: Callable[[Progress], None] | None = None,
        result: Fit | None = None,
    ) -> Fit:
        """Train until a limit, keep the weights of the best validation step, and leave the model with them.

        Args:
            model: Trained in place.
            task: Loaded.
            generator: Orders or draws the training data.
            clock: Times the steps; evaluation, hooks and data lie outside it.
            hooks: Called at start, middle (the first step past half of ``max_steps``, else of the epochs, else of the
                seconds), end, and every evaluation.
            progress: Told how it goes after every few steps.
            result: Filled in place, so that a caller still has it when training raises.

        Raises:
            Diverged: with the step at which the loss was lost.
        """
        fit = result if result is not None else Fit()
        optimizer = self.make_optimizer(model)
        run = _Run(self, model, task, optimizer, clock, hooks, progress, fit)
        run.announce("start")
        model.train()
        try:
            while not fit.stopped:
                fit.epochs += 1
                for group in optimizer.param_groups:
                    group["lr"] = self.rate(fit.epochs)
                run.train_epoch(task.batches("train", generator))
                if not fit.stopped:
                    run.after_epoch()
        finally:
            run.read_clock()  # what was timed is kept, however training ends
        if run.evaluated_at != fit.steps:
            run.evaluate()
        run.announce("end")
        if run.best_state is not None:
            model.load_state_dict(run.best_state)
        return fit


class _Run:
    """The state of one call of ``Trainer.fit``."""

    def __init__(
        self,
        trainer: Trainer,
        model: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        clock: Clock,
        hooks: tuple[Hook, ...],
        progress: Callable[[Progress], None] | None,
        fit: Fit,
    ) -> None:
        self.trainer, self.model, self.task, self.optimizer = trainer, model, task, optimizer
        self.clock, self.hooks, self.progress, self.fit = clock, hooks, progress, fit
        self.place = task.place(model)
        self.unread: list[Tensor] = []  # losses of the steps since the last look
        self.since_eval: list[float] = []
        self.first_loss: float | None = None
        self.timed_seconds = 0.0
        self.timed_tokens = 0
        self.best_state: dict[str, Tensor] | None = None
        self.best: float | None = None
        self.without_gain = 0
        self.evaluated_at = -1
        self.middle_told = False

    def announce(self, kind: Literal["start", "middle", "end"]) -> None:
        for hook in self.hooks:
            hook(Event(kind, self.fit.steps, self.model, self.task))

    def train_epoch(self, batches: Iterator[Batch]) -> None:
        trainer, fit = self.trainer, self.fit
        carry: Any = None
        for batch in batches:
            batch = batch.to(*self.place)
            with self.clock():
                loss, counts, carry = trainer.step(self.model, self.optimizer, self.task, batch, carry)
            fit.steps += 1
            fit.step_tokens.append(counts.tokens)
            fit.step_examples.append(counts.examples)
            self.timed_tokens += counts.tokens
            self.unread.append(loss)
            at_limit = trainer.max_steps is not None and fit.steps >= trainer.max_steps
            evaluate_now = trainer.eval_every is not None and fit.steps % trainer.eval_every == 0
            if len(self.unread) >= CHECK_EVERY or evaluate_now or at_limit:
                self.read_losses()
            if not self.middle_told and self.half_done():
                self.middle_told = True
                self.announce("middle")
            if evaluate_now:
                self.evaluate()
            if at_limit:
                fit.stopped = fit.stopped or f"max_steps={trainer.max_steps}"
            if fit.stopped:
                return

    def after_epoch(self) -> None:
        trainer, fit = self.trainer, self.fit
        if fit.steps == 0:
            raise UserError("the training split gives no batch: it is empty, or smaller than one step needs")
        self.read_losses()
        if trainer.eval_every is None:
            self.evaluate()
        if trainer.max_epochs is not None and fit.epochs >= trainer.max_epochs:
            fit.stopped = fit.stopped or f"max_epochs={trainer.max_epochs}"

    def half_done(self) -> bool:
        """Whether half of the first limit that is set is used up: steps, else epochs, else seconds."""
        trainer, fit = self.trainer, self.fit
        if trainer.max_steps is not None:
            return 2 * fit.steps >= trainer.max_steps
        if trainer.max_epochs is not None:
            return 2 * (fit.epochs - 1) >= trainer.max_epochs
        return 2 * self.timed_seconds >= (trainer.max_seconds or 0)

    def read_losses(self) -> None:
        """Fetch the losses since the last look; fail on a lost one, stop at the time limit, tell the progress."""
        fit = self.fit
        if not self.unread:
            return
        losses = torch.stack([loss.float() for loss in self.unread]).tolist()
        self.unread.clear()
        if self.first_loss is None:
            self.first_loss = losses[0]
        limit = self.trainer.diverged_above * max(abs(self.first_loss), 1e-8)
        for offset, loss in enumerate(losses):
            if not loss <= limit:  # also true for nan
                step = fit.steps - len(losses) + offset + 1
                raise Diverged(f"loss {loss:.4g} at step {step} (first loss {self.first_loss:.4g})")
        self.since_eval.extend(losses)
        self.read_clock()
        if self.trainer.max_seconds is not None and self.timed_seconds >= self.trainer.max_seconds:
            fit.stopped = f"max_seconds={self.trainer.max_seconds}"
        if self.progress is not None:
            speed = self.timed_tokens / self.timed_seconds if self.timed_seconds else math.nan
            self.progress(Progress(fit.steps, self.trainer.max_steps, losses[-1], self.best, speed))

    def read_clock(self) -> None:
        """Fetch the seconds of the steps since the last look."""
        new = self.clock.seconds(skip=len(self.fit.step_seconds))
        self.fit.step_seconds.extend(new)
        self.timed_seconds += sum(new)

    def evaluate(self) -> None:
        """Score the validation split, remember the best weights, tell the hooks, and count the patience."""
        fit, task = self.fit, self.task
        self.read_losses()
        scores = evaluate(self.model, task, "valid")
        self.evaluated_at = fit.steps
        score = scores.metrics[task.primary_metric.name]
        sign = 1 if task.primary_metric.higher_is_better else -1
        train_loss = sum(self.since_eval) / len(self.since_eval) if self.since_eval else None
        self.since_eval.clear()
        # a first score counts even when it is nan, so that there is always a state to test
        if self.best is None or sign * score > sign * self.best or (math.isnan(self.best) and not math.isnan(score)):
            self.best, self.without_gain = score, 0
            fit.best_step, fit.valid = fit.steps, scores
            self.best_state = copy.deepcopy(self.model.state_dict())
        else:
            self.without_gain += 1
            if self.trainer.patience is not None and self.without_gain >= self.trainer.patience:
                fit.stopped = f"patience={self.trainer.patience}"
        for hook in self.hooks:
            hook(Event("evaluation", fit.steps, self.model, task, scores, train_loss))


def evaluate(model: nn.Module, task: Task, split: Literal["valid", "test"]) -> Scores:
    """Score one split without gradients; the model is left in the mode in which it came."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return task.score(model, split)
    finally:
        model.train(training)


def detach(carry: Any) -> Any:
    """Cut the graph behind a carried state, however it is nested."""
    if isinstance(carry, Tensor):
        return carry.detach()
    if isinstance(carry, tuple | list):
        return type(carry)(detach(part) for part in carry)
    return carry
