"""The doctor's table: each cell on each backend, with the kernel that runs and how far it is from the reference."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from gru_bench.backends.base import Backend
from gru_bench.config.check import Node, check_node, conf_dir, construct, first_line, to_node
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure import parity
from gru_bench.measure.kernel import kernel_name
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.models.streams import Streams
from gru_bench.run.build import Place

COLUMN = 36
"""Characters of one floating type's column."""


@dataclass(frozen=True)
class Shape:
    """T steps, B sequences, H hidden units and as many input features."""

    T: int
    B: int
    H: int

    def __str__(self) -> str:
        return f"{self.T}x{self.B}x{self.H}"


@dataclass(frozen=True)
class Entry:
    """What the table shows for one cell on one backend in one floating type, and its note below the table."""

    text: str
    color: str
    note: str = ""


def read_shapes(asked: str | int | list[str | int]) -> list[Shape]:
    """``100x32x128``, or a list of such.

    Raises:
        UserError: Something else, or a zero.
    """
    shapes = []
    for text in map(str, asked if isinstance(asked, list) else [asked]):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){2}", text):
            raise UserError(f"shape={text}: must be TxBxH, three whole numbers from 1, such as 100x32x128")
        shapes.append(Shape(*map(int, text.split("x"))))
    if not shapes:
        raise UserError("shape=[]: at least one, such as 100x32x128")
    return shapes


Choice = tuple[str, Node | Exception]
"""A choice of a config group by name: its node, or the error that reading it gave."""


def print_cells(
    console: Console, places: Mapping[str, Place], shapes: list[Shape], cells: list[Choice], backends: list[Choice]
) -> list[str]:
    """Print a line for each cell on each backend, and what is not offered, with the reason, below.

    Args:
        console: Where it is printed; a terminal shows what is being tried.
        places: Device and floating type of each column, by the column's heading.
        shapes: Shapes at which the kernel is determined.
        cells: Which are tried.
        backends: On which.

    Returns:
        The entries that are red.
    """
    widths = [max(len(name) for name, _ in group) for group in (cells, backends)]
    listed = " and ".join(map(str, shapes))
    console.print(f"\nkernels of a forward and backward pass at TxBxH = {listed};", soft_wrap=True)
    console.print("largest error of outputs/gradients, relative to the readable loop in float64\n", soft_wrap=True)
    heading = [f"{'cell':<{widths[0]}}", f"{'backend':<{widths[1]}}", *(f"{name:<{COLUMN}}" for name in places)]
    console.print("  ".join(heading).rstrip(), style="bold", soft_wrap=True)
    notes: dict[str, str] = {}
    red: list[str] = []
    for cell_name, cell_node in cells:
        for backend_name, backend_node in backends:
            line = Text(f"{cell_name:<{widths[0]}}  {backend_name:<{widths[1]}}  ")
            for column, place in places.items():
                with console.status(f"trying {cell_name} on {backend_name}, {column}"):
                    entry = examine(cell_node, backend_node, place, shapes)
                line.append(f"{entry.text:<{COLUMN}}  ", entry.color)
                subject = f"{cell_name} on {backend_name}"
                if entry.note and notes.get(subject) != entry.note:
                    subject = subject if subject not in notes else f"{subject} in {column}"
                    notes[subject] = entry.note
                if entry.color == "red":
                    red.append(f"{cell_name} on {backend_name}" + (f" in {column}" if len(places) > 1 else ""))
            line.rstrip()
            console.print(line, soft_wrap=True)
    if notes:
        console.print("\nnot offered here:", style="bold")
        for subject, note in notes.items():
            console.print(Text(f"  {subject}: {note}"), soft_wrap=True)
    return red


def examine(cell: Node | Exception, backend: Node | Exception, place: Place, shapes: list[Shape]) -> Entry:
    """One entry. Any error is a red one, not the end."""
    try:
        for node in (cell, backend):
            if isinstance(node, Exception):
                raise node
        make_cell, runner = make(cell, "cell", _partial_=True), make(backend, "backend")
        mixed = place.autocast is not None
        checked = parity.check(make_cell, runner, place.device, place.dtype, quick=True, autocast=mixed)
        errors = f"{checked.output_error:.0e}/{checked.gradient_error:.0e}"
        if not checked.passed:  # red: not offered, and never timed
            return Entry(
                f"not offered: {errors} red", "red", f"computes something else (above {checked.tolerance:.0e})"
            )
        kernel = kernels_here(make_cell, runner, place, shapes)
    except Unsupported as error:
        return Entry("not offered", "dim", str(error))
    except Exception as error:
        return Entry(f"not offered: {type(error).__name__}", "red", f"{type(error).__name__}: {first_line(error)}")
    return Entry(f"{kernel:<18} {errors} green", "green")


def kernels_here(make_cell: MakeCell, backend: Backend, place: Place, shapes: list[Shape]) -> str:
    """The kernel that one layer runs on; with the shapes where kernels differ."""
    names: dict[str, list[str]] = {}
    for shape in shapes:
        encoder = Encoder(
            shape.H,
            make_cell,
            backend,
            Streams(0),
            hidden_size=shape.H,
            num_layers=1,
            device=place.device,
            dtype=place.parameters,
        ).to(place.device, place.parameters)
        name = kernel_name(
            encoder,
            backend,
            shape.H,
            place.device,
            place.parameters,
            num_steps=shape.T,
            batch_size=shape.B,
            autocast=place.autocast,
        )
        names.setdefault(name, []).append(str(shape))
    if len(names) == 1:
        return next(iter(names))
    return ", ".join(f"{name} ({' '.join(where)})" for name, where in names.items())


def make(node: Any, path: str, **more: bool) -> Any:
    """Check a node's types and build it."""
    check_node(node, path)
    return construct(node | more)


def chosen(group: str, asked: str | list[str]) -> list[Choice]:
    """The choices of a group that were asked for, by name or all of them.

    Raises:
        UserError: None, or a name that no choice has.
    """
    found = dict(choices(group))
    names = list(found) if isinstance(asked, str) else list(dict.fromkeys(asked))
    for name in names:
        if name not in found:
            raise UserError(f"{group}s: {name}: no such {group}; valid: all, or a list of {', '.join(found)}")
    if not names:
        raise UserError(f"{group}s=[]: at least one; valid: all, or a list of {', '.join(found)}")
    return [(name, found[name]) for name in names]


def choices(group: str) -> Iterator[Choice]:
    """Each choice of a config group with its node, or with the error that reading it gave."""
    files: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / group).glob("*.yaml")):
            files.setdefault(path.stem, path)  # like Hydra: the first folder that has it
    for name, path in sorted(files.items()):
        try:
            yield name, to_node(OmegaConf.load(path))  # type: ignore[arg-type]
        except Exception as error:
            yield name, error


def folders() -> list[Path]:
    """``conf/``, and what ``--config-dir`` added."""
    if not HydraConfig.initialized():
        return [conf_dir()]
    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.schema == "file"]
