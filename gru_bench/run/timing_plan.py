"""What ``gru-bench time`` is to measure: keys, grid and names turned into checked nodes, sizes and pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from hydra.utils import get_object
from omegaconf import OmegaConf

from gru_bench.backends.base import Backend
from gru_bench.config.check import Node, Settings, check_arguments, check_node, conf_dir, construct, to_node
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure import parity
from gru_bench.measure.threads import resolve_threads
from gru_bench.models.budgets import Budget
from gru_bench.models.encoder import MakeCell
from gru_bench.run import build
from gru_bench.timing.pairs import in_order
from gru_bench.timing.situations.base import Situation, Size, Sizes, as_list
from gru_bench.timing.subjects import Shape, sketch

FEWEST_ROUNDS = 30
"""Of a pair."""

Threads = Size | Literal["auto"]
Names = Annotated[list[str], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/time.yaml``."""

    cells: Names | str
    backends: Names | str
    steps: Sizes | None
    batch: Sizes | None
    inputs: Size | None
    hidden_size: Sizes
    num_layers: Size
    bidirectional: bool
    device: str
    dtype: Literal["float32", "float64", "bfloat16"]
    threads: Threads | list[Threads]
    rounds: Size
    seconds: Annotated[float, Gt(0)]
    block_ms: Annotated[float, Gt(0)]
    resident: bool
    wait: Annotated[float, Ge(0)]
    force: bool
    again: bool


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of a grid: lists that stand for the keys of the same names."""

    situation: Names | str | None = None
    steps: Sizes | None = None
    batch: Sizes | None = None
    inputs: Size | None = None
    hidden_size: Sizes | None = None
    num_layers: Size | None = None
    bidirectional: bool | None = None
    threads: Threads | list[Threads] | None = None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A yaml of ``conf/grid``."""

    blocks: Annotated[list[dict[str, Any]], MinLen(1)]


@dataclass(frozen=True)
class Choice:
    """A cell or a backend: its name, its checked node."""

    name: str
    node: Node


@dataclass(frozen=True)
class Asked:
    """All that was asked for, checked.

    Attributes:
        keys: The plain keys.
        situations: By name: the checked node and what it makes.
        cells: In their order.
        backends: As given.
        budget: Its name, and its checked node.
        sizes: Situations with their shapes, in the order of the grid.
    """

    keys: Keys
    situations: Mapping[str, tuple[Node, Situation]]
    cells: Sequence[Choice]
    backends: Sequence[Choice]
    budget: Choice
    place: build.Place
    sizes: Sequence[tuple[str, Shape]] = field(default_factory=list)


def ask(node: Node, budget: str, folders: Sequence[Path], given: Sequence[str] = ()) -> Asked:
    """Check a composed config.

    Args:
        node: ``conf/time.yaml``, resolved.
        budget: Name of the budget's yaml.
        folders: Where yaml files of cells and backends are looked for.
        given: Keys that the command line sets: a grid must not set them to something else.

    Raises:
        UserError: A key or value that does not fit, an unknown name, or a device that is not here.
    """
    rest = ("situations", "budget", "tracking", "grid", "select", "hydra")
    check_arguments(Keys, {key: value for key, value in node.items() if key not in rest}, "", "gru-bench time")
    keys = Keys(**{key: value for key, value in node.items() if key not in rest})
    if keys.rounds < FEWEST_ROUNDS:
        raise UserError(f"rounds={keys.rounds}: too few for gaps of some per cent; valid: {FEWEST_ROUNDS} or more")
    situations = {}
    for name, part in (node.get("situations") or {}).items():
        check_node(part, f"situations.{name}")
        situations[name] = (part, construct(part))
    if not situations:
        names = ", ".join(sorted(path.stem for path in (conf_dir() / "situation").glob("*.yaml")))
        raise UserError(f"situation=[]: none is chosen; valid: one or several of {names}, as situation=[NAME,NAME]")
    check_node(node["budget"], "budget")
    cells = [chosen("cell", name, folders) for name in as_names(keys.cells)]
    backends = [chosen("backend", name, folders) for name in as_names(keys.backends)]
    families = {one.name: str(get_object(one.node["_target_"]).family) for one in cells}
    by_name = {one.name: one for one in cells}
    cells = [by_name[name] for name in in_order(by_name, families)]
    if len(cells) == 1 and len(backends) == 1:
        raise UserError(
            f"cells=[{cells[0].name}], backends=[{backends[0].name}]: one of each makes no pair; valid: two or more "
            "cells, or two or more backends"
        )
    place = build.make_place(settings_of(keys))
    sizes = sizes_of(keys, node.get("grid"), situations, given)
    return Asked(keys, situations, cells, backends, Choice(budget, node["budget"]), place, sizes)


