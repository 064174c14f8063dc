"""``gru-bench doctor``: what a run would find here, before anything runs."""

import os
import sys
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Gt
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from gru_bench.backends.native.build import CannotBuild, from_wheel, native_code
from gru_bench.backends.native.prebuilt import Prebuilt
from gru_bench.commands import messages
from gru_bench.commands.cell_table import chosen, print_cells, read_shapes
from gru_bench.config.check import Node, Settings, check_arguments, check_node, construct, to_node
from gru_bench.errors import UserError
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, environment, machine_id
from gru_bench.measure.threads import usable_cores
from gru_bench.run.build import Place, make_place
from gru_bench.run.cores import decide_threads
from gru_bench.run.plan import ADHOC
from gru_bench.store.connect import sqlite_file, without_password
from gru_bench.store.experiments import deleted_experiments
from gru_bench.store.write import Store

NOT_VERSIONS = ("cpu", "cores", "memory_gib", "os", "gpu", "cuda", "cudnn", "native_code")
Dtype = Literal["float32", "float64", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The plain keys of ``conf/doctor.yaml``."""

    cells: Literal["all"] | list[str]
    backends: Literal["all"] | list[str]
    device: str
    dtype: Literal["float32", "float64", "bfloat16", "all"]
    shape: str | int | list[str | int]  # a number is wrong too, but read_shapes says what would be right
    threads: Literal["auto"] | Annotated[int, Gt(0)]


@dataclass
class Diagnosis:
    """Prints each finding at once, and keeps the names of the red ones."""

    console: Console
    red: list[str] = field(default_factory=list)

    def line(self, name: str, text: str, color: Literal["green", "yellow", "red"] | None = None) -> None:
        """Print one line; the name of a red one is kept."""
        shown_text = escape(text) if color is None else f"[{color}]{escape(text)}[/]"
        self.console.print(f"{name:<10} {shown_text}", soft_wrap=True)
        if color == "red":
            self.red.append(name)


def doctor(config: DictConfig) -> int:
    """Print the diagnosis; 0 where all is fine, 1 where something is red, 2 for bad input."""
    try:
        return diagnose(config)
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("doctor", error), file=sys.stderr)
        return 2


def diagnose(config: DictConfig) -> int:
    """Print what a run would find here; returns the exit code."""
    node = to_node(config)
    plain = {key: value for key, value in node.items() if key not in ("tracking", "hydra")}
    check_arguments(Asked, plain, "", "doctor")
    asked = Asked(**plain)
    check_node(node["tracking"], "tracking")
    shapes = read_shapes(asked.shape)
    cells, backends = chosen("cell", asked.cells), chosen("backend", asked.backends)
    found = Diagnosis(Console(highlight=False))
    print_machine(found, asked)
    print_store(found, node["tracking"])
    dtypes: tuple[Dtype, ...] = get_args(Dtype) if asked.dtype == "all" else (asked.dtype,)
    try:
        places: dict[str, Place] = {dtype: make_place(settings_for(asked.device, dtype)) for dtype in dtypes}
    except UserError as error:
        found.line("device", str(error), "red")
    else:
        found.line("device", f"{asked.device}, {', '.join(places)}", "green")
        # as every run does
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        found.red += print_cells(found.console, places, shapes, cells, backends)
    found.console.print()
    if "all" not in (asked.cells, asked.backends):
        found.console.print(
            f"tried {', '.join(name for name, _ in cells)} on {', '.join(name for name, _ in backends)}; all cells on "
            "all backends (minutes the first time): gru-bench doctor cells=all backends=all",
            soft_wrap=True,
        )
    if found.red:
        found.console.print(f"[red]red: {escape(', '.join(found.red))}[/]", soft_wrap=True)
    else:
        found.console.print("[green]all fine[/]")
    return 1 if found.red else 0


def settings_for(device: str, dtype: Dtype) -> Settings:
    """The settings of a run on that device in that type; the other values do not matter."""
    return Settings(seed=0, hidden_size=1, num_layers=1, device=device, dtype=dtype, threads=1)


def print_machine(found: Diagnosis, asked: Asked) -> None:
    """Versions, hardware, threads and load."""
    facts = environment()
    libraries = [name for name in facts if name not in NOT_VERSIONS]
    found.line("versions", ", ".join(f"{name} {facts[name]}" for name in libraries))
    found.line("machine", f"{facts['cpu']}, {facts['memory_gib']} GiB, {facts['os']} (id {machine_id()})")
    found.line("gpu", f"{facts['gpu']}, CUDA {facts['cuda']}" if "gpu" in facts else "none that torch sees")
    found.line("cuDNN", facts.get("cudnn", "none: this build of torch has no cuDNN"))
    found.line("native", *native_line())
    decided = decide_threads(asked.threads, 1)
    torch.set_num_threads(1)  # the layers tried here are tiny: more threads would only wait for each other
    found.line("threads", f"{decided.number} per run (threads={asked.threads}), {usable_cores()} usable cores")
    if decided.remark:
        found.line("", decided.remark, "yellow")
    others = cores_used_by_others()
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    if others > OTHERS_ABOVE:
        found.line("load", f"others use {others:.1f} cores{load}: do not trust speeds measured now", "yellow")
    else:
        found.line("load", f"others use {others:.1f} cores{load}", "green")


def native_line() -> tuple[str, Literal["green", "yellow"]]:
    """Which compiled code backend bptt runs here, why it is none from a wheel where it is not, and a colour."""
    try:
        text = native_code()
    except CannotBuild as error:
        return f"none, so that backend=bptt runs in plain torch: {error}", "yellow"
    ready = from_wheel()
    return (text if isinstance(ready, Prebuilt) else f"{text} ({ready})"), "green"


def print_store(found: Diagnosis, tracking: Node) -> None:
    """Check whether runs can be written. A file that does not exist is not made."""
    try:
        store: Store = construct(tracking)
        file, where = sqlite_file(store.uri), without_password(store.uri)
        if file is None or file.exists():
            store.open()
            found.line("store", f"{where}: reachable and writable", "green")
            for name in deleted_experiments(store.uri):
                wish = (
                    f"nothing can be written under that name; gru-bench train experiment={name} says how to restore it"
                )
                if name == ADHOC:
                    wish = "runs without experiment= cannot be written; gru-bench train says how to restore it"
                found.line("", f"experiment {name} was deleted: {wish}", "yellow")
        elif file.parent.is_dir() and os.access(file.parent, os.W_OK):
            found.line("store", f"{where}: the first run makes it; the folder is writable", "green")
        else:
            found.line("store", f"{where}: the folder {file.parent} is missing or not writable", "red")
    except UserError as error:
        found.line("store", str(error), "red")
