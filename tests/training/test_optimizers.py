"""The optimizer is torch's own, with the arguments of the yaml, and the trainer adds nothing of its own."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from conftest import composed, yaml_names
from fakes import Clock, Line, Weight, make_trainer
from torch import nn

from gru_bench.config.check import check, construct
from gru_bench.errors import UserError
from gru_bench.training.trainer import Trainer, clip


def trainer_of(*overrides: str) -> Trainer:
    _, node = check(composed("task=adding", *overrides))
    return construct(node["trainer"])


BY_HAND = [
    (["optimizer=adam"], torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    (["optimizer=adam_keras"], torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0}),
    (
        ["optimizer=adam", "trainer.optimizer.betas=[0.8,0.9]"],
        torch.optim.Adam,
        {"betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0.0},
    ),
    (["optimizer=sgd", "trainer.optimizer.momentum=0.9"], torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.0}),
    (["optimizer=adamw"], torch.optim.AdamW, {"weight_decay": 0.01}),
    (["optimizer=rmsprop"], torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-8}),
    (["optimizer=adagrad"], torch.optim.Adagrad, {"eps": 1e-10}),
]


@pytest.mark.parametrize(("overrides", "cls", "arguments"), BY_HAND, ids=lambda v: "-".join(v) if v is list else None)
@pytest.mark.usefixtures("hydra_conf")
def test_twenty_steps_are_those_of_torchs_own_optimizer_to_the_last_bit(
    overrides: list[str], cls: Any, arguments: dict[str, Any]
) -> None:
    trainer = trainer_of("trainer.learning_rate=0.013", *overrides)
    # one pass over everything, where torch has it: the same formula, rounded otherwise
    fused = {} if cls is torch.optim.RMSprop else {"fused": True}
    models = [nn.Linear(3, 2) for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    ours, by_hand = trainer.make_optimizer(models[0]), cls(models[1].parameters(), lr=0.013, **arguments, **fused)
    in_many_passes = cls(models[2].parameters(), lr=0.013, **arguments)
    assert type(ours) is cls
    assert ours.defaults == by_hand.defaults
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        x = torch.randn(5, 3, generator=generator)
        for model, optimizer in zip(models, (ours, by_hand, in_many_passes), strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    assert torch.equal(models[0].weight, models[1].weight)
    assert torch.equal(models[0].bias, models[1].bias)
    torch.testing.assert_close(models[0].weight, models[2].weight)


@pytest.mark.parametrize("chosen", [{"fused": False}, {"foreach": True}])
def test_an_implementation_that_a_user_names_is_taken(chosen: dict[str, bool]) -> None:
    trainer = make_trainer(max_steps=1, optimizer=partial(torch.optim.Adam, **chosen))
    defaults = trainer.make_optimizer(nn.Linear(2, 2)).defaults
    assert {name: defaults[name] for name in chosen} == chosen
    assert not defaults["fused"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 0.01, 0.2, 0.2500001, 0.25, 3.0, math.inf, math.nan])
def test_clipping_is_torchs_own_to_the_last_bit(size: float, dtype: torch.dtype) -> None:
    layers = [nn.Linear(4, 3).to(dtype) for _ in range(2)]
    for layer in layers:
        layer.weight.grad = torch.full((3, 4), size, dtype=dtype)
        layer.bias.grad = torch.tensor([size, 0.0, -size], dtype=dtype)
        layer.weight.grad[0, 1] = size / 3
    clip(list(layers[0].parameters()), 0.9)
    nn.utils.clip_grad_norm_(layers[1].parameters(), 0.9)
    for ours, theirs in zip(*(layer.parameters() for layer in layers), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clipping_sums_as_torch_does_whatever_the_sizes(dtype: torch.dtype, max_norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1,), (7,), (96, 33), (1, 32), (1000, 17), (3, 5, 2)]
    values = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    sides = [[nn.Parameter(torch.zeros_like(value)) for value in values] for _ in range(2)]
    for side in sides:
        for parameter, value in zip(side, values, strict=True):
            parameter.grad = value.clone()
        side[2].grad = values[2].T.contiguous().T  # a product's gradient may lie in memory by columns
    clip(sides[0], max_norm)
    nn.utils.clip_grad_norm_(sides[1], max_norm)
    for ours, theirs in zip(*sides, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def test_clipping_leaves_out_what_has_no_gradient() -> None:
    layer = nn.Linear(2, 2)
    clip(list(layer.parameters()), 1.0)
    layer.bias.grad = torch.tensor([3.0, 4.0])
    clip(list(layer.parameters()), 1.0)
    assert layer.bias.grad.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("name", yaml_names("optimizer"))
@pytest.mark.usefixtures("hydra_conf")
def test_every_choice_learns_the_line(name: str) -> None:
    model = Weight()
    # AdaGrad's steps shrink, so it starts with large ones
    options = [f"optimizer={name}", "trainer.learning_rate=" + ("1.0" if name == "adagrad" else "0.1")]
    trainer = trainer_of(*options, "trainer.max_steps=400", "trainer.clip_norm=null")
    trainer.fit(model, Line(num_batches=None), torch.Generator().manual_seed(0), Clock())
    assert model.w.item() == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (partial(torch.optim.Adam, eps=-1.0), "Adam refuses its arguments: Invalid epsilon value: -1.0"),
        (partial(torch.optim.SGD, nesterov=True), "SGD refuses its arguments: Nesterov momentum requires a momentum"),
        (torch.optim.LBFGS, "LBFGS evaluates the loss several times a step"),
        (torch.optim.SparseAdam, "SparseAdam refuses its arguments: SparseAdam does not support dense gradients"),
    ],
)
def test_what_torch_refuses_is_refused_before_anything_is_loaded(optimizer: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"trainer.optimizer: {message}"):
        make_trainer(max_steps=1, optimizer=optimizer)
