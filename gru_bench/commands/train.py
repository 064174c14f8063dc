"""``gru-bench train``: one run, or one job of a sweep. Wiring only."""

import sys
import time
import traceback

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench import build, hydra_callback, messages
from gru_bench.commands import outcome
from gru_bench.commands.record import Recorder, facts_before
from gru_bench.config import Node, Settings, check, construct, run_keys
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers, resolve_threads, set_threads
from gru_bench.measure.timing import StepClock
from gru_bench.progress import show_progress
from gru_bench.tasks.base import Task
from gru_bench.tracking import Store, raise_on_signals
from gru_bench.trainer import Trainer, evaluate


def train(config: DictConfig) -> int:
    """Run one job and say how it ended; never raises for a failed run, so that a sweep goes on."""
    raise_on_signals()  # workers of a parallel launcher are processes of their own
    hydra_config = HydraConfig.get()
    in_sweep = hydra_config.mode == RunMode.MULTIRUN
    label = "train"
    try:
        if in_sweep and hydra_callback.parent is None:
            raise RuntimeError("this job belongs to a sweep whose parent run could not be opened")
        settings, node = check(config)
        choices = {key: str(value) for key, value in hydra_config.runtime.choices.items() if value is not None}
        label = " ".join(choices[key] for key in ("cell", "task")) + f" seed {settings.seed}"
        if in_sweep:
            label = f"[{hydra_config.job.num + 1}/{hydra_callback.parent[1]}] {label}"  # type: ignore[index]
        workers = num_workers(hydra_config.launcher)
        print(f"{label}: {run_one(settings, node, choices, workers, in_sweep)}", flush=True)
        code = 0
    except UserError as error:
        print(f"{label}: {error}" if in_sweep else messages.line("train", error), file=sys.stderr, flush=True)
        code = 2
    except Exception as error:
        if not isinstance(error, messages.FAILED_RUN):
            traceback.print_exc()
        print(f"{label}: failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        code = 1
    # a sweep's code comes from the store when it is closed: its jobs may run in other processes
    outcome.code = 0 if in_sweep else code
    return code


def run_one(settings: Settings, node: Node, choices: dict[str, str], workers: int, in_sweep: bool) -> str:
    """Train, score and record one run; returns a line that says how it went."""
    started = time.perf_counter()
    threads = resolve_threads(settings.threads, workers)
    set_threads(threads)
    place = build.make_place(settings)
    task = build.make_task(node)
    source_id = task.source_id()
    config_key, group_key = run_keys(node, choices, source_id)
    store: Store = construct(node["tracking"])
    store.open()
    facts = facts_before(settings, node, choices, task, threads, workers)
    tags = {key: str(facts[key]) for key in ("cell", "family", "backend", "task", "seed", "budget")}
    tags |= {"gru_bench.config_key": config_key, "gru_bench.group_key": group_key}
    sweep_id = hydra_callback.parent[0] if in_sweep and hydra_callback.parent else None
    if in_sweep:
        tags["gru_bench.job"] = str(HydraConfig.get().job.num)
    name = f"{facts['cell']} {facts['task']} seed {settings.seed}"
    experiment = choices.get("experiment", hydra_callback.ADHOC)
    if not in_sweep:
        prepare(node, task, place)  # bad input of a single run ends here and leaves no run behind
    with store.run(experiment, name, sweep_id=sweep_id, tags=tags) as run:
        recorder = Recorder(run, task, started)
        recorder.before(node, facts)
        if in_sweep:
            prepare(node, task, place)  # in a sweep it becomes a row with its reason
        return fit_and_score(recorder, settings, node, place, quiet=in_sweep)


def prepare(node: Node, task: Task, place: build.Place) -> None:
    """Everything that shows bad input: the limits, whether the backend takes the cell, whether the data can be used."""
    construct(node["trainer"])
    build.check_backend(build.make_cell(node), construct(node["backend"]), place)
    task.load()


def fit_and_score(record: Recorder, settings: Settings, node: Node, place: build.Place, *, quiet: bool) -> str:
    """The inside of a run, where every failure becomes its status and its reason."""
    task = record.task
    record.data()
    cell, backend = build.make_cell(node), construct(node["backend"])
    builder = build.ModelBuilder(node, task.sizes(), place)
    hidden_size: int = construct(node["budget"]).solve(settings.hidden_size, cell, builder.count)
    torch.manual_seed(settings.seed)  # dropout
    model = builder.build(cell, backend, hidden_size, settings.seed)
    record.model(model, cell, backend, place, hidden_size)
    trainer: Trainer = construct(node["trainer"])
    record.memory(model, trainer)
    generator = torch.Generator().manual_seed(build.data_seed(settings.seed))
    try:
        with show_progress(record.title, trainer, quiet=quiet) as progress:
            trainer.fit(
                model,
                task,
                generator,
                StepClock(place.device),
                hooks=(record.curves,),
                progress=progress,
                result=record.fit,
            )
        record.test(evaluate(model, task, "test"))
    finally:
        record.after()
    return record.summary()


def close_sweep(code: int) -> int:
    """Close the parent run of the sweep that this process launched, and turn its counts into the exit code."""
    sweep = hydra_callback.launched
    if sweep is None:
        return code
    hydra_callback.launched = None
    counts = sweep.store.close_sweep(sweep.sweep_id)
    said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"sweep {sweep.experiment}: {said or 'no runs'}", flush=True)
    bad = sum(number for status, number in counts.items() if status != "finished")
    return code or (1 if bad else 0)
