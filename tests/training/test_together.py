"""Sessions that take their steps together end bitwise as each does alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from fakes import Clock
from made_tasks import loaded
from torch import nn

from gru_bench.backends.native.build import CannotBuild, library
from gru_bench.config.check import check, construct
from gru_bench.errors import Diverged
from gru_bench.run.build import ModelBuilder, Place, data_seed, make_cell
from gru_bench.tasks.base import Task
from gru_bench.training.checkpoint import Keeper, State, read, write
from gru_bench.training.fit import Event
from gru_bench.training.together import Part, fit_together, refusal


def has_native() -> bool:
    try:
        library()
    except CannotBuild:
        return False
    return True


pytestmark = [
    pytest.mark.skipif(not has_native(), reason="no native code on this machine"),
    pytest.mark.usefixtures("hydra_conf", "own_caches"),
]

LIMITS: dict[str, Any] = {"max_steps": 9, "max_epochs": None, "max_seconds": None, "eval_every": 3}


@dataclass
class Case:
    """Parts of one problem, as often as they are asked for."""

    task: Task
    node: Any
    limits: dict[str, Any] = field(default_factory=dict)
    trainers: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: dict[int, list[Any]] = field(default_factory=dict)

    def part(
        self,
        seed: int,
        keeper: Keeper | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        hidden_size: int = 10,
    ) -> Part:
        place = Place(torch.device("cpu"), dtype)
        builder = ModelBuilder(self.node, self.task.sizes(), place)
        model = builder.build(make_cell(self.node), construct(self.node["backend"]), hidden_size, seed)
        options = self.node["trainer"] | LIMITS | self.limits | self.trainers.get(seed, {})
        heard = self.events[seed] = []

        def hook(event: Event) -> None:
            heard.append((event.kind, event.step, event.scores and event.scores.metrics, event.train_loss))

        generator = torch.Generator().manual_seed(data_seed(seed))
        trainer = construct(options, place.autocast)
        return Part(trainer, model, self.task, generator, Clock(0.3), (hook,), keeper=keeper)

    def check(self, *seeds: int, **options: Any) -> list[Part]:
        """Train seeds together and hold each against what it is alone."""
        together = [self.part(seed, **options) for seed in seeds]
        assert refusal(together) is None
        errors = fit_together(together)
        heard = dict(self.events)
        for seed, part, error in zip(seeds, together, errors, strict=True):
            alone = self.part(seed, **options)
            found: Exception | None = None
            try:
                alone.fit()
            except Diverged as problem:
                found = problem
            assert repr(error) == repr(found)
            assert_equal(part, alone)
            assert heard[seed] == self.events[seed]
            assert part.result.together == len(seeds)
        return together


def assert_equal(one: Part, other: Part) -> None:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    for name, value in ours.items():
        assert torch.equal(value.nan_to_num(7.0), theirs[name].nan_to_num(7.0)), name
    for name in ("steps", "epochs", "best_step", "stopped", "step_tokens", "step_examples"):
        assert getattr(one.result, name) == getattr(other.result, name), name
    assert (one.result.valid and one.result.valid.metrics) == (other.result.valid and other.result.valid.metrics)
    if one.result.stopped:
        scores = [part.trainer.evaluate(part.model, part.task, "test") for part in (one, other)]
        assert scores[0].metrics == scores[1].metrics


def case(name: str, folder: Path, *overrides: str, **limits: Any) -> Case:
    task, node = loaded(name, folder, small=True)
    if overrides:
        _, changed = check(composed(f"task={name}", "backend=bptt", *overrides))
        node = node | {key: changed[key] for key in ("cell", "model", "trainer")}
    node = node | {"backend": check(composed("backend=bptt"))[1]["backend"]}
    return Case(task, node, limits)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("adding", "gru"),
        ("adding", "lstm"),
        ("sentiment", "gru"),
        ("sentiment", "rnn"),
        ("selective_copy", "mgu"),
        ("language_modeling_char", "lstm"),
    ],
)
def test_bitwise_as_alone(name: str, cell: str, tmp_path: Path) -> None:
    case(name, tmp_path, f"cell={cell}").check(0, 1, 2)


@pytest.mark.parametrize(("optimizer", "schedule"), [("sgd", "plateau"), ("rmsprop", "decay"), ("adamw", "cosine")])
def test_with_optimizers_and_schedules(optimizer: str, schedule: str, tmp_path: Path) -> None:
    made = case("adding", tmp_path, f"optimizer={optimizer}", f"schedule={schedule}")
    # with an evaluation a step, a plateau comes at other steps for each seed
    every = 1 if schedule == "plateau" else 3
    if schedule == "plateau":
        made.node["trainer"]["schedule"] |= {"evaluations": 1}
    made.limits = {"eval_every": every, "learning_rate": 0.3 if schedule == "plateau" else 0.05}
    made.check(0, 1, 2)


@pytest.mark.parametrize("clip_norm", [None, 0.05, 0.6])
def test_each_gradient_is_clipped_by_its_own_norm(clip_norm: float | None, tmp_path: Path) -> None:
    case("adding", tmp_path, clip_norm=clip_norm, learning_rate=0.02).check(0, 1, 2)


def test_attention_dense_layers_and_one_hot_tokens(tmp_path: Path) -> None:
    overrides = ("model.pooling=attention", "model.dense=[6]", "model.embedding_size=null")
    case("sentiment", tmp_path, *overrides).check(3, 4)


def test_a_tied_language_model_in_double_precision(tmp_path: Path) -> None:
    case("language_modeling_char", tmp_path, "model.tied=true").check(0, 1, dtype=torch.float64)


def test_each_stops_by_itself(tmp_path: Path) -> None:
    made = case("adding", tmp_path)
    made.trainers = {seed: {"max_steps": steps} for seed, steps in ((0, 4), (1, 12), (2, 7), (3, 12))}
    parts = made.check(0, 1, 2, 3)
    assert [part.result.steps for part in parts] == [4, 12, 7, 12]


def test_by_a_stopping_rule(tmp_path: Path) -> None:
    made = case("adding", tmp_path, "stopping=patience", "trainer.stopping.steps=0")
    made.limits = {"max_steps": 60, "eval_every": 2, "learning_rate": 0.05}
    parts = made.check(*range(5))
    assert len({part.result.steps for part in parts}) > 1
    assert all("max_steps" not in part.result.stopped for part in parts)


def test_over_epochs_of_unequal_batches(tmp_path: Path) -> None:
    parts = case("sentiment", tmp_path, max_steps=None, max_epochs=3, eval_every=None).check(0, 1)
    assert [part.result.epochs for part in parts] == [3, 3]


def test_one_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    made = case("adding", tmp_path, max_steps=25)
    made.trainers = {1: {"learning_rate": 1e4}}
    parts = made.check(0, 1, 2)
    assert [bool(part.result.stopped) for part in parts] == [True, False, True]


def test_an_error_in_one_loss_leaves_the_others_alone(tmp_path: Path) -> None:
    made, heard = case("adding", tmp_path), []
    parts = [made.part(seed) for seed in range(3)]
    real = made.task.loss

    def loss(model: nn.Module, batch: Any, carry: Any) -> Any:
        heard.append(model)
        if len(heard) == 11:  # the fourth step of the second
            raise ValueError("lost")
        return real(model, batch, carry)

    made.task.loss = loss  # type: ignore[method-assign]
    errors = fit_together(parts)
    del made.task.loss
    assert [repr(error) for error in errors] == ["None", "ValueError('lost')", "None"]
    assert [part.result.steps for part in parts] == [9, 3, 9]
    assert [len(part.result.step_seconds) for part in parts] == [9, 3, 9]
    for seed in (0, 2):
        alone = made.part(seed)
        alone.fit()
        assert_equal(parts[seed], alone)


def test_seconds_are_shared_out_equally(tmp_path: Path) -> None:
    made = case("adding", tmp_path)
    made.trainers = {0: {"max_steps": 4}}
    parts = [made.part(seed) for seed in range(3)]
    fit_together(parts)
    assert parts[0].result.step_seconds == pytest.approx([0.1] * 4)
    for part in parts[1:]:
        assert part.result.step_seconds == pytest.approx([0.1] * 4 + [0.15] * 5)


class Stop(Keeper):
    """Asks all to end after a step, as a signal does: whoever looks after that keeps a checkpoint and leaves."""

    came = False

    def __init__(self, path: Path, step: int | None = None, *, caller: bool = False, goes_on: bool = False) -> None:
        self.path, self.step, self.caller, self.again = path, step, caller, goes_on
        self.whole = self.left = 0

    def load(self) -> State | None:
        return read(self.path) if self.again else None

    @contextmanager
    def whole_steps(self) -> Iterator[None]:
        self.whole += 1
        try:
            yield
        finally:
            self.left += 1

    def after_step(self, step: int, state: Callable[[], State], /) -> None:
        if self.caller and step == self.step:
            Stop.came = True
        if Stop.came:
            write(self.path, state())
            raise KeyboardInterrupt(f"at step {state()['fit']['steps']}")


@pytest.mark.parametrize(
    ("name", "caller"), [("adding", 0), ("adding", 1), ("adding", 2), ("language_modeling_char", 1)]
)
def test_all_keep_a_checkpoint_when_asked_to_end_and_go_on_from_it(name: str, caller: int, tmp_path: Path) -> None:
    made, seeds = case(name, tmp_path), range(3)
    paths = [tmp_path / f"{seed}.pt" for seed in seeds]
    keepers = [Stop(paths[seed], 5, caller=seed == caller) for seed in seeds]
    try:
        errors = fit_together([made.part(seed, keepers[seed]) for seed in seeds])
    finally:
        Stop.came = False
    # those that had looked before it came take one more step
    assert [repr(error) for error in errors] == [
        f"KeyboardInterrupt('at step {6 if seed < caller else 5}')" for seed in seeds
    ]
    # signals are put off once for all, and not after the end
    assert [(keeper.whole, keeper.left) for keeper in keepers] == [(1, 1), (0, 0), (0, 0)]
    going_on = [made.part(seed, Stop(paths[seed], goes_on=True)) for seed in seeds]
    assert fit_together(going_on) == [None] * 3
    alone_again = made.part(0, Stop(paths[0], goes_on=True))
    alone_again.fit()
    for part, seed in [*zip(going_on, seeds, strict=True), (alone_again, 0)]:
        whole = made.part(seed)
        whole.fit()
        assert_equal(part, whole)


def test_what_cannot_go_together_says_why(tmp_path: Path) -> None:
    made = case("sentiment", tmp_path)
    node = made.node

    def why(**changes: Any) -> str:
        made.node = node | {name: node[name] | change for name, change in changes.items()}
        found = refusal([made.part(1)])
        made.node = node
        return str(found)

    one, other = made.part(0), made.part(1)
    assert refusal([one, other]) is None
    other.trainer.clip_norm = 0.5
    assert refusal([one, other]) == "their trainers are not alike"
    assert refusal([one, made.part(1, hidden_size=11)]) == "their models are not alike"
    assert "dropout" in why(model={"dropout": 0.1})
    assert why(model={"bidirectional": True}) == "more than one layer or direction"
    assert "backend=bptt" in why(backend={"native": "never"})
    assert "chunk=4" in why(backend={"chunk": 4})
    assert "hidden_size=65" in str(refusal([made.part(0, hidden_size=65)]))
    assert "mixed precision" in str(refusal([made.part(0, dtype=torch.bfloat16)]))
    made.limits = {"max_seconds": 5.0}
    assert "max_seconds" in str(refusal([made.part(0)]))


def test_a_task_with_a_loss_of_its_own_is_refused(tmp_path: Path) -> None:
    made = case("adding", tmp_path)

    class Own(type(made.task)):  # type: ignore[misc]
        def loss(self, model: nn.Module, batch: Any, carry: Any) -> Any:
            return super().loss(model, batch, carry)

    part = made.part(0)
    part.task.__class__ = Own
    assert refusal([part]) == "task Own has a loss of its own"
