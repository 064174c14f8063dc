"""What LSTM, GRU and plain RNN cost once they are deployed: size, score loss, and latency in ONNX Runtime by turns.

    python bench/deployment.py [--hidden 64,256] [--cells lstm,gru,rnn] [--rounds 20] [--task sentiment] [--steps 400]

Each cell is trained at each hidden size on an embedded task, in a store of its own that is thrown away, and exported
as ``gru-bench export`` does it, with the proof: by ONNX's operators and by its equations (``operators=false``), each in
float32 and int8. Score loss is on the task's test split. Then all arms of one hidden size take turns, in blocks of
calls, batch 1, one thread: a streamed step, and a sequence of 100 steps; beside them our native code streams the same
model: ``native``, with embedding and head in torch, and ``layers``, its recurrent layers alone. Each call is timed by
itself: median and 99th percentile. A ratio says how many times as fast an arm is as the LSTM in float32 by its
operator, with its interval at 95 % (``gru_bench.statistics.ratios``).

Prints a table and then one line of JSON. Exit 1 where an export was not proved.
"""

import argparse
import contextlib
import io
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch
from around import facts, require_rounds, take_names, warn_of_others
from cells_arms import turns

from gru_bench.commands import cli
from gru_bench.commands.export import Keys, made
from gru_bench.errors import UserError
from gru_bench.export.latency import SEQUENCE_STEPS, caller
from gru_bench.export.runtime import onnx_session
from gru_bench.export.states import SEQUENCE, STREAM, StateInput
from gru_bench.export.write import Exported, NotTheSame
from gru_bench.kept.load import load
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.models.classifier import Classifier
from gru_bench.statistics.ratios import FEWEST, paired_ratio

CELLS = ("lstm", "gru", "rnn")
WAYS = {"operator": True, "equations": False}
REFERENCE = ("lstm", "operator", "float32")
CALLS = {STREAM: 60, SEQUENCE: 10}
"""Of a turn; 20 rounds of two turns are 2,400 timed steps and 400 sequences an arm."""

Row = dict[str, Any]
Call = Callable[[], None]


def train(cell: str, hidden_size: int, task: str, steps: int) -> str:
    """Train one model in the working folder's store; its run's id.

    Raises:
        UserError: The run failed.
    """
    said = io.StringIO()
    arguments = [
        f"cell={cell}",
        f"task={task}",
        f"hidden_size={hidden_size}",
        f"trainer.max_steps={steps}",
        "threads=1",
        "backend=bptt",
    ]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.run(["train", *arguments, "save=best"])
    if code:
        raise UserError(f"{cell}, hidden size {hidden_size}: training ended with exit code {code}: {said.getvalue()}")
    return said.getvalue().split()[-1]


def native_calls(model: Classifier) -> dict[str, Call]:
    """A streamed step on the model's own backend, the state carried on.

    ``native``: of the whole model, embedding and head in torch; ``layers``: of its recurrent layers alone, from a
    vector that is there.
    """
    step = model.encoder.stepper(1)
    token_11 = torch.zeros(1, 1, dtype=torch.int64)
    x_BD = model.embed(token_11)[0].detach()
    states: dict[str, Any] = {}

    def whole() -> None:
        h_BH, states["whole"] = step(model.embed(token_11)[0], states.get("whole"))
        model.answer(h_BH[None], None)

    def layers() -> None:
        _, states["layers"] = step(x_BD, states.get("layers"))

    return {"native": whole, "layers": layers}


def session_call(exported: Exported, graph: str, suffix: str) -> Call:
    """A call of an exported graph."""
    known = exported.known
    session = onnx_session(exported.folder / f"{graph}{suffix}.onnx", 1)
    states = {
        name: StateInput(tuple(one["shape"]), one["start"]) for name, one in known["graphs"][graph]["states"].items()
    }
    return caller(session, states, None if graph == STREAM else SEQUENCE_STEPS, known["sizes"]["vocab_size"])


def prepare(cell: str, hidden_size: int, options: argparse.Namespace) -> tuple[list[Row], dict[str, dict[Any, Call]]]:
    """One row for each way and type of a cell without its times, and the calls to be timed, by graph and arm.

    Raises:
        NotTheSame: An export was not proved.
    """
    run = train(cell, hidden_size, options.task, options.steps)
    kept = load(run)
    rows: list[Row] = []
    calls: dict[str, dict[Any, Call]] = {STREAM: {}, SEQUENCE: {}}
    for way, operators in WAYS.items():
        keys = Keys(
            run=run, format="onnx", output=f"{cell}_{hidden_size}_{way}", int8=True, operators=operators, score=True
        )
        exported = made(kept, keys)
        known = exported.known
        for dtype, suffix in (("float32", ""), ("int8", ".int8")):
            score = known["score"]["exported" if dtype == "float32" else "int8"]
            rows.append(
                {
                    "cell": cell,
                    "hidden_size": hidden_size,
                    "way": way,
                    "dtype": dtype,
                    "bytes": (exported.folder / f"{SEQUENCE}{suffix}.onnx").stat().st_size,
                    "score": score,
                    "score_loss": known["score"]["source"] - score,
                    "worst_relative_error": known["proof"]["worst_relative_error"] if dtype == "float32" else None,
                    "left_in_float32": known["int8"][SEQUENCE]["recurrent_operators_left_in_float32"]
                    if dtype == "int8"
                    else [],
                }
            )
            for graph in (STREAM, SEQUENCE):
                calls[graph][cell, way, dtype] = session_call(exported, graph, suffix)
    for way, call in native_calls(cast(Classifier, kept.module)).items():
        rows.append({"cell": cell, "hidden_size": hidden_size, "way": way, "dtype": "float32", "bytes": None,
                     "score": known["score"]["source"], "score_loss": 0.0})  # fmt: skip
        calls[STREAM][cell, way, "float32"] = call
    return rows, calls


