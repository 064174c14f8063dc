"""The look at memory before a run: what cannot fit is refused before it is made, what fits is not."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import composed
from runs import TINY

from gru_bench.config.check import check
from gru_bench.errors import UserError
from gru_bench.measure import room
from gru_bench.run import fits
from gru_bench.run.build import make_place, make_task
from gru_bench.run.fits import Part, check_data, check_model, check_steps, refuse, shown

pytestmark = pytest.mark.usefixtures("hydra_conf")


def look(*overrides: str) -> None:
    """Both checks, as a run makes them."""
    settings, node = check(composed(*TINY, "trainer.max_steps=1", *overrides))
    task, place = make_task(node), make_place(settings)
    check_data(task, node, settings, place)
    task.load()
    check_model(task, node, settings, place)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("task.batch_size=1000000000000", "task.batch_size"),
        ("task.batch_size=1000000000000000000000000", "task.batch_size"),
        ("task.lengths=[1000000000000]", "task.lengths"),
        ("task.num_eval=1000000000000000", "task.num_eval"),
        ("hidden_size=10000000", "hidden_size"),
        ("num_layers=1000000000000", "num_layers"),
        ("model.dense=[100000000000]", "the model and its optimizer"),
    ],
)
def test_what_cannot_fit_is_refused_with_its_keys_before_it_is_made(override: str, named: str) -> None:
    with pytest.raises(UserError, match=r"of memory free; valid: smaller values") as refused:
        look(override)
    assert named in str(refused.value)


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of this size takes some 100 kB, which the profiler's measure of a real step would confirm."""
    monkeypatch.setattr(fits, "room", lambda _: 20_000)
    look()


def test_no_estimate_is_above_what_a_step_really_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from gru_bench.config.check import construct
    from gru_bench.run.build import ModelBuilder, make_cell
    from gru_bench.run.preflight import largest_batch, memory_of_a_step
    from gru_bench.training.trainer import Trainer

    counted: list[int] = []
    monkeypatch.setattr(fits, "refuse", lambda parts, _: counted.append(sum(part.nbytes for part in parts)))
    for overrides in (("cell=rnn", "hidden_size=64"), ("num_layers=3",), ("task.batch_size=256", "task.lengths=[20]")):
        settings, node = check(composed(*TINY, "trainer.max_steps=1", *overrides))
        task, place = make_task(node), make_place(settings)
        task.load()
        check_model(task, node, settings, place)
        trainer: Trainer = construct(node["trainer"], None)
        model = ModelBuilder(node, task.sizes(), place).build(
            make_cell(node), construct(node["backend"]), settings.hidden_size, 0
        )
        split = memory_of_a_step(model, trainer, task, largest_batch(task))
        assert 0.1 * split.peak < counted.pop() <= split.peak


def test_many_layers_are_counted_from_two() -> None:
    settings, node = check(composed(*TINY, "trainer.max_steps=1", "num_layers=5"))
    task, place = make_task(node), make_place(settings)
    builder = fits.ModelBuilder(node, task.sizes(), place)
    exact = fits.num_parameters(builder.sketch(fits.make_cell(node), settings.hidden_size))
    assert fits.parameters(node, settings, task, place) == exact


def test_the_parts_that_alone_are_too_much_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "room", lambda _: 10 * 2**30)
    place = make_place(SimpleNamespace(device="cpu", dtype="float32"))  # type: ignore[arg-type]
    one, other = Part("one thing", 2**40, ("a", "b")), Part("another", 2**30, ("c",))
    with pytest.raises(UserError, match=r"^a, b: at least 1\.0 TiB for one thing, and this machine has 10\.0 GiB"):
        refuse([one, other], place)
    half = Part("one thing", 6 * 2**30, ("a",))
    with pytest.raises(UserError, match=r"^a: at least 12\.0 GiB for one thing and one thing"):
        refuse([half, half], place)
    refuse([other, other], place)
    assert shown(3 * 2**29) == "1.5 GiB"


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_control_group_counts(tmp_path: Path, version: int) -> None:
    mount, own = tmp_path / "mount", tmp_path / "own"
    root = mount if version == 2 else mount / "memory"
    group = root / "box" / "inner"
    group.mkdir(parents=True)
    own.write_text("0::/box/inner\n" if version == 2 else "3:cpu,cpuacct:/other\n4:memory:/box/inner\n")
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for folder, limit, used in (
        (root / "box", "1000", "700"),
        (group, "max" if version == 2 else str(2**63 - 4096), "5"),
    ):
        (folder / names[0]).write_text(limit)
        (folder / names[1]).write_text(used)
        (folder / "memory.stat").write_text("inactive_file 50\ntotal_inactive_file 50\n")
    assert room.group_room(mount, own) == 1000 - 700 + 50
    assert room.group_room(mount, tmp_path / "absent") is None


def test_several_runs_at_once_need_the_memory_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, node = check(composed(*TINY, "trainer.max_steps=1"))
    task, place = make_task(node), make_place(settings)
    task.load()
    alone = 5 * 8 * 6 * 2 * 4  # steps, sequences, units, outputs and a gradient, bytes
    monkeypatch.setattr(fits, "room", lambda _: 3 * alone)
    check_steps(3, task, node, settings, place)
    with pytest.raises(UserError, match=r"^seeds_in_batch, task\.batch_size.* for 4 training batches at once"):
        check_steps(4, task, node, settings, place)
