"""A session that was stopped after any step and goes on in another process ends as if nothing had happened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed, yaml_names
from fakes import Clock, Line, Weight, make_trainer
from made_tasks import loaded
from torch import nn

from gru_bench.backends.base import Backend
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.config.check import check, construct
from gru_bench.run.build import ModelBuilder, Place, dropout_seed, make_cell
from gru_bench.tasks.base import Task
from gru_bench.training.checkpoint import Damaged, Keeper, State, read, write
from gru_bench.training.fit import Event, Fit
from gru_bench.training.trainer import Trainer

ALIKE = (
    *("ag_news", "imdb", "rotten_tomatoes", "sst2", "sst5", "trec"),  # as text_classification
    *("ptb", "wikitext2", "wikitext2_small", "agreement"),  # as language_modeling
    *("conll2000", "ud_pos", "multi30k_de", "multi30k_fr", "dyck1", "anbn", "tiny_shakespeare"),
    # as word_problem
    *("cycle_navigation", "delayed_recall", "even_pairs", "modular_arithmetic", "noisy_recall", "parity"),
    "selective_copy",
)
"""Tasks whose training data comes from the same code as another one's."""


class Stopped(BaseException):
    """The process is gone."""


class AtStep(Keeper):
    """Keeps a checkpoint after one step, or while it evaluates after it, and ends; or goes on from one."""

    def __init__(self, path: Path, step: int | None = None, *, inside: bool = False) -> None:
        self.path, self.step, self.inside = path, step, inside
        self.heard: list[str] = []

    def load(self) -> State | None:
        return read(self.path) if self.step is None else None

    def refused(self, why: str) -> None:
        self.heard.append(why)

    def goes_on(self) -> None:
        self.heard.append("goes on")

    @contextmanager
    def interruptible(self, state: Callable[[], State], /) -> Iterator[None]:
        yield
        if self.inside:
            self.stop_at(state()["fit"]["steps"], state)

    def after_step(self, step: int, state: Callable[[], State], /) -> None:
        if not self.inside:
            self.stop_at(step, state)

    def stop_at(self, step: int, state: Callable[[], State]) -> None:
        if self.step is not None and step >= self.step:
            write(self.path, state())
            raise Stopped


@dataclass
class Ended:
    """What training left behind."""

    weights: dict[str, torch.Tensor]
    fit: Fit
    events: list[tuple[Any, ...]]

    def assert_equal(self, other: "Ended", *, timed: bool = False) -> None:
        assert self.weights.keys() == other.weights.keys()
        for name, value in self.weights.items():
            assert torch.equal(value, other.weights[name]), name
        for name in ("steps", "epochs", "best_step", "stopped", "step_tokens", "step_examples"):
            assert getattr(self.fit, name) == getattr(other.fit, name), name
        assert len(self.fit.step_seconds) == len(other.fit.step_seconds) == self.fit.steps
        assert self.fit.valid is not None
        assert other.fit.valid is not None
        assert self.fit.valid.metrics == other.fit.valid.metrics
        assert self.events == other.events
        if timed:
            assert self.fit.step_seconds == other.fit.step_seconds


Run = Callable[[Keeper | None], Ended]


def run_of(make: Callable[[], tuple[Trainer, nn.Module, Task]], clock: float | None = None) -> Run:
    """Trains a fresh model each time it is called; events of a run that was stopped are those of the next one too."""
    before: list[tuple[Any, ...]] = []

    def run(keeper: Keeper | None) -> Ended:
        trainer, model, task = make()
        events = list(before) if isinstance(keeper, AtStep) and keeper.step is None else []

        def hook(event: Event) -> None:
            events.append((event.kind, event.step, event.scores and event.scores.metrics, event.train_loss))

        fit = Fit()
        try:
            generator = torch.Generator().manual_seed(3)
            trainer.fit(model, task, generator, Clock(clock), hooks=(hook,), result=fit, keeper=keeper)
        except Stopped:
            before[:] = events
        return Ended({name: value.clone() for name, value in model.state_dict().items()}, fit, events)

    return run


def check_resumed(run: Run, path: Path, *steps: int, inside: bool = False, timed: bool = False) -> Ended:
    """Hold a run against one that was stopped after these steps, one after the other."""
    whole = run(None)
    assert whole.fit.steps >= max(steps)
    for step in steps:
        run(AtStep(path, step, inside=inside))
        torch.rand(7)  # another process has another state
        keeper = AtStep(path)
        run(keeper).assert_equal(whole, timed=timed)
        assert keeper.heard == ["goes on"]
    return whole


