"""The article's model on this project's backends, on Keras and on Flax: one whole training step, in processes by turns.

    python bench/peers.py [--rounds 15] [--steps 5] [--cells gru,lstm,rnn] [--threads N] [--only bptt,keras]

A step is forward, loss, backward and Adam on (100, 64) sequences in batches of 32, in float32 on the CPU, with the
sizes and settings of ``experiment=article``. Every model starts from the same values and sees the same batches, which
lie in memory as its own library's arrays. Before anything is timed its parameters are counted, its first loss must be
that of our readable loop, and its losses on one batch must fall; our backends must pass their parity check.

Each model has a process of its own. One works while all others sleep: a turn is ``--steps`` steps after one that is
not timed, read once at its end; a round gives every model a turn, then once more in the opposite order; the next
round starts with another model. A ratio is taken within a round; from 20 rounds on it has an interval at 95 %, before
that the smallest and the largest are given. All processes are bound to the same cores.

Keras and Flax run in an environment of their own, ``.venv-peers`` at the top of the repository, made here from
``peers.txt`` when first needed. Prints a table and then one line of JSON. Exit 1 where a model could not take part.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peers_ours import write_job
from peers_processes import Failed, Worker

import gru_bench
from gru_bench.config.check import conf_dir
from gru_bench.errors import UserError
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, git_state, machine_id
from gru_bench.measure.threads import resolve_threads, usable_cores
from gru_bench.statistics.ratios import FEWEST, paired_ratio

CELLS = ("gru", "lstm", "rnn")
PEERS = {
    "keras": "peers_keras.py",
    "keras_xla": "peers_keras.py",
    "flax": "peers_flax.py",
    "flax_nnx": "peers_flax.py",
}
VENDOR, BPTT = "vendor", "bptt"
FIRST_LOSS_WITHIN = 1e-4
"""Relative difference of the first loss from the loop's that is still rounding in float32."""
IDLE_ABOVE = 0.02
"""Share of a core that a sleeping worker may use before the table notes it."""
SETTLE_S = 0.02
"""Pause between turns, in which threads that still spin go to sleep."""

Row = dict[str, Any]


def turn_order(arms: Sequence[str], round_number: int) -> list[str]:
    """Who works when in one round: everyone, then everyone backwards; the next round starts with the next one.

    >>> turn_order(["a", "b", "c"], 1)
    ['b', 'c', 'a', 'a', 'c', 'b']
    """
    first = round_number % len(arms)
    forward = [*arms[first:], *arms[:first]]
    return forward + forward[::-1]


def objection(ready: dict[str, Any], num_parameters: int, first_loss: float) -> str | None:
    """Why a worker's model is not the article's, or does not learn; None where all is well.

    Args:
        ready: What the worker sent.
        num_parameters: Of this project's model.
        first_loss: What the loop gives for the first batch at the initial values.
    """
    wanted = num_parameters + ready["more_parameters"]
    if ready["num_parameters"] != wanted:
        return f"{ready['num_parameters']} parameters where {wanted} were expected"
    losses = ready["losses"]
    if not all(abs(loss) < float("inf") for loss in losses):
        return "a loss is not finite"
    if abs(losses[0] - first_loss) > FIRST_LOSS_WITHIN * abs(first_loss):
        return f"first loss {losses[0]:.6f} where the loop has {first_loss:.6f}"
    if losses[-1] >= losses[0]:
        return f"its loss does not fall: {losses[0]:.4f}, after {len(losses)} steps {losses[-1]:.4f}"
    return None


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """The middle of the rounds' ratios, each of times taken within one round, and how far it may be off.

    That is the interval at 95 % where there are rounds enough for one (:mod:`gru_bench.statistics.ratios`); of fewer,
    it is the median with the smallest and the largest.
    """
    if len(above) >= FEWEST:
        found = paired_ratio(below, above)
        return found.value, found.low, found.high
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


