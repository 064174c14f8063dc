"""What of a real run is not the recurrent cell? CPU seconds of whole runs by part, as an experiment trains them.

    python bench/parts.py [--experiment quick] [--cells lstm,gru] [--tasks adding,...] [--steps 200]
    GRU_BENCH_DATA=../shared/data python bench/parts.py --experiment real_quick --steps 100

Each task is run twice in this process, by the command that a sweep runs, with the experiment's settings on one thread.
The second run is measured: the first one loads data, checks parity and opens the store for all that follow. Where
``--steps`` shortens it, training steps and validations are scaled to the whole run, to the task's own steps or epochs
as if no early stopping ended it. A task that cannot run, as where its data is missing, is skipped with the reason.

How it is measured: by the marks of ``bench/parts_marks.py``, which charge one part at a time. So the parts sum to the
whole by construction; ``glue`` lies within the model but in none of its named parts, ``rest`` in no part at all.
Embedding, cell, attention, head and loss are training steps alone, forward and backward; ``loss`` holds the head too
where both are computed chunk by chunk. What evaluation spends on its own cell is in the line of JSON.

Prints a table for each cell and then one line of JSON.
"""

import argparse
import contextlib
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from parts_marks import Ledger, watch_runs, watch_task

from gru_bench.commands import cli
from gru_bench.config.check import conf_dir
from gru_bench.run import job as jobs
from gru_bench.run import train as story
from gru_bench.tasks.base import Task

STEP_PARTS = ("embedding", "cell", "attention", "head", "loss", "glue", "optimizer")
"""Parts of a training step."""
PARTS = (
    *STEP_PARTS,
    *("data", "validation", "test", "tracking", "loading", "parity", "audit", "memory", "probes", "rest"),
)
EXPERIMENTS = ("quick", "real_quick")


