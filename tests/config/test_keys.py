"""The keys of a run: what changes them, and what must never change them."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NotRequired, TypedDict, Unpack

import pytest
from conftest import composed
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gru_bench.config.canonical import canonical, class_name
from gru_bench.config.check import Node, check, check_arguments
from gru_bench.config.keys import flatten, run_keys
from gru_bench.errors import UserError

CHOICES = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden"}


@dataclass(frozen=True, kw_only=True)
class Margin:
    width: float = 0.5
    unit: str = ""


class Old:
    """A class as it was released."""

    def __init__(self, *, units: int, rate: float = 0.1) -> None: ...


class New:
    """The same, one release later: with options that do nothing unless they are set."""

    def __init__(
        self,
        *,
        units: int,
        rate: float = 0.1,
        smoothing: float = 0.0,
        sizes: tuple[int, ...] = (1, 2),
        margin: Margin = Margin(),  # frozen
        extra: Any = None,
    ) -> None: ...


Place = Callable[[str, type], str]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Put a class into a made-up module under the name ``Thing``; gives its path."""

    def put(module: str, cls: type) -> str:
        made = ModuleType(module)
        made.Thing = cls  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module, made)
        return f"{module}.Thing"

    return put


def keys(**thing: Any) -> tuple[str, str]:
    return run_keys({"seed": 0, "hidden_size": 3, "cell": thing}, CHOICES, "data/1")


class Shared(TypedDict):
    units: int


class SharedLater(Shared):
    smoothing: NotRequired[int]


class Common:
    def __init__(self, *, units: int, smoothing: int = 0) -> None: ...


class Sharing(Common):
    def __init__(self, **common: Unpack[Shared]) -> None:
        super().__init__(**common)


class SharingLater(Common):
    def __init__(self, **common: Unpack[SharedLater]) -> None:
        super().__init__(**common)


def test_a_new_option_that_many_classes_share_changes_no_key(place: Place) -> None:
    old = keys(_target_=place("gru_bench.made_up", Sharing), units=7)
    place("gru_bench.made_up", SharingLater)
    target = "gru_bench.made_up.Thing"
    assert keys(_target_=target, units=7) == keys(_target_=target, units=7, smoothing=0) == old
    assert set(keys(_target_=target, units=7, smoothing=1)).isdisjoint(old)
    check_arguments(SharingLater, {"units": 7}, "", "Thing")
    check_arguments(SharingLater, {"units": 7, "smoothing": 1}, "", "Thing")
    with pytest.raises(UserError, match="smoothing='a'"):
        check_arguments(SharingLater, {"units": 7, "smoothing": "a"}, "", "Thing")


def test_a_new_option_with_a_neutral_default_changes_no_key(place: Place) -> None:
    old = keys(_target_=place("gru_bench.made_up", Old), units=7)
    place("gru_bench.made_up", New)
    target = "gru_bench.made_up.Thing"
    neutral = {"smoothing": 0, "sizes": [1, 2], "extra": None, "rate": 0.1}
    margin = {"_target_": f"{Margin.__module__}.Margin", "unit": ""}
    assert keys(_target_=target, units=7) == old
    assert keys(_target_=target, units=7, **neutral, margin=margin) == old


@pytest.mark.parametrize(
    "change",
    [
        {"units": 8},
        {"rate": 0.2},
        {"smoothing": 0.1},
        {"sizes": [1, 2, 3]},
        {"extra": False},
        {"margin": {"_target_": f"{Margin.__module__}.Margin", "width": 0.6}},
    ],
)
def test_a_value_that_is_not_the_default_changes_both_keys(place: Place, change: Node) -> None:
    target = place("gru_bench.made_up", New)
    assert set(keys(_target_=target, **({"units": 7} | change))).isdisjoint(keys(_target_=target, units=7))


def test_moving_a_class_of_ours_changes_no_key_and_moving_another_does(place: Place) -> None:
    ours = [keys(_target_=place(module, Old), units=7) for module in ("gru_bench.here", "gru_bench.there")]
    theirs = [keys(_target_=place(module, Old), units=7) for module in ("here", "there")]
    assert ours[0] == ours[1]
    assert len({*ours, *theirs}) == 3
    assert class_name("gru_bench.cells.gru.GRU") == "GRU"
    assert class_name("torch.optim.Adam") == "torch.optim.Adam"


def test_how_an_object_is_built_says_nothing(place: Place) -> None:
    target = place("gru_bench.made_up", Old)
    assert keys(_target_=target, _partial_=True, units=7) == keys(_target_=target, units=7)


def test_an_option_whose_default_cannot_be_compared_is_always_in_the_key(place: Place) -> None:
    class Opaque: ...

    class Thing:
        def __init__(self, *, part: Any = Opaque()) -> None: ...  # noqa: B008  # what is tested

    target = place("gru_bench.made_up", Thing)
    part = {"_target_": place("gru_bench.opaque", Opaque)}
    assert keys(_target_=target, part=part) != keys(_target_=target)


def test_a_default_is_compared_by_value_and_not_by_truth(place: Place) -> None:
    class Thing:
        def __init__(self, *, number: float = 1, flag: bool = True) -> None: ...

    target = place("gru_bench.made_up", Thing)
    assert keys(_target_=target, number=1.0, flag=True) == keys(_target_=target)
    assert keys(_target_=target, flag=1) != keys(_target_=target)
    assert keys(_target_=target, number=True) != keys(_target_=target)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(plain, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part))


