"""One call of ``Trainer.fit``: its loop over epochs and steps, and the state that it carries."""

import copy
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gru_bench.errors import Diverged, UserError
from gru_bench.tasks.base import Batch, Counts, Task
from gru_bench.training.checkpoint import Keeper, State, continued, restore, state_of
from gru_bench.training.fit import Clock, Event, Fit, Hook, Progress
from gru_bench.training.schedules import Pace
from gru_bench.training.stopping import Aim, Evaluation

if TYPE_CHECKING:
    from gru_bench.training.trainer import Trainer

CHECK_EVERY = 20
"""Steps between looks at the losses: reading one waits for the device."""


class Session:
    """The state of one call of ``Trainer.fit``, whose arguments are explained there."""

    def __init__(
        self,
        trainer: "Trainer",
        model: nn.Module,
        task: Task,
        clock: Clock,
        hooks: tuple[Hook, ...],
        progress: Callable[[Progress], None] | None,
        fit: Fit,
        keeper: Keeper,
        generator: torch.Generator,
    ) -> None:
        self.trainer, self.model, self.task = trainer, model, task
        self.clock, self.hooks, self.progress, self.fit = clock, hooks, progress, fit
        self.keeper, self.generator = keeper, generator
        self.higher_is_better = task.primary_metric.higher_is_better
        self.aim = Aim(task)
        self.optimizer = trainer.make_optimizer(model)
        self.pace: Pace | None = trainer.schedule.pace(trainer.limits)
        self.scheduler: LRScheduler | None = trainer.schedule.make(
            self.optimizer, trainer.limits, higher_is_better=self.higher_is_better
        )
        self.place = task.place(model)
        self.unread: list[Tensor] = []  # losses of the steps since the last look
        self.since_eval: list[float] = []
        self.first_loss: float | None = None
        self.timed_seconds = 0.0
        self.timed_tokens = 0
        self.history: list[Evaluation] = []
        self.best: float | None = None
        self.best_state: dict[str, Tensor] | None = None
        self.middle_announced = False
        self.carry: Any = None
        self.epoch_start = generator.get_state()  # of the generator, as the pass over the data began
        self.taken = 0  # batches of that pass
        self.timed_before = 0  # steps that another process took, whose times this clock does not have

    def run(self) -> None:
        """Train until a limit or a stopping rule; leave the model with the weights of the best validation step."""
        with closing(self.steps()) as steps:
            for batch in steps:
                self.take(batch)

    def steps(self) -> Generator[Batch]:
        """All of :meth:`run` but the steps themselves, which whoever drives it takes.

        Yields:
            The batch of each step, where the model is. The step is to be taken, and :meth:`took` to be told of it,
            before the next one is asked for.
        """
        fit = self.fit
        batches = self.resume()
        if batches is None:
            self.announce("start")
        self.model.train()
        try:
            with self.keeper.whole_steps():
                if batches is not None:
                    self.after_step()
                while not fit.stopped:
                    yield from self.train_epoch(self.begin_epoch() if batches is None else batches)
                    batches = None
                    if not fit.stopped:
                        self.after_epoch()
                if not self.is_evaluated():
                    self.evaluate()
                self.keeper.after_step(fit.steps, self.state)
        finally:
            self.read_clock()  # what was timed is kept, however training ends
        self.announce("end")
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)

    def announce(self, kind: Literal["start", "middle", "end"]) -> None:
        """Call the hooks."""
        for hook in self.hooks:
            hook(Event(kind, self.fit.steps, self.model, self.task))

    def resume(self) -> Iterator[Batch] | None:
        """Go on where another process was stopped: the rest of its pass over the data; None to begin anew."""
        state = self.keeper.load()
        if state is None:
            return None
        batches = continued(self, state)
        if batches is None:
            self.keeper.refused("its training data was another")
            return None
        restore(self, state)
        self.keeper.goes_on()
        return batches

    def state(self) -> State:
        """What another process needs to go on from here."""
        return state_of(self)

    def begin_epoch(self) -> Iterator[Batch]:
        """A new pass over the training data."""
        self.fit.epochs += 1
        self.epoch_start, self.taken, self.carry = self.generator.get_state(), 0, None
        return self.task.batches("train", self.generator)

    def train_epoch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """One pass over the training data, or the rest of one, or what the limits leave of it."""
        for batch in batches:
            yield batch.to(*self.place)
            self.after_step()
            self.keeper.after_step(self.fit.steps, self.state)
            if self.fit.stopped:
                return

    def take(self, batch: Batch) -> None:
        """One training step."""
        with self.clock():
            loss, counts, carry = self.trainer.step(self.model, self.optimizer, self.task, batch, self.carry)
        self.took(loss, counts, carry)

    def took(self, loss: Tensor, counts: Counts, carry: Any) -> None:
        """Note what a step gave: its loss, what it worked on, and what the next one carries on from."""
        fit = self.fit
        self.carry = carry
        self.taken += 1
        fit.steps += 1
        fit.step_tokens.append(counts.tokens)
        fit.step_examples.append(counts.examples)
        self.timed_tokens += counts.tokens
        self.unread.append(loss)
        self.advance("step")

    def after_step(self) -> None:
        """What is due after that many steps. Called again, it does what it has not yet done."""
        trainer, fit = self.trainer, self.fit
        at_limit = trainer.limits.max_steps is not None and fit.steps >= trainer.limits.max_steps
        evaluate_now = trainer.eval_every is not None and fit.steps % trainer.eval_every == 0
        if len(self.unread) >= CHECK_EVERY or evaluate_now or at_limit:
            self.read_losses()
        if not self.middle_announced and self.half_done():
            with self.keeper.interruptible(self.state):
                self.announce("middle")
            self.middle_announced = True
        if evaluate_now and not self.is_evaluated():
            self.evaluate()
        if at_limit:
            fit.stopped = fit.stopped or f"max_steps={trainer.limits.max_steps}"

    def is_evaluated(self) -> bool:
        """Whether the weights, as they are now, have been scored on the validation split."""
        return bool(self.history) and self.history[-1].step == self.fit.steps

    def after_epoch(self) -> None:
        """Evaluate where that is due once an epoch, and look at the limit of epochs.

        Raises:
            UserError: The epoch had no batch.
        """
        trainer, fit = self.trainer, self.fit
        if fit.steps == 0:
            raise UserError("the training split gives no batch: it is empty, or smaller than one step needs")
        self.read_losses()
        if trainer.eval_every is None:
            self.evaluate()
        if trainer.limits.max_epochs is not None and fit.epochs >= trainer.limits.max_epochs:
            fit.stopped = fit.stopped or f"max_epochs={trainer.limits.max_epochs}"
        self.advance("epoch")

    def advance(self, done: Pace) -> None:
        """Let the scheduler count a step, an epoch or an evaluation, if that is what it counts."""
        if self.scheduler is None or self.pace != done:
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(self.history[-1].score)
        else:
            self.scheduler.step()

    def half_done(self) -> bool:
        """Whether half of the first limit that is set is used up: steps, else epochs, else seconds."""
        limits, fit = self.trainer.limits, self.fit
        if limits.max_steps is not None:
            return 2 * fit.steps >= limits.max_steps
        if limits.max_epochs is not None:
            return 2 * (fit.epochs - 1) >= limits.max_epochs
        return 2 * self.timed_seconds >= (limits.max_seconds or 0)

    def read_losses(self) -> None:
        """Fetch the losses since the last look; fail on a lost one, stop at the time limit, report the progress.

        Raises:
            Diverged: A loss is not a number, or far above the first one.
        """
        fit, limits = self.fit, self.trainer.limits
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
        if limits.max_seconds is not None and self.timed_seconds >= limits.max_seconds:
            fit.stopped = f"max_seconds={limits.max_seconds}"
        if self.progress is not None:
            speed = self.timed_tokens / self.timed_seconds if self.timed_seconds else math.nan
            with self.keeper.interruptible(self.state):
                self.progress(Progress(fit.steps, limits.max_steps, losses[-1], self.best, speed))

    def read_clock(self) -> None:
        """Fetch the seconds of the steps since the last look."""
        new = self.clock.seconds(skip=len(self.fit.step_seconds) - self.timed_before)
        self.fit.step_seconds.extend(new)
        self.timed_seconds += sum(new)

    def evaluate(self) -> None:
        """Score the validation split, remember the best weights, ask the stopping rule, and call the hooks."""
        fit, task = self.fit, self.task
        self.read_losses()
        with self.keeper.interruptible(self.state):
            scores = self.trainer.evaluate(self.model, task, "valid")
        score = scores.metrics[task.primary_metric.name]
        train_loss = sum(self.since_eval) / len(self.since_eval) if self.since_eval else None
        self.since_eval.clear()
        is_best = self.is_better(score)
        # a task that is solved has many equally good steps, of which the first is the least sure of its answers
        if is_best or (score == self.best and fit.valid and scores.metrics["loss"] < fit.valid.metrics["loss"]):
            self.best = score
            fit.best_step, fit.valid = fit.steps, scores
            self.best_state = copy.deepcopy(self.model.state_dict())
        self.history.append(Evaluation(fit.steps, score, is_best))
        reason = self.trainer.stopping.reason(self.history, self.aim)
        if reason is not None:
            fit.stopped = reason
        self.advance("evaluation")
        for hook in self.hooks:
            hook(Event("evaluation", fit.steps, self.model, task, scores, train_loss))

    def is_better(self, score: float) -> bool:
        """Whether a score is the best so far; the first one is, even nan, so that there is always a state to test."""
        if self.best is None or (math.isnan(self.best) and not math.isnan(score)):
            return True
        return score > self.best if self.higher_is_better else score < self.best
