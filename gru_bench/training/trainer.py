"""Fit and evaluate: the one training loop that all cells share. Knows neither MLflow nor Hydra."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from gru_bench.errors import UserError
from gru_bench.tasks.base import Batch, Counts, PositiveFloat, PositiveInt, Scores, Task
from gru_bench.training.checkpoint import Keeper
from gru_bench.training.fit import Clock, Fit, Hook, Progress
from gru_bench.training.schedules import Constant, Limits, Schedule
from gru_bench.training.session import Session
from gru_bench.training.stopping import Never, Stopping

MakeOptimizer = Callable[..., torch.optim.Optimizer]
"""``make(parameters, lr=0.1)``: an optimizer's yaml, instantiated with ``_partial_``."""
IMPLEMENTATIONS = {"fused", "foreach", "capturable", "differentiable"}
"""Arguments by which a user chooses among torch's implementations of one optimizer; else the trainer does."""


class Trainer:
    """Trains one model on one task.

    Args:
        autocast: Floating type of mixed precision, or None: forward passes, in training and evaluation, run under
            ``torch.autocast`` in it; parameters, gradients, optimizer state and losses stay in float32.
        max_steps: Most optimizer steps, or null.
        max_epochs: Most passes over the training data, or null.
        max_seconds: Most seconds of training steps (evaluation not counted), or null.
        optimizer: Makes an optimizer from parameters and ``lr``; any class of ``torch.optim`` whose step needs no
            closure.
        learning_rate: Step size; the schedule scales it.
        schedule: How the learning rate changes; see ``schedules.py``.
        stopping: When training ends before its limits; see ``stopping.py``.
        clip_norm: Largest norm of the whole gradient; null for none.
        eval_every: Steps between evaluations on the validation split; null for once an epoch.
        diverged_above: Training fails when a loss exceeds this many times the first one.

    The best validation step decides which weights are scored on the test split, once: by the primary metric, and of
    equally good ones by the loss.

    Raises:
        UserError: There is no limit, the schedule lacks one, or the optimizer refuses its arguments.
    """

    def __init__(
        self,
        autocast: torch.dtype | None = None,
        /,
        *,
        max_steps: PositiveInt | None,
        max_epochs: PositiveInt | None,
        max_seconds: PositiveFloat | None,
        optimizer: MakeOptimizer,
        learning_rate: PositiveFloat,
        schedule: Schedule = Constant(),  # noqa: B008  # frozen: nothing can change it
        stopping: Stopping = Never(),  # noqa: B008  # likewise
        clip_norm: PositiveFloat | None,
        eval_every: PositiveInt | None,
        diverged_above: Annotated[float, Gt(1)],
    ) -> None:
        if max_steps is None and max_epochs is None and max_seconds is None:
            raise UserError(
                "trainer: max_steps, max_epochs and max_seconds are all null, so training would never end: set one"
            )
        self.autocast = autocast
        self.limits = Limits(max_steps, max_epochs, max_seconds)
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.stopping = stopping
        self.clip_norm = clip_norm
        self.eval_every = eval_every
        self.diverged_above = diverged_above
        self._try()

    @property
    def max_steps(self) -> int | None:
        """Most optimizer steps, or None."""
        return self.limits.max_steps

    @property
    def is_paced_by_epochs(self) -> bool:
        """Whether the learning rate changes at the end of an epoch: where no epoch ends, it never would."""
        return self.schedule.pace(self.limits) == "epoch"

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over all trainable parameters."""
        return self.optimizer_of([p for p in model.parameters() if p.requires_grad])

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, task: Task, batch: Batch, carry: Any
    ) -> tuple[Tensor, Counts, Any]:
        """One training step: forward, backward, clipping, update."""
        with autocast(batch.inputs.device, self.autocast):
            loss, counts, carry = task.loss(model, batch, carry)
        # of a small model a step takes a millisecond, of which optimizer.zero_grad and a walk over the modules cost 0.1
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        if self.clip_norm is not None:
            clip(parameters, self.clip_norm)
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
        keeper: Keeper | None = None,
    ) -> Fit:
        """Train until a limit, keep the weights of the best validation step, and leave the model with them.

        Args:
            model: Trained in place.
            task: Loaded.
            generator: Orders or draws the training data.
            clock: Times the steps; evaluation, hooks and data lie outside it.
            hooks: Called at start, middle (the first step past half of ``max_steps``, else of the epochs, else of the
                seconds), end, and every evaluation.
            progress: Called with how it goes after every few steps.
            result: Filled in place, so that a caller still has it when training raises.
            keeper: Has the checkpoint from which to go on, if there is one, and keeps others; None for neither.

        Raises:
            Diverged: with the step at which the loss was lost.
        """
        fit = result if result is not None else Fit()
        Session(self, model, task, clock, hooks, progress, fit, keeper or Keeper(), generator).run()
        return fit

    def evaluate(self, model: nn.Module, task: Task, split: Literal["valid", "test"]) -> Scores:
        """Score one split, in the floating type in which this trainer trains."""
        return evaluate(model, task, split, self.autocast)

    def optimizer_of(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        options = getattr(self.optimizer, "keywords", {})
        # yaml has no tuples, and torch documents betas as one
        given: dict[str, Any] = {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
        kind = getattr(self.optimizer, "func", self.optimizer)
        known = "fused" in inspect.signature(kind).parameters and not IMPLEMENTATIONS & options.keys()
        if known and {parameter.device.type for parameter in parameters} <= {"cpu", "cuda"}:
            given["fused"] = True  # one pass over parameters, gradients and state: two to five times as fast on a CPU
        return self.optimizer(parameters, lr=self.learning_rate, **given)

    def _try(self) -> None:
        """Take one step with a small matrix and a small vector: most wrong arguments are found by torch alone."""
        self.schedule.pace(self.limits)
        parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        name = getattr(self.optimizer, "func", self.optimizer).__name__
        try:
            optimizer = self.optimizer_of(parameters)
            closure = inspect.signature(optimizer.step).parameters.get("closure")
            if closure is not None and closure.default is inspect.Parameter.empty:
                raise UserError(f"trainer.optimizer: {name} evaluates the loss several times a step; take another one")
            optimizer.step()
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"trainer.optimizer: {name} refuses its arguments: {error}") from error


def clip(parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """``nn.utils.clip_grad_norm_`` to the last bit; on the CPU in little more than half its time for a small model.

    There it is the same operations without torch's grouping by device, and gradients that are small enough are not
    passed over again: elsewhere, looking at the norm would wait for the device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients or any(gradient.device.type != "cpu" for gradient in gradients):
        nn.utils.clip_grad_norm_(parameters, max_norm)
        return
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    factor = max_norm / (norm + 1e-6)
    if not bool(factor >= 1):  # also of nan
        for gradient in gradients:
            gradient.mul_(factor)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """``torch.autocast`` on that kind of device, or nothing where ``dtype`` is None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def evaluate(model: nn.Module, task: Task, split: Literal["valid", "test"], dtype: torch.dtype | None = None) -> Scores:
    """Score one split without gradients; the model is left in the mode in which it came.

    Args:
        model: Its parameters' device is where it runs.
        task: Loaded.
        split: Which part.
        dtype: Floating type of mixed precision; see :class:`Trainer`.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(task.place(model)[0], dtype):
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