def as_names(names: str | Sequence[str]) -> list[str]:
    """One name or several, without repetitions."""
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def chosen(group: str, name: str, folders: Sequence[Path]) -> Choice:
    """A yaml of a group, checked.

    Raises:
        UserError: There is none of that name (lists those that there are), or it does not fit.
    """
    for folder in folders:
        path = folder / group / f"{name}.yaml"
        if path.is_file():
            node = to_node(OmegaConf.load(path))  # type: ignore[arg-type]  # these files hold mappings
            check_node(node, group)
            return Choice(name, node)
    names = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
    raise UserError(f"{group}s: no {group} {name!r}; valid: {', '.join(names)}")


def settings_of(keys: Keys) -> Settings:
    """What :func:`gru_bench.run.build.make_place` asks for."""
    return Settings(seed=0, hidden_size=1, num_layers=1, device=keys.device, dtype=keys.dtype, threads="auto")


def sizes_of(
    keys: Keys, grid: Node | None, situations: Mapping[str, tuple[Node, Situation]], given: Sequence[str]
) -> list[tuple[str, Shape]]:
    """Each situation with each of its shapes, once, in the order of the grid.

    Raises:
        UserError: The grid is not one, or the command line sets a key that the grid sets too.
    """
    if grid is None:
        return list(dict.fromkeys(block_sizes(keys, Block(), situations)))
    check_arguments(Grid, grid, "grid.", "a grid")
    found: dict[tuple[str, Shape], None] = {}
    for number, part in enumerate(grid["blocks"]):
        check_arguments(Block, part, f"grid.blocks[{number}].", "a block of a grid")
        twice = sorted(set(part) & set(given) - {"situation"})
        if twice:
            raise UserError(f"{twice[0]}: the grid sets it too (block {number + 1}); valid: without the grid")
        found |= dict.fromkeys(block_sizes(keys, Block(**part), situations))
    if not found:
        raise UserError(f"grid: it has nothing for the situations chosen: {', '.join(situations)}")
    return list(found)


def block_sizes(keys: Keys, block: Block, situations: Mapping[str, tuple[Node, Situation]]) -> list[tuple[str, Shape]]:
    """All combinations of one block, in which the keys stand for what it does not name."""

    def either(name: str) -> Any:
        value = getattr(block, name)
        return getattr(keys, name) if value is None else value

    wanted = list(situations) if block.situation is None else as_names(block.situation)
    threads = either("threads")
    numbers = dict.fromkeys(resolve_threads(one, 1) for one in (threads if isinstance(threads, list) else [threads]))
    found = []
    for name in wanted:
        if name not in situations:
            continue  # the command line chose fewer than the grid has
        steps, batch = (None if either(key) is None else as_list(either(key)) for key in ("steps", "batch"))
        for number, hidden, (T, B) in product(
            numbers, as_list(either("hidden_size")), situations[name][1].sizes(steps, batch)
        ):
            shape = Shape(
                steps=T,
                batch=B,
                inputs=either("inputs") or hidden,
                hidden_size=hidden,
                num_layers=either("num_layers"),
                bidirectional=either("bidirectional"),
                threads=number,
            )
            found.append((name, shape))
    return found


def refusals(asked: Asked) -> dict[tuple[str, str], str]:
    """Why some cells cannot be timed on some backends, by cell and backend: not run, or a red parity.

    Raises:
        UserError: None can, with the reason of the first.
    """
    found: dict[tuple[str, str], str] = {}
    mixed = asked.place.autocast is not None
    before = torch.get_num_threads()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # as where it is timed
    for cell, backend in product(asked.cells, asked.backends):
        make_cell, made = maker(cell), backend_of(backend)
        try:
            build.check_backend(make_cell, made, asked.place)
            found_here = parity.check(
                make_cell, made, asked.place.device, asked.place.dtype, quick=True, autocast=mixed
            )
            found_here.require(backend.name, cell.name)
        except Unsupported as error:
            found[cell.name, backend.name] = str(error)
    torch.set_num_threads(before)
    if len(found) == len(asked.cells) * len(asked.backends):
        raise UserError(next(iter(found.values())))
    return found


def maker(cell: Choice) -> MakeCell:
    """What makes that cell."""
    make: MakeCell = construct(cell.node | {"_partial_": True})
    return make


def backend_of(backend: Choice) -> Backend:
    """The backend itself."""
    made: Backend = construct(backend.node)
    return made


def hidden_sizes(asked: Asked, shape: Shape) -> dict[str, int]:
    """The hidden size that the budget gives each cell at a shape."""
    budget: Budget = construct(asked.budget.node)

    def count(make_cell: MakeCell, hidden_size: int) -> int:
        return budget.count(sketch(make_cell, hidden_size, shape))

    return {cell.name: budget.solve(shape.hidden_size, maker(cell), count) for cell in asked.cells}