@contextlib.contextmanager
def workers(
    arms: Sequence[str], cell: str, threads: int, failures: dict[str, str]
) -> Iterator[tuple[list[Worker], Row]]:
    """The workers that became ready and passed, and the facts that a cell's rows share. Failures get the others."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        sizes, num_parameters, first_loss = write_job(folder, cell, threads)
        ready: list[Worker] = []
        for arm in arms:
            script = PEERS.get(arm, "peers_ours.py")
            try:
                worker = stack.enter_context(Worker(arm, script, folder, threads, in_peers=arm in PEERS))
                problem = objection(worker.ready, num_parameters, first_loss)
                if problem is not None:
                    worker.close()
                    raise Failed(problem)
            except Failed as error:
                failures[arm] = str(error)
            else:
                ready.append(worker)
        yield ready, {"T": sizes["seq_len"], "B": sizes["batch_size"], "H": sizes["hidden_size"]}


def take_turns(ready: list[Worker], rounds: int, steps: int, failures: dict[str, str]) -> dict[str, list[float]]:
    """Milliseconds of a step in each round, by arm. A worker that fails on the way has none."""
    by_arm = {worker.arm: worker for worker in ready}
    times: dict[str, list[float]] = {arm: [] for arm in by_arm}
    for round_number in range(rounds):
        taken: dict[str, list[float]] = {arm: [] for arm in by_arm}
        for arm in turn_order(list(by_arm), round_number):
            if arm in failures:
                continue
            others = [worker for worker in by_arm.values() if worker.arm != arm]
            time.sleep(SETTLE_S)
            start, used = time.perf_counter(), [worker.cpu_seconds() for worker in others]
            try:
                taken[arm].append(by_arm[arm].turn(steps))
            except Failed as error:
                failures[arm] = str(error)
                del times[arm]
            for worker, before in zip(others, used, strict=True):
                worker.idle_s[0] += time.perf_counter() - start
                worker.idle_s[1] += worker.cpu_seconds() - before
        for arm in list(by_arm):
            if arm in failures:
                del by_arm[arm]
            else:
                times[arm].append(statistics.mean(taken[arm]))
        if not by_arm:
            break
    return times


def measure(cell: str, arms: Sequence[str], options: argparse.Namespace) -> list[Row]:
    """One row per arm, in the given order; a failed one has a reason instead of times."""
    failures: dict[str, str] = {}
    with workers(arms, cell, options.threads, failures) as (ready, facts):
        times = take_turns(ready, options.rounds, options.steps, failures)
        by_arm = {worker.arm: worker for worker in ready}
    rows: list[Row] = []
    for arm in arms:
        row: Row = {"cell": cell, "backend": arm, "shape": "article", **facts}
        rows.append(row)
        if arm in failures:
            row["reason"] = failures[arm]
            continue
        sent, idle_s = by_arm[arm].ready, by_arm[arm].idle_s
        row |= {"kernel": sent["kernel"], "num_parameters": sent["num_parameters"]}
        row |= {"more_parameters": sent["more_parameters"], "first_step_s": round(sent["first_step_s"], 2)}
        row |= {"ms": round(statistics.median(times[arm]), 3), "ms_low": round(min(times[arm]), 3)}
        row |= {"ms_high": round(max(times[arm]), 3), "versions": sent["versions"]}
        row |= {"idle_cores": round(idle_s[1] / idle_s[0], 4) if idle_s[0] else 0.0}
        if VENDOR in times:
            names = ("ratio_to_vendor", "ratio_low", "ratio_high")
            row |= zip(names, (round(value, 4) for value in ratio(times[VENDOR], times[arm])), strict=True)
        if BPTT in times:
            names = ("bptt_faster", "bptt_faster_low", "bptt_faster_high")
            row |= zip(names, (round(value, 4) for value in ratio(times[arm], times[BPTT])), strict=True)
    return rows


def line(row: Row) -> str:
    """One row of the table."""
    head = f"{row['cell']:<5} {row['backend']:<11}"
    if "reason" in row:
        return f"{head} failed: {row['reason']}"

    def span(*names: str) -> str:
        if names[0] not in row:
            return f"{'-':<19}"
        middle, low, high = (row[name] for name in names)
        return f"{middle:>5.2f} ({low:.2f}..{high:.2f})".ljust(19)

    vendor = span("ratio_to_vendor", "ratio_low", "ratio_high")
    bptt = span("bptt_faster", "bptt_faster_low", "bptt_faster_high")
    count = f"{row['num_parameters']}" + (f" ({row['more_parameters']:+d})" if row["more_parameters"] else "")
    return f"{head} {row['kernel']:<19} {row['ms']:>8.2f}  {vendor} {bptt} {row['first_step_s']:>7.1f}  {count}"


HEADING = (
    f"{'cell':<5} {'backend':<11} {'kernel':<19} {'ms':>8}  {'vendor ms / its ms':<19} {'its ms / bptt ms':<19} "
    f"{'first s':>7}  parameters (more than ours)"
)


def backend_names() -> list[str]:
    """The backends of this project."""
    return sorted(path.stem for path in (conf_dir() / "backend").glob("*.yaml"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell or model, fewer than one round or step, or more threads than cores.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a turn")
    parser.add_argument("--cells", default=",".join(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all usable cores")
    default = [VENDOR, BPTT, *PEERS]
    parser.add_argument("--only", default=",".join(default), help=f"of {', '.join(PEERS)} and this project's backends")
    options = parser.parse_args(arguments)
    options.cells, options.only = (list(dict.fromkeys(text.split(","))) for text in (options.cells, options.only))
    for name, given, valid in (
        ("cells", options.cells, list(CELLS)),
        ("only", options.only, sorted({*default, *backend_names()})),
    ):
        unknown = [value for value in given if value not in valid]
        if unknown:
            raise UserError(f"--{name}: unknown {', '.join(map(repr, unknown))}; valid: {', '.join(valid)}")
    for name in ("rounds", "steps", "threads"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name}={getattr(options, name)}: must be at least 1")
    resolve_threads(options.threads, 1)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code, 0 where all took part."""
    try:
        options = parse(arguments)
    except UserError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # the driver itself only prepares
    others = cores_used_by_others(1.0)
    if hasattr(os, "sched_setaffinity"):  # the workers inherit it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    rows: list[Row] = []
    print(HEADING, flush=True)
    for cell in options.cells:
        new = measure(cell, options.only, options)
        rows += new
        for row in new:
            print(line(row), flush=True)
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row.pop("versions", {})
    print(", ".join(f"{name} {version}" for name, version in versions.items()) + f"; {options.threads} threads")
    if others > OTHERS_ABOVE:
        print(f"others used {others:.1f} cores at the start: do not trust these times")
    for row in rows:
        if row.get("idle_cores", 0.0) > IDLE_ABOVE:
            print(f"{row['cell']} {row['backend']} used {row['idle_cores']:.2f} cores while it should have slept")
    commit, dirty = git_state(Path(gru_bench.__file__).parent)
    summary = {
        "bench": "peers",
        "machine": machine_id(),
        "threads": options.threads,
        "dtype": "float32",
        "device": "cpu",
        "commit": commit,
        "dirty": dirty,
        "rounds": options.rounds,
        "steps": options.steps,
        "others_cores": round(others, 2),
        "versions": versions,
        "rows": rows,
    }
    print(json.dumps(summary))
    return 1 if any("reason" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
