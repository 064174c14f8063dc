"""``gru-bench probe``: probes on a model that was kept, whose findings are added to its run. Wiring only."""

import sys
import time
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt
from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.config.check import (
    PROBES,
    Node,
    check_arguments,
    check_node,
    check_probes,
    conf_dir,
    construct,
    to_node,
)
from gru_bench.config.keys import extras
from gru_bench.errors import UserError
from gru_bench.measure import lanes
from gru_bench.probes.base import Findings
from gru_bench.run import probing
from gru_bench.run.rebuild import rebuild
from gru_bench.store.add import Value, add, finished_run, kept_model, note_kept, run_name
from gru_bench.store.connect import absolute_uri
from gru_bench.store.schema import KEPT, PROBE_TABLE
from gru_bench.store.source import Source, StoredRun, open_source

SHOWN = 4
"""Values of a probe that its line names."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/probe.yaml``."""

    run: str | int | None
    device: str | None
    threads: Literal["auto"] | Annotated[int, Gt(0)]


def probe(config: DictConfig) -> int:
    """Run the probes and print a line for each, or bad input in one line. Returns the exit code, 0 or 2."""
    try:
        node = to_node(config)
        keys, uri = take_keys(node)
        if keys.run is None:
            raise UserError("run=null: which run? valid: run=ID, the last word of the line that the run printed")
        source = open_source(absolute_uri(uri))
        run = finished_run(source, str(keys.run))
        with lanes.shared(f"probe {run.run_id}", lambda text: print(text, file=sys.stderr, flush=True)):
            measure(source, run, node, keys)
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("probe", error), file=sys.stderr)
        return 2
    return 0


def take_keys(node: Node) -> tuple[Keys, str | None]:
    """The plain keys and the store's URI, of a config whose probes are checked.

    Raises:
        UserError: A key or value that does not fit, or no probe.
    """
    check_probes(node)
    if not node.get(PROBES):
        names = ", ".join(sorted(path.stem for path in (conf_dir() / "probe").glob("*.yaml")))
        raise UserError(f"probe=[]: none is chosen; valid: probe=[NAME], several with commas between, of: {names}")
    plain = {key: value for key, value in node.items() if key not in (PROBES, "tracking", "hydra")}
    check_arguments(Keys, plain, "", "probe")
    check_node(node["tracking"], "tracking")
    return Keys(**plain), construct(node["tracking"]).uri


def measure(source: Source, run: StoredRun, node: Node, keys: Keys) -> None:
    """Rebuild the model, ask all probes whether they can answer, and then add what each of them finds.

    Raises:
        UserError: The model was not kept or cannot be rebuilt, or a probe has no answer.
    """
    probes = probing.make_probes(node)
    for one in probes:
        if "end" not in one.moments:
            raise UserError(
                f"probe={one.name}: measures while a model is trained only; valid: train with probe=[{one.name}]"
            )
    with kept_model(source, run) as (config, weights):
        subject = rebuild(
            config,
            weights,
            hidden_size=int(run.params["hidden_size"]),
            fingerprint=run.params["data_fingerprint"],
            device=keys.device,
            threads=keys.threads,
        )
    probing.require_answers(probes, subject)
    kept = run.tags.get(KEPT)
    has = None if kept is None else set(kept.split())  # an older run does not say
    print(f"run {run.run_id}: {run_name(run)}")
    for one in probes:
        started = time.perf_counter()
        with probing.undisturbed(subject.model):
            found = one.measure(subject, "end")
        keep(source, run, one.name, found)
        if has is not None:  # that run need not be trained again for this probe, if its end is all that is asked for
            has = {extra for extra in has if not extra.startswith(f"{one.name}:")}
            has |= {extra for extra in extras(node) if extra.startswith(f"{one.name}:") and one.moments == ("end",)}
            note_kept(source, run, has)
        print(f"{one.name}: {summary(found)}, {time.perf_counter() - started:.1f} s", flush=True)


def keep(source: Source, run: StoredRun, name: str, found: Findings) -> None:
    """Add what a probe found to its run."""
    values = [Value("probe", one.metric, one.value, one.unit, one.slice, one.slice_value) for one in found.values]
    add(source, run, values, {f"{PROBE_TABLE}{name}_{table}": columns for table, columns in found.tables.items()})


def summary(found: Findings) -> str:
    """The values of the whole, and how many there are of parts."""
    whole = [f"{one.metric} {one.value:.4g}" for one in found.values if not one.slice]
    parts = sum(1 for one in found.values if one.slice)
    more = [f"{len(whole) - SHOWN} more"] if len(whole) > SHOWN else []
    return ", ".join([*whole[:SHOWN], *more, f"{parts} values by part"])
