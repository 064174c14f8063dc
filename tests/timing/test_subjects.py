"""What one call of a situation does: to parameters, gradients and states."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import CONF, yaml_names
from omegaconf import OmegaConf

from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.config.check import check_node, construct, to_node
from gru_bench.errors import UserError
from gru_bench.measure.kernel import kernel_of_call
from gru_bench.timing.situations.base import Situation
from gru_bench.timing.subjects import CPU, Layers, Shape

SHAPE = Shape(steps=4, batch=3, inputs=5, hidden_size=6, num_layers=2, bidirectional=False, threads=1)


def situation(name: str) -> Situation:
    node = to_node(OmegaConf.load(CONF / "situation" / f"{name}.yaml"))  # type: ignore[arg-type]
    check_node(node, name)
    made: Situation = construct(node)
    return made


def subject(**sizes: Any) -> Layers:
    shape = replace(SHAPE, **sizes)
    return Layers(GRU, Vendor(), shape.hidden_size, shape, CPU)


@pytest.mark.parametrize("name", yaml_names("situation"))
def test_each_situation_calls_what_it_says(name: str) -> None:
    made, one = situation(name), subject()
    assert made.name == name
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    call = made.call(one)
    with made.mode():
        assert torch.is_inference_mode_enabled() != made.trains
        call()
    moved = any(not torch.equal(value, before[key]) for key, value in one.model.state_dict().items())
    assert moved == made.trains == (name == "train")
    assert (one.optimizer is not None) == made.trains
    with made.mode():
        assert kernel_of_call(call, one.model, one.backend, CPU.device) == "ATen loop"


def test_the_twin_does_the_same() -> None:
    models = [subject() for _ in range(2)]
    for one in models:
        call = one.training_step()
        call()
        call()
    for name, value in models[0].model.state_dict().items():
        assert torch.equal(value, models[1].model.state_dict()[name])


def test_a_single_step_goes_on_from_the_state_before() -> None:
    one = subject(steps=1)
    states: list[torch.Tensor] = []
    made = one.encoder.stepper(3)

    def noted(x_BD: torch.Tensor, state: Any) -> Any:
        out = made(x_BD, state)
        states.append(out[1][0].clone())
        return out

    one.encoder.stepper = lambda _: noted  # type: ignore[method-assign,assignment]
    call = one.single_step()
    with situation("stream").mode():
        call()
        call()
    assert not torch.equal(states[0], states[1])
    assert sum(tensor.numel() for tensor in one.inputs) == 3 * (5 + 2 * 6)  # the state that is carried in, too
    # two steps of the same input, as one sequence
    x_TBD = one.inputs[0].expand(2, -1, -1)
    _, (final_LBH,) = one.encoder(x_TBD)
    torch.testing.assert_close(final_LBH, states[1])


@pytest.mark.parametrize("name", yaml_names("situation"))
def test_mixed_precision_reaches_the_products_and_nothing_else_is_entered(name: str) -> None:
    made = situation(name)
    for autocast in (None, torch.bfloat16):
        one = Layers(GRU, Loop(), SHAPE.hidden_size, SHAPE, replace(CPU, autocast=autocast))
        seen: list[torch.dtype] = []
        cell = next(module for module in one.model.modules() if isinstance(module, GRU))
        step = cell.step

        def noted(gx_BG: torch.Tensor, state: Any, step: Any = step, seen: Any = seen) -> Any:
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else gx_BG.dtype)
            return step(gx_BG, state)

        cell.step = noted  # type: ignore[method-assign]
        call = made.call(one)
        with made.mode():
            call()
            call()
        assert set(seen) == {autocast or torch.float32}
        assert not torch.is_autocast_enabled("cpu")


def test_layers_are_updated_as_the_trainer_does_it() -> None:
    one = subject()
    one.training_step()
    assert one.optimizer is not None
    assert one.optimizer.defaults["fused"]


def test_sizes_are_the_situations_own_unless_they_are_asked_for() -> None:
    assert situation("train").sizes(None, None) == [(100, 32)]
    assert situation("train").sizes([5, 6], [2]) == [(5, 2), (6, 2)]
    assert situation("stream").sizes(None, None) == [(1, 1), (1, 8)]
    assert situation("stream").sizes([100], [4]) == [(1, 4)]  # a step is a step
    lengths = [T for T, _ in situation("sequence").sizes(None, None)]
    assert (min(lengths), max(lengths)) == (1, 1000)


def test_both_directions_have_no_single_step() -> None:
    assert "bidirectional=false" in str(situation("stream").refusal(bidirectional=True))
    assert situation("batch").refusal(bidirectional=True) is None
    with pytest.raises(UserError, match="bidirectional"):
        subject(bidirectional=True).single_step()


def test_arithmetic_of_layers_counted_by_hand() -> None:
    T, B, D, H = 4, 3, 5, 6
    products = T * B * (3 * H * (D + H) + 3 * H * (H + H))
    assert subject().gflop(trains=False, single=False) == pytest.approx(2 * products / 1e9)
    assert subject().gflop(trains=True, single=False) == pytest.approx(6 * products / 1e9)
    assert subject().state_bytes == 2 * H * 4