class Noisy(nn.Module):
    """As :class:`Weight`, with dropout: draws from torch's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.w * x, 0.3, self.training) + self.b.mean()


def lines(model: Callable[[], nn.Module] = Noisy, num_batches: int | None = 10, **options: Any) -> Run:
    """Runs of the small stand-in of a task."""

    def make() -> tuple[Trainer, nn.Module, Task]:
        torch.manual_seed(1)
        return (
            make_trainer(**({"learning_rate": 0.05, "diverged_above": 1e9} | options)),
            model(),
            Line(num_batches=num_batches),
        )

    return run_of(make, clock=0.1)


def part(group: str, name: str) -> Any:
    """An optimizer, a schedule or a stopping rule as its yaml has it."""
    return construct(composed(f"{group}={name}").trainer[group])


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize("name", yaml_names("optimizer"))
def test_with_every_optimizer(name: str, tmp_path: Path) -> None:
    run = lines(max_steps=23, eval_every=5, optimizer=part("optimizer", name))
    check_resumed(run, tmp_path / "one", 1, 12, timed=True)


@pytest.mark.usefixtures("hydra_conf")
def test_with_momentum(tmp_path: Path) -> None:
    made = construct(composed("optimizer=sgd", "trainer.optimizer.momentum=0.9").trainer.optimizer)
    check_resumed(lines(max_steps=23, eval_every=5, optimizer=made), tmp_path / "one", 7)


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize("name", yaml_names("schedule"))
def test_with_every_schedule(name: str, tmp_path: Path) -> None:
    run = lines(max_steps=37, eval_every=4, schedule=part("schedule", name), learning_rate=0.3)
    check_resumed(run, tmp_path / "one", 4, 10, 21)


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize("name", yaml_names("stopping"))
def test_with_every_stopping_rule(name: str, tmp_path: Path) -> None:
    # more than a rule waits for: it ends some of these runs
    run = lines(max_steps=150, eval_every=4, stopping=part("stopping", name), learning_rate=0.3)
    whole = run(None)
    check_resumed(run, tmp_path / "one", 4, whole.fit.steps - 1, whole.fit.steps)


@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_epochs": 3, "eval_every": 4}, {"max_seconds": 2.5}])
def test_with_limits_of_epochs_and_seconds(limits: dict[str, Any], tmp_path: Path) -> None:
    run = lines(**limits)
    # the last of an epoch, the first of the next, and the last of all
    check_resumed(run, tmp_path / "one", 5, 10, 11, run(None).fit.steps, timed=True)


def test_an_endless_stream_and_losses_that_are_not_read_yet(tmp_path: Path) -> None:
    check_resumed(lines(num_batches=None, max_steps=90), tmp_path / "one", 39, 41, 90)


def test_stopped_while_it_evaluates_or_shows_its_progress(tmp_path: Path) -> None:
    every: list[dict[str, Any]] = [{"max_steps": 30, "eval_every": 6}, {"max_epochs": 3}, {"max_steps": 33}]
    for limits in every:
        check_resumed(lines(**limits), tmp_path / "one", 6, 10, 20, 30, inside=True)


def test_stopped_again_and_again(tmp_path: Path) -> None:
    run, path = lines(max_epochs=4, eval_every=7), tmp_path / "one"
    whole = run(None)

    class Next(AtStep):
        """Goes on and stops again."""

        def load(self) -> State | None:
            return read(self.path) if self.path.exists() else None

    for step in (3, 10, 11, 24, 40):
        run(Next(path, step))
        assert read(path)["fit"]["steps"] == step
    ended = run(AtStep(path))
    ended.events = whole.events  # the helper knows those of one process before
    ended.assert_equal(whole, timed=True)


def test_other_training_data_is_refused_and_training_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "one"
    lines(max_steps=23)(AtStep(path, 14))  # four batches of the second pass
    keeper, run = AtStep(path), lines(max_steps=23, num_batches=3)
    ended = run(keeper)
    assert keeper.heard == ["its training data was another"]
    ended.assert_equal(run(None))


@pytest.mark.usefixtures("hydra_conf", "own_caches")
@pytest.mark.parametrize("name", [name for name in yaml_names("task") if name not in ALIKE])
def test_on_every_task(name: str, tmp_path: Path) -> None:
    task, node = loaded(name, tmp_path, small=True)
    check_resumed(trained(task, node, Vendor()), tmp_path / "one", 4)


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize(
    ("cell", "backend", "dtype"),
    [
        pytest.param("gru", Loop(), torch.float32, id="loop"),
        pytest.param("lstm_layer_norm", Loop(), torch.float32, id="loop_layer_norm"),
        pytest.param("gru", BPTT(), torch.float32, id="bptt"),
        pytest.param("lstm", Vendor(), torch.float32, id="vendor"),
        pytest.param("gru", Vendor(), torch.bfloat16, id="vendor_bfloat16"),
    ],
)
def test_on_every_backend_with_layers_and_dropout(
    cell: str, backend: Backend, dtype: torch.dtype, tmp_path: Path
) -> None:
    task, node = loaded("number_translation", tmp_path, small=True)
    _, chosen = check(composed(f"cell={cell}"))
    node = node | {"cell": chosen["cell"], "num_layers": 2, "model": node["model"] | {"dropout": 0.3}}
    check_resumed(trained(task, node, backend, dtype), tmp_path / "one", 3)


def trained(task: Task, node: Any, backend: Backend, dtype: torch.dtype = torch.float32) -> Run:
    """Runs of a small model of any task."""
    place = Place(torch.device("cpu"), dtype)

    def make() -> tuple[Trainer, nn.Module, Task]:
        torch.manual_seed(dropout_seed(0))
        model = ModelBuilder(node, task.sizes(), place).build(make_cell(node), backend, 8, seed=0)
        limits = {"max_steps": 7, "max_epochs": None, "max_seconds": None, "eval_every": 3}
        return construct(node["trainer"] | limits, place.autocast), model, task

    return run_of(make)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "pickle"])
def test_a_damaged_file_is_no_checkpoint(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "one"
    write(path, {"weights": torch.arange(1000.0), "text": "ü"})
    assert torch.equal(read(path)["weights"], torch.arange(1000.0))
    whole = bytearray(path.read_bytes())
    if damage == "cut":
        del whole[len(whole) // 2 :]
    elif damage == "flipped":
        whole[len(whole) // 2] ^= 1
    elif damage == "empty":
        whole.clear()
    elif damage == "other":
        whole[:4] = b"what"
    else:
        torch.save({"code": Weight()}, path)
        whole = bytearray(path.read_bytes())
    path.write_bytes(whole)
    with pytest.raises(Damaged):
        read(path)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "one"
    write(path, {"code": Weight()})  # whole, but a pickled class
    with pytest.raises(Damaged, match="unreadable"):
        read(path)
