"""Training on CUDA gives what it gives on the CPU, on every backend that runs there."""

import pytest
import torch
from conftest import composed
from torch import nn

from gru_bench.config.check import check, construct
from gru_bench.measure.timing import StepClock
from gru_bench.run import preflight
from gru_bench.run.build import DTYPES, ModelBuilder, Place, make_cell, make_task

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("hydra_conf"),
]
STEPS = 30
TASKS = {
    "adding": ("task.lengths=[20]", "task.beyond=[]", "task.num_eval=64"),
    "sentiment": ("task.num_train=512", "task.num_valid=64", "task.num_test=64"),  # unequal lengths
    "language_modeling": (),
    "number_translation": ("task.num_train=512", "task.num_valid=64", "task.num_test=64"),
}


def losses(device: str, dtype: str, cell: str, backend: str, task_name: str) -> list[float]:
    """Of some steps, then of the validation split."""
    overrides = [f"task={task_name}", f"cell={cell}", f"backend={backend}", f"dtype={dtype}", *TASKS[task_name]]
    _, node = check(composed(*overrides))
    task = make_task(node)
    task.load()
    place = Place(torch.device(device), DTYPES[dtype])
    made = construct(node["backend"])
    model = ModelBuilder(node, task.sizes(), place).build(make_cell(node), made, 32, 0)
    trainer = construct(node["trainer"], place.autocast)
    if device == "cuda":  # the look before training, as a run takes it
        batch = preflight.largest_batch(task)
        assert preflight.check_parity(model, task, make_cell(node), made, batch, place).passed
        assert "not known" not in preflight.audit_kernel(model, made, batch, place).kernel
    optimizer, carry, found, clock = trainer.make_optimizer(model), None, [], StepClock(place.device)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # each device draws its own numbers
    stream = task.batches("train", torch.Generator().manual_seed(1))
    model.train()
    for _, batch in zip(range(STEPS), stream, strict=False):
        batch = batch.to(*task.place(model))
        with clock():
            loss, _, carry = trainer.step(model, optimizer, task, batch, carry)
        found.append(loss)
    assert all(seconds > 0 for seconds in clock.seconds())
    return [*(float(loss) for loss in found), trainer.evaluate(model, task, "valid").metrics["loss"]]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("cell", "runner"), [("gru", "loop"), ("gru", "vendor"), ("lstm", "vendor"), ("mingru", "scan")]
)
def test_the_losses_are_those_of_the_cpu(cell: str, runner: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    there = losses("cuda", "float32", cell, runner, task)
    # Adam's first steps are of one size whatever the gradient, so rounding grows
    assert there == pytest.approx(losses("cpu", "float32", cell, runner, task), rel=1e-2, abs=1e-2)


def test_mixed_precision_trains() -> None:
    there = losses("cuda", "bfloat16", "gru", "loop", "sentiment")
    assert there == pytest.approx(losses("cuda", "float32", "gru", "loop", "sentiment"), rel=0.1, abs=0.1)
