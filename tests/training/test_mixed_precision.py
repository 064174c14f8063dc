"""dtype=bfloat16 is mixed precision: what is kept is float32, what is multiplied is bfloat16."""

import pytest
import torch
from bptt_cells import MISSING, needs_native
from conftest import composed, yaml_names
from fakes import Clock, Line, Weight, make_trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gru_bench.config.check import check, construct
from gru_bench.errors import Unsupported
from gru_bench.losses import mean_nats
from gru_bench.run import build
from gru_bench.training.trainer import Trainer, autocast

CPU, BF16 = torch.device("cpu"), torch.bfloat16
PRODUCTS = ("mm", "addmm", "bmm", "linear", "mkldnn_rnn_layer", "mkldnn_rnn_layer_backward")


class Products(TorchDispatchMode):
    """The floating types that reach the products."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.__name__.split(".")[0] in PRODUCTS:
            self.dtypes |= {a.dtype for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()}
        return func(*args, **(kwargs or {}))


def made(*overrides: str) -> tuple[nn.Module, Trainer, object]:
    """Model, trainer and loaded task, built as a run builds them."""
    settings, node = check(composed("dtype=bfloat16", "hidden_size=8", *overrides))
    place, task = build.make_place(settings), build.make_task(node)
    task.load()
    cell, backend = build.make_cell(node), construct(node["backend"])
    build.check_backend(cell, backend, place)
    model = build.ModelBuilder(node, task.sizes(), place).build(cell, backend, 8, 0)
    return model, construct(node["trainer"], place.autocast), task


TASKS = [
    ("adding", "loop", "gru"),
    ("adding", "vendor", "lstm"),
    ("adding", "vendor", "gru"),
    ("adding", "vendor_aten", "lstm"),
    ("adding", "loop", "gru_reset_before"),
    ("sentiment", "vendor", "lstm"),  # sequences of unequal length
    ("sentiment", "vendor", "rnn"),
    ("sentiment", "loop", "rnn_article"),
    ("language_modeling", "loop", "lstm"),  # a carried state
    ("language_modeling", "vendor", "gru"),
    ("number_translation", "loop", "gru"),  # attention
    # native products are not torch's: what is seen is the output layer; tests/backends/test_native_mixed.py sees them
    pytest.param("sentiment", "bptt", "lstm", marks=needs_native),
    pytest.param("language_modeling", "bptt", "gru", marks=needs_native),
]


@pytest.mark.parametrize(("task", "backend", "cell"), TASKS)
@pytest.mark.usefixtures("hydra_conf")
def test_parameters_gradients_and_adams_state_are_float32_and_every_product_is_bfloat16(
    task: str, backend: str, cell: str
) -> None:
    model, trainer, loaded = made(f"task={task}", f"backend={backend}", f"cell={cell}")
    optimizer = trainer.make_optimizer(model)
    stream = loaded.batches("train", torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    carry, dtypes = None, set()
    for _ in range(2):
        batch = next(stream).to(*loaded.place(model))  # type: ignore[attr-defined]
        with Products() as products:
            loss, _, carry = trainer.step(model, optimizer, loaded, batch, carry)  # type: ignore[arg-type]
        dtypes |= products.dtypes
        assert loss.dtype is torch.float32
    assert dtypes == {BF16}
    kept = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)]
    for state in optimizer.state.values():
        kept += [value for value in state.values() if value.is_floating_point()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    with Products() as products:
        trainer.evaluate(model, loaded, "valid")  # type: ignore[arg-type]
    assert products.dtypes == {BF16}


def test_small_updates_are_not_lost() -> None:
    model = Weight()
    nn.init.ones_(model.w)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for _ in range(10):
        with autocast(CPU, BF16):
            loss = model(torch.ones(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # in bfloat16 alone 1 - 1e-4 rounds to 1
    assert model.w.item() == pytest.approx(1 - 10 * 1e-4, rel=1e-6)
    assert torch.tensor(1.0, dtype=BF16) - torch.tensor(1e-4, dtype=BF16) == 1.0


def test_a_trainer_learns_the_line_in_mixed_precision_as_without() -> None:
    weights = []
    for dtype in (None, BF16):
        model = Weight()
        trainer = make_trainer(max_steps=300, learning_rate=0.01)
        trainer.autocast = dtype
        trainer.fit(model, Line(num_batches=None), torch.Generator().manual_seed(0), Clock())
        weights.append(model.w.item())
    assert weights[1] == pytest.approx(weights[0], abs=0.01)


@pytest.mark.parametrize(("cell", "native"), [("janet", "auto"), ("gru", "never")])
@pytest.mark.usefixtures("hydra_conf")
def test_a_backend_that_autocast_does_not_reach_refuses_by_name(cell: str, native: str) -> None:
    with pytest.raises(Unsupported, match=r"backend=bptt does not run dtype=bfloat16 of .*mixed precision") as refused:
        made("task=adding", "backend=bptt", f"cell={cell}", f"backend.native={native}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", yaml_names("backend"))
@pytest.mark.usefixtures("hydra_conf")
def test_a_backend_claims_mixed_precision_or_refuses_it(name: str) -> None:
    backend = construct(check(composed(f"backend={name}"))[1]["backend"])
    if backend.honors_autocast and not (name == "bptt" and MISSING):
        backend.require_autocast(BF16)
    else:
        with pytest.raises(Unsupported):
            backend.require_autocast(BF16)


def test_a_large_output_layer_has_float32_gradients_under_autocast() -> None:
    layer, h_TBE = nn.Linear(4, 40_000), torch.randn(20, 10, 4, requires_grad=True)
    targets_TB = torch.randint(0, 40_000, (20, 10), generator=torch.Generator().manual_seed(0))
    with autocast(CPU, BF16):
        loss = mean_nats(h_TBE, layer, targets_TB)
    loss.backward()
    exact = mean_nats(h_TBE, layer, targets_TB)
    assert loss.dtype is torch.float32
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype is torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-3)