@given(values)
def test_the_canonical_form_is_its_own_and_knows_no_tuples(value: Any) -> None:
    form = canonical(value)
    assert canonical(form) == form
    assert canonical((value, value)) == [form, form]


@given(st.dictionaries(st.sampled_from(["units", "rate", "smoothing", "extra"]), values), st.integers(0, 9))
def test_the_seed_is_in_one_key_alone_and_the_order_of_keys_in_none(arguments: Node, seed: int) -> None:
    def of(seed: int, given: Node) -> tuple[str, str]:
        return run_keys({"seed": seed, "cell": {"_target_": f"{__name__}.New"} | given}, CHOICES, "x")

    one, two = of(seed, arguments), of(seed + 1, dict(reversed(arguments.items())))
    assert one[0] != two[0]
    assert one[1] == two[1]


@dataclass(frozen=True)
class Nested:
    sizes: tuple[int, ...] = (1,)
    margin: Margin = field(default_factory=Margin)


def test_a_dataclass_is_the_node_that_would_build_it() -> None:
    target = f"{Margin.__module__}.Margin"
    assert canonical(Margin(width=2.0)) == canonical({"_target_": target, "width": 2, "unit": ""})
    assert canonical(Margin()) == {"_target_": target}
    assert canonical(Nested(sizes=(3,)))["sizes"] == [3]


@pytest.mark.usefixtures("hydra_conf")
def test_the_key_leaves_out_what_says_nothing_of_the_result() -> None:
    _, node = check(composed("cell=gru", "task=adding"))
    choices = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden", "experiment": "quick"}
    keys = run_keys(node, choices, "adding/1")
    assert keys == run_keys(copy.deepcopy(node), choices | {"experiment": "other"}, "adding/1")
    moved = copy.deepcopy(node)
    moved["tracking"]["uri"] = "sqlite:////elsewhere.db"
    moved["data"]["path"] = "/elsewhere"
    moved["task"]["goal"]["margin"] *= 2  # judges scores and changes none
    assert run_keys(moved, choices, "adding/1") == keys


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": 7}, {"trainer": {"learning_rate": 0.5}}, {"cell": {"init": "keras"}}, {"dtype": "float64"}],
)
@pytest.mark.usefixtures("hydra_conf")
def test_the_key_changes_with_what_changes_the_result(change: dict[str, Any]) -> None:
    _, node = check(composed("cell=gru", "task=adding"))
    choices = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden"}
    changed = OmegaConf.to_container(OmegaConf.merge(node, change))
    assert set(run_keys(changed, choices, "x")).isdisjoint(run_keys(node, choices, "x"))  # type: ignore[arg-type]
    assert set(run_keys(node, choices, "y")).isdisjoint(run_keys(node, choices, "x"))


@pytest.mark.usefixtures("hydra_conf")
def test_the_group_key_leaves_out_the_seed_alone() -> None:
    choices = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden"}
    one, two = (run_keys(check(composed("task=adding", f"seed={seed}"))[1], choices, "x") for seed in (1, 2))
    assert one[0] != two[0]
    assert one[1] == two[1]


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": {}}) == {"a.b": 1, "a.c": [1, 2], "d": {}}
    assert flatten({"a": {"very good!": 1, "no": 2}, "b": {1: 2}}) == {"a": {"very good!": 1, "no": 2}, "b": {1: 2}}


@pytest.mark.parametrize("task", ["sst2", "text_classification", "ud_pos", "sequence_tagging", "agreement"])
@pytest.mark.usefixtures("hydra_conf")
def test_classes_without_weights_leave_the_keys_of_runs_from_before_there_were_any(task: str) -> None:
    _, node = check(composed(f"task={task}", *(["data.path=x"] if "_" in task and task != "ud_pos" else [])))
    before = copy.deepcopy(node)
    assert before["task"].pop("class_weights") is None
    assert run_keys(before, CHOICES, "x") == run_keys(node, CHOICES, "x")
    weighted = copy.deepcopy(node)
    weighted["task"]["class_weights"] = "balanced"
    assert set(run_keys(weighted, CHOICES, "x")).isdisjoint(run_keys(node, CHOICES, "x"))


@pytest.mark.usefixtures("hydra_conf")
def test_what_is_kept_or_probed_changes_no_key() -> None:
    _, node = check(composed("task=adding"))
    _, other = check(composed("task=adding", "save=last", "probe=[context]"))
    assert other != node
    assert run_keys(other, CHOICES, "x") == run_keys(node, CHOICES, "x")


@pytest.mark.usefixtures("hydra_conf")
def test_naming_the_default_schedule_or_stopping_rule_changes_no_key() -> None:
    _, node = check(composed("task=adding"))
    bare = copy.deepcopy(node)
    for key in ("schedule", "stopping"):
        del bare["trainer"][key]
    bare["trainer"]["optimizer"] = {"_target_": "torch.optim.Adam", "_partial_": True}
    assert run_keys(bare, CHOICES, "x") == run_keys(node, CHOICES, "x")
    for override in ("schedule=plateau", "stopping=patience", "optimizer=sgd", "optimizer=adam_keras"):
        _, other = check(composed("task=adding", override))
        assert set(run_keys(other, CHOICES, "x")).isdisjoint(run_keys(node, CHOICES, "x"))
