"""What a training session needs to go on in another process, and the file in which it waits for that.

A session that goes on from a checkpoint ends with bitwise the weights and scores of one that was never stopped, on the
same kind of machine with the same software. So a checkpoint holds the weights, now and of the best validation step; the
states of optimizer, schedule and random generators; how far the pass over the training data has come; and the losses
and times so far. Of the data it holds the generator's state at the beginning of the pass and the number of batches
taken: the pass is begun again, and so many batches are drawn and dropped.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gru_bench.cache_dir import replace_file
from gru_bench.tasks.base import Batch, Scores
from gru_bench.training.stopping import Evaluation

if TYPE_CHECKING:
    from gru_bench.training.session import Session

State = dict[str, Any]
"""Numbers, text and tensors on the CPU, in dictionaries, lists and tuples: nothing that has to be unpickled."""

HEAD = b"gru_bench checkpoint 1 "


class Keeper:
    """What a session asks about checkpoints. This one keeps none, and lets signals act when they come."""

    def load(self) -> State | None:
        """What :func:`state_of` gave before, or None to begin anew. Asked once, before training."""
        return None

    def refused(self, why: str) -> None:
        """After :meth:`load`, where the state does not fit after all."""

    def goes_on(self) -> None:
        """After :meth:`load`, once the session is as the state has it."""

    def whole_steps(self) -> AbstractContextManager[Any]:
        """Around all training: inside, a signal waits for the end of the step."""
        return nullcontext()

    def interruptible(self, state: Callable[[], State], /) -> AbstractContextManager[Any]:
        """Around what may take long and leaves the session's state alone: inside, a signal acts at once."""
        return nullcontext()

    def after_step(self, step: int, state: Callable[[], State], /) -> None:
        """After each step, outside what is timed.

        Args:
            step: Optimizer steps taken.
            state: Makes the state to be kept; it costs time, so only when it is wanted.
        """


def state_of(session: "Session") -> State:
    """All that :func:`restore` needs, as copies: training may go on."""
    session.read_clock()
    fit, device = session.fit, session.place[0]
    return {
        "model": on_cpu(dict(session.model.state_dict())),
        "optimizer": on_cpu(session.optimizer.state_dict()),
        "scheduler": None if session.scheduler is None else on_cpu(dict(session.scheduler.state_dict())),
        "best_state": None if session.best_state is None else on_cpu(dict(session.best_state)),
        "carry": on_cpu(session.carry),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "epoch_start": session.epoch_start,
        "generator": session.generator.get_state(),
        "taken": session.taken,
        "unread": on_cpu(list(session.unread)),
        "since_eval": list(session.since_eval),
        "first_loss": session.first_loss,
        "timed_seconds": session.timed_seconds,
        "timed_tokens": session.timed_tokens,
        "history": [(one.step, one.score, one.is_best) for one in session.history],
        "best": session.best,
        "middle_announced": session.middle_announced,
        "fit": {
            "steps": fit.steps,
            "epochs": fit.epochs,
            "best_step": fit.best_step,
            "valid": None if fit.valid is None else dict(fit.valid.metrics),
            "stopped": fit.stopped,
            # of a million steps: lists would take seconds
            "step_seconds": torch.tensor(fit.step_seconds, dtype=torch.float64),
            "step_tokens": torch.tensor(fit.step_tokens, dtype=torch.int64),
            "step_examples": torch.tensor(fit.step_examples, dtype=torch.int64),
        },
    }


def continued(session: "Session", state: State) -> Iterator[Batch] | None:
    """The rest of the pass over the training data in which the state was taken; None where the data is another.

    Leaves the session's generator as it was then, or, where the data is another, as it came.
    """
    generator = session.generator
    came = generator.get_state()
    generator.set_state(state["epoch_start"])
    batches = session.task.batches("train", generator)
    dropped = sum(1 for _ in islice(batches, state["taken"]))
    if dropped == state["taken"] and torch.equal(generator.get_state(), state["generator"]):
        return batches
    generator.set_state(came)
    return None


def restore(session: "Session", state: State) -> None:
    """Make a fresh session, of the same config, as the other one was."""
    device = session.place[0]
    session.model.load_state_dict(state["model"])
    session.optimizer.load_state_dict(state["optimizer"])
    if session.scheduler is not None:
        session.scheduler.load_state_dict(state["scheduler"])
    session.best_state = None if state["best_state"] is None else moved(state["best_state"], device)
    session.carry = moved(state["carry"], device)
    torch.set_rng_state(state["random"])
    if state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"], device)
    session.epoch_start, session.taken = state["epoch_start"], state["taken"]
    session.unread = moved(state["unread"], device)
    session.since_eval, session.first_loss = list(state["since_eval"]), state["first_loss"]
    session.timed_seconds, session.timed_tokens = state["timed_seconds"], state["timed_tokens"]
    session.history = [Evaluation(*one) for one in state["history"]]
    session.best, session.middle_announced = state["best"], state["middle_announced"]
    fit, kept = session.fit, state["fit"]
    fit.steps, fit.epochs, fit.best_step, fit.stopped = (
        kept[name] for name in ("steps", "epochs", "best_step", "stopped")
    )
    fit.valid = None if kept["valid"] is None else Scores(dict(kept["valid"]))
    fit.step_seconds, fit.step_tokens, fit.step_examples = (
        kept[name].tolist() for name in ("step_seconds", "step_tokens", "step_examples")
    )
    session.timed_before = len(fit.step_seconds)


def on_cpu(nested: Any) -> Any:
    """A copy with all tensors on the CPU, each with a storage of its own."""
    return mapped(nested, lambda tensor: tensor.detach().to("cpu", copy=True))


def moved(nested: Any, device: torch.device) -> Any:
    """The same with all tensors on a device."""
    return mapped(nested, lambda tensor: tensor.to(device))


def mapped(nested: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested dictionaries, lists and tuples with each tensor changed."""
    if isinstance(nested, Tensor):
        return change(nested)
    if isinstance(nested, dict):
        return {key: mapped(part, change) for key, part in nested.items()}
    if isinstance(nested, tuple | list):
        return type(nested)(mapped(part, change) for part in nested)
    return nested


class Damaged(Exception):
    """A file that holds no whole checkpoint; says why."""


def write(path: Path, state: State) -> None:
    """Write a state so that a process that is killed leaves the old file or the new one.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    body = io.BytesIO()
    torch.save(state, body)
    content = body.getbuffer()
    replace_file(path, [HEAD, hashlib.sha256(content).hexdigest().encode(), b"\n", content], lasting=True)


def read(path: Path) -> State:
    """What :func:`write` wrote; nothing in the file is run.

    Raises:
        OSError: It cannot be read.
        Damaged: It is no whole checkpoint.
    """
    head, _, content = path.read_bytes().partition(b"\n")
    if not head.startswith(HEAD):
        raise Damaged("not of this version's form")
    if hashlib.sha256(content).hexdigest().encode() != head.removeprefix(HEAD):
        raise Damaged("damaged")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch have many
        raise Damaged(f"unreadable ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise Damaged("not a checkpoint")
    return state
