"""``gru-bench export``: a kept model as files for other runtimes, with the proof that it is the same. Wiring only."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from gru_bench.commands import messages
from gru_bench.config.check import check_arguments, check_node, construct, to_node
from gru_bench.errors import UserError
from gru_bench.export import write
from gru_bench.export.write import Exported, Format, Model, NotTheSame
from gru_bench.kept.load import RUN_ID, Kept, load
from gru_bench.measure import lanes
from gru_bench.measure.threads import set_threads
from gru_bench.run import build
from gru_bench.run.rebuild import refuse_foreign
from gru_bench.store.add import Value, add, finished_run
from gru_bench.store.connect import absolute_uri
from gru_bench.store.schema import DEPLOYMENT
from gru_bench.store.source import open_source
from gru_bench.training.trainer import evaluate

KEPT_FACTS = ("run_id", "task", "cell", "hidden_size", "num_parameters", "seed", "sizes", "metric", "valid_score")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/export.yaml``."""

    run: str | int | None
    format: Format
    output: str | None
    int8: bool
    operators: bool
    score: bool


def export(config: DictConfig) -> int:
    """Export a model; print its proof, or bad input in one line. Returns the exit code: 0, 1 (not the same), or 2."""
    try:
        node = to_node(config)
        plain = {key: value for key, value in node.items() if key not in ("tracking", "hydra")}
        check_arguments(Keys, plain, "", "export")
        check_node(node["tracking"], "tracking")
        keys = Keys(**plain)
        if keys.run is None:
            raise UserError(
                "run=null: which model? valid: run=ID of a run that kept its model, or a kept model's folder"
            )
        write.require(keys.format)
        uri = construct(node["tracking"]).uri
        with lanes.shared(f"export {keys.run}", lambda text: print(text, file=sys.stderr, flush=True)):
            kept = load(str(keys.run), tracking_uri=uri)
            exported = made(kept, keys)
            show(exported, kept)
            if RUN_ID.fullmatch(str(keys.run)) and keys.format == "onnx" and keys.operators:
                remember(str(keys.run), uri, exported)  # exports of one kind, so that a report may compare them
    except NotTheSame as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except messages.BAD_INPUT as error:
        print(messages.line("export", error), file=sys.stderr)
        return 2
    return 0


def made(kept: Kept, keys: Keys) -> Exported:
    """Export a model that was loaded.

    Raises:
        UserError: It cannot be exported so.
        NotTheSame: What was exported is not the same.
    """
    set_threads(1)
    facts = {name: kept.facts[name] for name in KEPT_FACTS if name in kept.facts}
    builder = build.ModelBuilder(kept.config, kept.facts["sizes"], build.Place(torch.device("cpu"), torch.float32))
    twin = builder.twin(kept.module, build.make_cell(kept.config), kept.facts["hidden_size"])
    score, why = scorer(kept) if keys.score else (None, "score=false")
    model = Model(kept.module, twin, facts, score, why)
    folder = Path(keys.output) if keys.output is not None else default_folder(facts, keys.format)
    return write.export(model, folder, kind=keys.format, int8=keys.int8, operators=keys.operators)


def default_folder(facts: dict[str, Any], kind: str) -> Path:
    """``exports/CELL_TASK_RUN_FORMAT``."""
    parts = (facts.get("cell", "model"), facts.get("task", "task"), str(facts.get("run_id", "run"))[:8], kind)
    return Path("exports") / "_".join(map(str, parts))


def scorer(kept: Kept) -> tuple[Callable[[nn.Module], float] | None, str]:
    """What scores a model on the test split of the run's data; or None, and why."""
    try:
        refuse_foreign(kept.config.get("task"), "config.yaml.task")
        refuse_foreign(kept.config.get("data"), "config.yaml.data")
        task = build.make_task(kept.config)
        task.load()
        if task.fingerprint() != kept.facts.get("data_fingerprint"):
            return None, "the data here is not what the model was trained on"
    except (UserError, OSError, KeyError) as error:
        return None, f"its data is not here ({str(error).splitlines()[0]})"
    return lambda model: evaluate(model, task, "test").metrics[task.primary], ""


def show(exported: Exported, kept: Kept) -> None:
    """Two lines, and what is special."""
    sizes = ", ".join(f"{one['file']} {one['bytes']:,} bytes" for one in exported.known["graphs"].values())
    print(f"{exported.folder}: {kept.facts.get('cell')} on {kept.facts.get('task')}: {sizes}")
    for line in exported.lines:
        print(line)
    for name, one in exported.known.get("latency", {}).items():
        print(
            f"latency {name}, {one['steps']} steps, batch 1: p50 {one['p50_us']:,.0f} us, p99 {one['p99_us']:,.0f} us"
        )
    if "not_scored" in exported.known:
        print(f"not scored on the test split: {exported.known['not_scored']}")


def remember(run_id: str, uri: str | None, exported: Exported) -> None:
    """Add size, errors and times of an export to its run, where the report finds them."""
    values = deployment_values(exported.known)
    source = open_source(absolute_uri(uri))
    add(source, finished_run(source, run_id), values, {})


def deployment_values(known: dict[str, Any]) -> list[Value]:
    """What a report is told of an export: ``float32_`` and ``int8_``, and then what."""
    found: list[tuple[str, float, str]] = []
    graphs = known["graphs"]
    main = [name for name in graphs if name != "stream"]
    found.append(("float32_bytes", sum(graphs[name]["bytes"] for name in main), "bytes"))
    found.append(("float32_error", known["proof"]["worst_relative_error"], "worst relative difference"))
    if "int8" in known:
        found.append(("int8_bytes", sum(known["int8"][name]["bytes_int8"] for name in main), "bytes"))
    for name in ("exported", "int8"):
        if name in known.get("score", {}):
            dtype = "float32" if name == "exported" else "int8"
            found.append((f"{dtype}_score", known["score"][name], "score"))
    for dtype, key in (("float32", "latency"), ("int8", "int8_latency")):
        for graph, one in known.get(key, {}).items():
            found += [(f"{dtype}_{graph}_{name}", one[f"{name}_us"], "microseconds") for name in ("p50", "p99")]
    return [Value(DEPLOYMENT, metric, float(value), unit) for metric, value, unit in found]
