"""A look before training: whether the backend is right, which kernel runs, how much memory a step takes.

Everything is checked on the largest of the first training batches; the model is left as it was.
"""

import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gru_bench.backends.base import Backend
from gru_bench.measure import parity
from gru_bench.measure.kernel import audit
from gru_bench.measure.memory_split import Split, split
from gru_bench.measure.parity import Parity
from gru_bench.measure.trace import Audit
from gru_bench.models.encoder import Encoder, MakeCell, num_parameters
from gru_bench.run.build import Place
from gru_bench.tasks.base import TRAIN_DATA_SEED, Batch, Task
from gru_bench.training.trainer import Trainer, autocast

Call = tuple[Tensor, Tensor | None]
"""What an encoder is given: x (T, B, D) and lengths (B,)."""

BATCHES = 32
"""How many training batches are looked at for the largest one."""


def largest_batch(task: Task) -> Batch:
    """The largest of the first training batches, of a stream that all cells and seeds share."""
    stream = task.batches("train", torch.Generator().manual_seed(TRAIN_DATA_SEED))
    return max(itertools.islice(stream, BATCHES), key=lambda batch: batch.inputs.numel())


def check_parity(
    model: nn.Module, task: Task, make_cell: MakeCell, backend: Backend, batch: Batch, place: Place
) -> Parity:
    """How far the backend is from the reference: at small shapes of every kind, then at those that the model runs.

    A red result is returned, not raised, and ends the check.
    """
    mixed = place.autocast is not None
    found = parity.check(make_cell, backend, place.device, place.dtype, quick=True, autocast=mixed)
    threads = torch.get_num_threads()
    for encoder, call in calls(model, task, batch, place):
        if found.passed:
            case = parity.bounded(case_of(encoder, *call), backend, num_parameters(encoder), threads)
            found = found.worse(parity.check_shape(case, make_cell, backend, place.device, place.dtype, autocast=mixed))
    return found


def calls(model: nn.Module, task: Task, batch: Batch, place: Place) -> list[tuple[Encoder, Call]]:
    """The first call that each encoder of the model gets when this batch is trained on: a decoder has its own shape."""
    found: dict[Encoder, Call] = {}

    def note(encoder: nn.Module, args: Any, kwargs: Any) -> None:
        call = inspect.signature(Encoder.forward).bind(encoder, *args, **kwargs).arguments
        assert isinstance(encoder, Encoder)
        found.setdefault(encoder, (call["x_TBD"], call.get("lengths")))

    encoders = [module for module in model.modules() if isinstance(module, Encoder)]
    handles = [encoder.register_forward_pre_hook(note, with_kwargs=True) for encoder in encoders]
    try:
        with torch.no_grad(), undisturbed(model), autocast(place.device, place.autocast):
            task.loss(model, batch.to(*task.place(model)), None)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.items())


def case_of(encoder: Encoder, x_TBD: Tensor, lengths: Tensor | None) -> parity.Case:
    """The shape at which an encoder runs.

    Where all sequences are of one length, a state is given: a language model carries it along.
    """
    T, B = x_TBD.shape[:2]
    return parity.Case(
        T=T,
        B=B,
        input_size=encoder.input_size,
        hidden_size=encoder.hidden_size,
        num_layers=encoder.num_layers,
        bidirectional=encoder.bidirectional,
        given_state=lengths is None,
        lengths=None if lengths is None else tuple(lengths.tolist()),
    )


def audit_kernel(model: nn.Module, backend: Backend, batch: Batch, place: Place) -> Audit:
    """The kernel that runs the model's first recurrent layers on this batch: kernels are chosen by shape."""
    encoder = next(module for module in model.modules() if isinstance(module, Encoder))
    T, B = batch.inputs.shape[:2]
    shape = (T, B, encoder.input_size)
    return audit(
        encoder, backend, shape, place.device, place.parameters, lengths=batch.lengths, autocast=place.autocast
    )


def memory_of_a_step(model: nn.Module, trainer: Trainer, task: Task, batch: Batch) -> Split:
    """The peak of the tensor bytes of one training step, and what it is made of."""
    batch = batch.to(*task.place(model))
    tensors = [value for value in vars(batch).values() if isinstance(value, Tensor)]
    with undisturbed(model):
        optimizer = trainer.make_optimizer(model)
        trainer.step(model, optimizer, task, batch, None)  # makes the optimizer's state
        return split(
            lambda: trainer.step(model, optimizer, task, batch, None), model=model, optimizer=optimizer, inputs=tensors
        )


_looked: dict[tuple[object, ...], tuple[Audit, Split]] = {}
"""What this process has found, so that the runs of a warm worker that differ in the seed alone look once."""


def look(
    group_key: str, model: nn.Module, trainer: Trainer, task: Task, backend: Backend, batch: Batch, place: Place
) -> tuple[Audit, Split]:
    """The kernel that runs, and the memory of a step: both follow from shapes, settings and threads, not from a seed.

    Args:
        group_key: Of the run.
        model: As it will be trained.
        trainer: Of the run.
        task: With its data loaded.
        backend: Of the model.
        batch: The largest of the first ones.
        place: Where it runs.
    """
    shapes = (tuple(batch.inputs.shape), batch.lengths is not None, num_parameters(model))
    key = (group_key, *shapes, torch.get_num_threads())
    if key not in _looked:
        found = audit_kernel(model, backend, batch, place), memory_of_a_step(model, trainer, task, batch)
        _looked[key] = found
    return _looked[key]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put weights, gradients and random state back as they were. The copy lies on the CPU, where it is not counted."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
    model.load_state_dict(state)
    model.zero_grad(set_to_none=True)
