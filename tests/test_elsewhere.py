"""Training, scoring, probing and checking on another device, by the stand-in of ``elsewhere.py``: nothing is forgotten
to be moved, and what comes out is what the CPU gives."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from backend_pairs import backend
from conftest import composed
from elsewhere import ELSEWHERE, Moved, elsewhere
from fakes import make_trainer
from made_cells import CPU, maker
from texts import given, letters, make_model
from texts import make_task as make_task_of_text

from gru_bench.backends.loop import Loop
from gru_bench.config.check import check, construct
from gru_bench.measure import parity
from gru_bench.run.build import ModelBuilder, Place, make_cell, make_task
from gru_bench.run.probing import make_probes, make_subject

# a task of most kinds of model and objective; those of real data share these
TASKS = {
    "adding": ("task.lengths=[6]", "task.beyond=[]", "task.num_eval=8"),
    "parity": ("task.num_eval=8",),  # answers at every step, inputs as one-hot vectors
    "sentiment": ("task.num_train=40", "task.num_valid=8", "task.num_test=8"),  # unequal lengths
    "number_translation": ("task.num_train=40", "task.num_valid=8", "task.num_test=8"),  # attention, decoding
}
PROBES = ("gates", "gradient_reach", "jacobian")


def test_the_stand_in_finds_what_was_not_moved() -> None:
    with elsewhere() as device:
        x, w = torch.ones(3, 2).to(device), torch.ones(2, 4, requires_grad=True)
        assert x.device == torch.zeros(2, device=device).device == device
        with pytest.raises(RuntimeError, match="same device"):
            x @ w
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.arange(2)
        (x @ w.to(device)).sum().backward()
        assert type(w.grad) is torch.Tensor
        assert w.grad.tolist() == [[3.0] * 4] * 2
        assert x[torch.tensor([0, 2])].cpu().device == CPU  # as on CUDA, an index may come from the CPU
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        assert (x * torch.tensor(2.0)).tolist() == [[2.0, 2.0]] * 3


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("hydra_conf", "own_caches")
def test_a_task_trains_and_scores_there_as_here(name: str) -> None:
    _, node = check(composed(f"task={name}", *TASKS[name]))
    node["task"]["batch_size"] = 4
    task = make_task(node)
    task.load()
    found: list[Any] = []
    for there in (False, True):
        with elsewhere() if there else nullcontext(CPU) as device:
            builder = ModelBuilder(node, task.sizes(), Place(device, torch.float32))
            model = builder.build(make_cell(node), Loop(), 4, 0)
            assert all(isinstance(parameter, Moved) == there for parameter in model.parameters())
            trainer = construct(node["trainer"], None)
            optimizer, carry, losses = trainer.make_optimizer(model), None, []
            stream = task.batches("train", torch.Generator().manual_seed(1))
            torch.manual_seed(0)  # of dropout
            for _, batch in zip(range(2), stream, strict=False):
                loss, _, carry = trainer.step(model, optimizer, task, batch.to(*task.place(model)), carry)
                losses.append(float(loss))
            scores = trainer.evaluate(model, task, "valid")
            found.append((losses, scores.metrics, [part.value for part in scores.slices]))
    for one, other in zip(*found, strict=True):  # to rounding: a large loss is made in other pieces there
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)


def test_a_language_model_carries_its_state_there() -> None:
    task = make_task_of_text(given(letters(200), letters(60, 1), letters(60, 2)))
    trainer = make_trainer(max_steps=1)
    found: list[list[float]] = []
    for there in (False, True):
        with elsewhere() if there else nullcontext(CPU) as device:
            model = make_model(task).to(device)
            optimizer, carry, losses = trainer.make_optimizer(model), None, []
            for batch in task.batches("train", torch.Generator().manual_seed(1)):
                loss, _, carry = trainer.step(model, optimizer, task, batch.to(*task.place(model)), carry)
                losses.append(float(loss))
            found.append([*losses, *trainer.evaluate(model, task, "valid").metrics.values()])
    assert found[0] == found[1]


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.usefixtures("hydra_conf")
def test_a_probe_answers_there_as_here(probe: str) -> None:
    overrides = ("task=adding", "task.lengths=[6]", "task.beyond=[]", "task.num_eval=8", "task.batch_size=8")
    _, node = check(composed(*overrides, f"probe=[{probe}]"))
    task = make_task(node)
    task.load()
    found: list[Any] = []
    for there in (False, True):
        with elsewhere() if there else nullcontext(CPU) as device:
            builder, cell = ModelBuilder(node, task.sizes(), Place(device, torch.float32)), make_cell(node)
            model = builder.build(cell, Loop(), 4, 0).eval()
            (made,) = make_probes(node)
            answer = made.measure(make_subject(model, task, builder, cell, 4, 0), made.moments[-1])
            found.append({(one.metric, one.slice_value): one.value for one in answer.values})
    assert found[1] == pytest.approx(found[0], rel=1e-9, nan_ok=True)


@pytest.mark.parametrize(("cell", "runner"), [("gru", "loop"), ("lstm", "loop"), ("mingru", "scan")])
def test_the_parity_check_runs_there(cell: str, runner: str) -> None:
    case = parity.Case(T=9, B=3, num_layers=2, bidirectional=True, ragged=True, given_state=True)
    with elsewhere():
        errors = parity.compare(case, maker(cell), backend(runner), ELSEWHERE, torch.float32)
    assert max(errors) < parity.TOLERANCES[torch.float32]