class Watch:
    """Measures the last of the jobs that the command runs."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.found: dict[str, Any] = {}
        self.watched: Any = None

    def train(self, call: Callable[..., str], *args: Any) -> str:
        """One job."""
        self.ledger.clear()
        started, cpu = time.perf_counter(), time.process_time()
        ended = call(*args)
        self.ledger.switch("rest")
        self.found["wall_s"] = time.perf_counter() - started
        self.found["process_s"] = time.process_time() - cpu
        return ended

    def fit_and_score(self, call: Callable[..., None], job: jobs.Job, *args: Any, **kwargs: Any) -> None:
        """The part of a job in which its settings are known."""
        if self.watched is not job.task:
            self.watched = job.task
            watch_task(job.task, self.ledger)
        call(job, *args, **kwargs)
        limits, ledger = job.node["trainer"], self.ledger
        self.found |= {"trainer": limits, "steps": ledger.counts["step"], "validations": ledger.counts["valid"]}


def steps_of(task: Task) -> int:
    """Steps of one epoch."""
    return sum(1 for _ in task.batches("train", torch.Generator().manual_seed(0)))


def measure(task: str, cell: str, experiment: str, steps: int | None, more: list[str]) -> dict[str, Any]:
    """One task's second run: seconds by part of the run as it was, and of the whole run.

    Raises:
        SystemExit: The command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        common = ["backend=bptt", "threads=1", f"probe={'[gradient_reach]' if experiment == 'quick' else '[]'}"]
        place = [f"tracking.uri=sqlite:///{Path(folder).resolve()}/runs.db", f"hydra.sweep.dir={folder}/hydra"]
        short = [] if steps is None else [f"trainer.max_steps={steps}"]
        watch = Watch()
        with contextlib.ExitStack() as undo:
            for owner, name, new in [
                *watch_runs(watch.ledger),
                (story, "train", functools.partial(watch.train, story.train)),
                (story, "fit_and_score", functools.partial(watch.fit_and_score, story.fit_and_score)),
            ]:
                undo.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, new)
            undo.enter_context(contextlib.redirect_stdout(sys.stderr))
            code = cli.run(["train", "-m", f"task={task}", f"cell={cell}", "seed=0,1", *common, *short, *place, *more])
        if code or "trainer" not in watch.found:
            raise SystemExit(f"{task} {cell}: gru-bench train ended with {code}")
    found, ledger = watch.found, watch.ledger
    seconds = {part: ledger.seconds.get(part, 0.0) for part in PARTS}
    assert set(ledger.seconds) <= set(PARTS), set(ledger.seconds) - set(PARTS)
    configured = yaml_of(task)
    whole_steps, validations = found["steps"], found["validations"]
    if steps is not None:
        epochs = configured["max_epochs"] or 0
        whole_steps = configured["max_steps"] or epochs * steps_of(watch.watched)
        every = configured["eval_every"]
        validations = -(-whole_steps // every) if every else epochs
    scaled = dict(seconds)
    for part in (*STEP_PARTS, "data"):
        scaled[part] *= whole_steps / found["steps"]
    scaled["validation"] *= validations / found["validations"]
    in_eval = sum(value for name, value in ledger.inner.items() if name in ("validation.cell", "test.cell"))
    return {
        "task": task,
        "cell": cell,
        "steps": found["steps"],
        "whole_steps": whole_steps,
        "validations": validations,
        "seconds": rounded(seconds),
        "whole": rounded(scaled),
        "evaluation_inner": rounded(ledger.inner),
        "evaluation_cell_s": round(in_eval, 4),
        "cpu_s": round(ledger.whole, 4),
        "other_threads_s": round(found["process_s"] - ledger.whole, 4),
        "wall_s": round(found["wall_s"], 4),
    }


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """To a tenth of a millisecond."""
    return {name: round(value, 4) for name, value in seconds.items()}


def yaml_of(task: str) -> dict[str, Any]:
    """What the task's yaml, and those that it builds upon, set of the trainer."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(conf_dir().resolve()), version_base=None):
        config = compose("train", overrides=[f"task={task}"])
    return {name: config.trainer.get(name) for name in ("max_steps", "max_epochs", "eval_every")}


def tasks_of(experiment: str) -> list[str]:
    """The tasks of an experiment, from its yaml."""
    node = yaml.safe_load((conf_dir() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8"))
    return str(node["hydra"]["sweeper"]["params"]["task"]).split(",")


def table(rows: list[dict[str, Any]]) -> str:
    """Share of the whole run by part and task, in per cent, one line a part; then what no part has."""
    shown = [part for part in PARTS if any(row["whole"][part] > 0 for row in rows)]
    lines = [f"{'% of CPU time':<13}" + "".join(f"{row['task'][:15]:>16}" for row in rows)]
    for part in shown:
        shares = [100 * row["whole"][part] / sum(row["whole"].values()) for row in rows]
        lines.append(f"{part:<13}" + "".join(f"{share:16.1f}" for share in shares))
    lines.append(f"{'whole, CPU s':<13}" + "".join(f"{sum(row['whole'].values()):16.2f}" for row in rows))
    lines.append(f"{'steps':<13}" + "".join(f"{row['whole_steps']:16d}" for row in rows))
    lines.append(f"{'ms a step':<13}" + "".join(f"{1000 * step_s(row):16.3f}" for row in rows))
    return "\n".join(lines)


def step_s(row: dict[str, Any]) -> float:
    """CPU seconds of one training step."""
    return sum(row["seconds"][part] for part in STEP_PARTS) / row["steps"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="quick", choices=EXPERIMENTS)
    parser.add_argument("--cells", default="lstm,gru")
    parser.add_argument("--tasks", default=None, help="some of the experiment's tasks; default: all")
    parser.add_argument("--steps", type=int, default=None, help="training steps of each run; default: the task's own")
    parser.add_argument("more", nargs="*", help="further settings of the command, such as hidden_size=32")
    options = parser.parse_args()
    rows = []
    for cell in options.cells.split(","):
        of_cell = []
        for task in options.tasks.split(",") if options.tasks else tasks_of(options.experiment):
            try:
                of_cell.append(measure(task, cell, options.experiment, options.steps, options.more))
            except SystemExit as error:
                print(f"skipped: {error}")
        if of_cell:
            print(f"{options.experiment}, {cell}\n{table(of_cell)}\n", flush=True)
        rows += of_cell
    print(json.dumps({"experiment": options.experiment, "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
