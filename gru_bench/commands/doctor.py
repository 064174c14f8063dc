"""``gru-bench doctor``: what a run would find here, told before anything runs."""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from gru_bench import messages
from gru_bench.backends import parity
from gru_bench.backends.base import Backend
from gru_bench.build import Place, make_place
from gru_bench.commands import outcome
from gru_bench.config import Node, Settings, check_arguments, check_node, conf_dir, construct, first_line, to_node
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, environment, machine_id
from gru_bench.measure.kernel import kernel_name
from gru_bench.measure.threads import resolve_threads, usable_cores
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.store import shown, sqlite_file
from gru_bench.tracking import Store

INPUT_SIZE, HIDDEN_SIZE = 4, 8


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The plain keys of ``conf/doctor.yaml``."""

    device: str
    dtype: Literal["float32", "float64", "bfloat16"]
    threads: Literal["auto"] | Annotated[int, Gt(0)]


@dataclass
class Diagnosis:
    """What is printed as it is found, and what of it is red."""

    console: Console
    red: list[str] = field(default_factory=list)

    def say(self, name: str, text: str, color: Literal["green", "yellow", "red"] | None = None) -> None:
        """One line; a red one counts."""
        told = escape(text) if color is None else f"[{color}]{escape(text)}[/]"
        self.console.print(f"{name:<10} {told}", soft_wrap=True)
        if color == "red":
            self.red.append(name)


def doctor(config: DictConfig) -> int:
    """Print the diagnosis; 0 where all is fine, 1 where something is red, 2 for bad input."""
    try:
        outcome.code = diagnose(config)
    except messages.BAD_INPUT as error:  # said here, since Hydra would put a line of its own before it
        print(messages.line("doctor", error), file=sys.stderr)
        outcome.code = 2
    return outcome.code


def diagnose(config: DictConfig) -> int:
    """Print what a run would find here; returns the exit code."""
    node = to_node(config)
    plain = {key: value for key, value in node.items() if key not in ("tracking", "hydra")}
    check_arguments(Asked, plain, "", "doctor")
    asked = Asked(**plain)
    check_node(node["tracking"], "tracking")
    found = Diagnosis(Console(highlight=False))
    say_machine(found, asked)
    say_store(found, node["tracking"])
    try:
        place = make_place(Settings(seed=0, hidden_size=HIDDEN_SIZE, num_layers=1, **asdict(asked)))
    except UserError as error:
        found.say("device", str(error), "red")
    else:
        found.say("device", f"{place.device}, {asked.dtype}", "green")
        say_cells(found, place)
    found.console.print()
    if found.red:
        found.console.print(f"[red]red: {escape(', '.join(found.red))}[/]", soft_wrap=True)
    else:
        found.console.print("[green]all fine[/]")
    return 1 if found.red else 0


def say_machine(found: Diagnosis, asked: Asked) -> None:
    """Versions, hardware, threads and load."""
    facts = environment()
    libraries = [name for name in facts if name not in ("cpu", "cores", "memory_gib", "os", "gpu", "cuda", "cudnn")]
    found.say("versions", ", ".join(f"{name} {facts[name]}" for name in libraries))
    found.say("machine", f"{facts['cpu']}, {facts['memory_gib']} GiB, {facts['os']} (id {machine_id()})")
    found.say("gpu", f"{facts['gpu']}, CUDA {facts['cuda']}" if "gpu" in facts else "none that torch sees")
    found.say("cuDNN", facts.get("cudnn", "none: this build of torch has no cuDNN"))
    threads = resolve_threads(asked.threads, 1)
    torch.set_num_threads(1)  # what is tried here is tiny: more would only wait for each other
    found.say("threads", f"{threads} a run (threads={asked.threads}), {usable_cores()} usable cores")
    others = cores_used_by_others()
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    if others > OTHERS_ABOVE:
        found.say("load", f"others use {others:.1f} cores{load}: speeds measured now are not to be trusted", "yellow")
    else:
        found.say("load", f"others use {others:.1f} cores{load}", "green")


def say_store(found: Diagnosis, tracking: Node) -> None:
    """Whether runs can be written. A file that does not exist is not made."""
    try:
        store: Store = construct(tracking)
        file = sqlite_file(store.uri)
        if file is None or file.exists():
            store.open()
            found.say("store", f"{shown(store.uri)}: reachable and writable", "green")
        elif file.parent.is_dir() and os.access(file.parent, os.W_OK):
            found.say("store", f"{shown(store.uri)}: the first run makes it; the folder is writable", "green")
        else:
            found.say("store", f"{shown(store.uri)}: the folder {file.parent} is not there or not writable", "red")
    except UserError as error:
        found.say("store", str(error), "red")


def say_cells(found: Diagnosis, place: Place) -> None:
    """One line for each cell on each backend: the kernel that runs, and the parity of outputs and gradients."""
    cells, backends = list(choices("cell")), list(choices("backend"))
    widths = [max(len(name) for name, _ in group) for group in (cells, backends)]
    heading = f"{'cell':<{widths[0]}}  {'backend':<{widths[1]}}  {'kernel here':<12} error of outputs, of gradients"
    found.console.print(f"\n[bold]{heading}[/]", soft_wrap=True)
    for cell_name, cell_node in cells:
        for backend_name, backend_node in backends:
            text, color = examine(cell_node, backend_node, place)
            line = escape(f"{cell_name:<{widths[0]}}  {backend_name:<{widths[1]}}  {text}")
            found.console.print(line, style=color, soft_wrap=True)
            if color == "red":
                found.red.append(f"{cell_name} on {backend_name}")


def examine(cell: Node | Exception, backend: Node | Exception, place: Place) -> tuple[str, str]:
    """What there is to say of one cell on one backend, and its color. Any error is a red line, not the end."""
    try:
        for node in (cell, backend):
            if isinstance(node, Exception):
                raise node
        make_cell, runner = make(cell, "cell", _partial_=True), make(backend, "backend")
        checked = parity.check(make_cell, runner, place.device, place.dtype, quick=True)
        kernel = kernel_here(make_cell, runner, place)
    except Unsupported as error:
        return f"not offered: {error}", "dim"
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}", "red"
    text = f"{kernel:<12} {checked.output_error:.1e}, {checked.gradient_error:.1e}"
    return (f"{text} passed", "green") if checked.passed else (f"{text} above {checked.tolerance:.0e}", "red")


def kernel_here(make_cell: MakeCell, backend: Backend, place: Place) -> str:
    """What one layer runs on."""
    encoder = Encoder(
        INPUT_SIZE,
        make_cell,
        backend,
        torch.Generator().manual_seed(0),
        hidden_size=HIDDEN_SIZE,
        num_layers=1,
        device=place.device,
        dtype=place.dtype,
    ).to(place.device, place.dtype)
    return kernel_name(encoder, INPUT_SIZE, place.device, place.dtype)


def make(node: Any, path: str, **more: bool) -> Any:
    """Check a node's types and build it."""
    check_node(node, path)
    return construct(node | more)


def choices(group: str) -> Iterator[tuple[str, Node | Exception]]:
    """Each choice of a config group with its node, or with the error that reading it gave."""
    files: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / group).glob("*.yaml")):
            files.setdefault(path.stem, path)  # as Hydra: the first folder that has it
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