def measure(calls: dict[Any, Call], number: int, rounds: int) -> dict[Any, Row]:
    """Times of all arms, by turns."""
    all_s: dict[Any, list[float]] = {name: [] for name in calls}

    def median_s(name: Any) -> float:
        call, now, some = calls[name], time.perf_counter, []
        for place in range(-2, number):
            start = now()
            call()
            if place >= 0:
                some.append(now() - start)
        all_s[name] += some
        return statistics.median(some)

    names = {str(name): name for name in calls}
    with torch.inference_mode():
        rounds_s = turns({text: partial(median_s, name) for text, name in names.items()}, rounds)
    found: dict[Any, Row] = {}
    for text, name in names.items():
        p50, p99 = (float(value) * 1e6 for value in np.quantile(all_s[name], (0.5, 0.99)))
        found[name] = {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "calls": len(all_s[name])}
        if name != REFERENCE and REFERENCE in calls:
            ratio = paired_ratio(rounds_s[text], rounds_s[str(REFERENCE)])
            found[name] |= {key: round(getattr(ratio, key), 3) for key in ("value", "low", "high")}
    return found


def line(row: Row) -> str:
    """One row of the table."""
    size = "" if row["bytes"] is None else f"{row['bytes']:,}"
    head = f"{row['hidden_size']:>4} {row['cell']:<5} {row['way']:<10} {row['dtype']:<8}"
    head = f"{head} {size:>11} {row['score_loss']:>8.4f}"
    parts = []
    for graph in (STREAM, SEQUENCE):
        one = row.get(graph)
        if one is None:
            continue
        ratio = f"{one['value']:.2f} ({one['low']:.2f}..{one['high']:.2f})" if "value" in one else "1"
        parts.append(f"{one['p50_us']:>9.1f} {one['p99_us']:>9.1f} {ratio:<19}")
    left = f" {'+'.join(row['left_in_float32'])} stays float32" if row.get("left_in_float32") else ""
    return f"{head} {' '.join(parts)}{left}"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell, or too few rounds.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="64,256")
    parser.add_argument("--cells", default=",".join(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--rounds", type=int, default=FEWEST)
    parser.add_argument("--task", default="sentiment", help="a classification task on embedded data")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args(arguments)
    options.hidden = [int(size) for size in options.hidden.split(",")]
    take_names(options, "cells", CELLS)
    require_rounds(options.rounds)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, export, measure and print. Returns the exit code."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"deployment: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    others, rows = 0.0, list[Row]()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        for hidden_size in options.hidden:
            calls: dict[str, dict[Any, Call]] = {STREAM: {}, SEQUENCE: {}}
            here: list[Row] = []
            for cell in options.cells:
                try:
                    new, more = prepare(cell, hidden_size, options)
                except NotTheSame as error:
                    print(f"{cell}, hidden size {hidden_size}: {error}", file=sys.stderr)
                    return 1
                here += new
                for graph, some in more.items():
                    calls[graph] |= some
            others = max(others, cores_used_by_others(1.0))
            for graph, some in calls.items():
                for arm, times in measure(some, CALLS[graph], options.rounds).items():
                    next(row for row in here if (row["cell"], row["way"], row["dtype"]) == arm)[graph] = times
            if not rows:
                print(f"{'':<30} {'bytes':>11} {'loss':>8} {'step p50':>9} {'p99 us':>9} {'times as fast':<19} "
                      f"{f'{SEQUENCE_STEPS} p50':>9} {'p99 us':>9} times as fast")  # fmt: skip
            print("\n".join(map(line, here)), flush=True)
            rows += here
    warn_of_others(others)
    summary = {
        "bench": "deployment",
        **facts(others),
        "onnxruntime": version("onnxruntime"),
        "task": options.task,
        "steps": options.steps,
        "rounds": options.rounds,
        "rows": rows,
    }
    print(json.dumps(summary))
    return 0 if all(math.isfinite(row["score_loss"]) for row in rows) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
