"""``gru-bench train``: one run, or one job of a sweep. Wiring only."""

import sys
import time
import traceback

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench.commands import messages, outcome
from gru_bench.config.check import construct, to_node
from gru_bench.errors import UserError
from gru_bench.measure.timing import StepClock
from gru_bench.run import build
from gru_bench.run import sweep as sweeps
from gru_bench.run.job import Job, plan
from gru_bench.run.progress import show_progress
from gru_bench.run.record import Recorder
from gru_bench.store.signals import SIGTERM_EXIT_CODE
from gru_bench.store.write import Store, raise_on_signals
from gru_bench.training.trainer import Trainer


def train(config: DictConfig) -> int:
    """Run one job and say how it ended; never raises for a failed run, so that a sweep goes on."""
    raise_on_signals()  # workers of a parallel launcher are processes of their own
    hydra_config = HydraConfig.get()
    in_sweep = hydra_config.mode == RunMode.MULTIRUN
    choices = {key: str(value) for key, value in hydra_config.runtime.choices.items() if value is not None}
    loaded = 0.0
    name = label = f"{choices['cell']} {choices['task']} seed {config.seed}"
    try:
        tags = {key: choices[key] for key in ("cell", "task", "backend", "budget")} | {"seed": str(config.seed)}
        store: Store = construct(to_node(config.tracking))
        sweep_id = None
        job: Job | None = None
        if in_sweep:
            if sweeps.parent is None:
                raise RuntimeError("this job belongs to a sweep whose parent run could not be opened")
            sweep_id, num_jobs, varied = sweeps.parent
            tags["gru_bench.job"] = str(hydra_config.job.num)
            told = [text for text in hydra_config.overrides.task if text.split("=")[0] in varied]
            label = " ".join([f"[{hydra_config.job.num + 1}/{num_jobs}]", label, *told])
        else:
            started = time.perf_counter()
            job = plan(config, choices)
            job.ready()  # bad input of a single run ends here and leaves no run behind
            loaded = time.perf_counter() - started
        store.open()
        started = time.perf_counter() - loaded  # opening a store is no cost of the run, and the first one is slow
        experiment = choices.get("experiment", sweeps.ADHOC)
        with store.run(experiment, name, sweep_id=sweep_id, tags=tags) as run:
            planned = job or plan(config, choices)
            record = Recorder(run, planned.task, started)
            record.before(planned.node, planned.facts, planned.keys)
            if job is None:
                planned.ready()  # in a sweep bad input becomes a row with its reason
            else:
                for note in record.notes():  # a sweep's would be told once a run; there the report tells them
                    print(f"{label}: {note}", file=sys.stderr, flush=True)
            said = fit_and_score(record, planned, quiet=in_sweep)
        print(f"{label}: {said}", flush=True)
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
    outcome.code = 0 if in_sweep and sweeps.parent is not None else code
    return code


def fit_and_score(record: Recorder, job: Job, *, quiet: bool) -> str:
    """The inside of a run, where every failure becomes its status and its reason."""
    settings, node, task, place = job.settings, job.node, job.task, job.place
    record.data()
    cell, backend = build.make_cell(node), construct(node["backend"])
    builder = build.ModelBuilder(node, task.sizes(), place)
    hidden_size: int = construct(node["budget"]).solve(settings.hidden_size, cell, builder.count)
    torch.manual_seed(build.dropout_seed(settings.seed))
    model = builder.build(cell, backend, hidden_size, settings.seed)
    record.model(model, cell, backend, place, hidden_size)
    trainer: Trainer = construct(node["trainer"], place.autocast)
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
        record.test(trainer.evaluate(model, task, "test"))
    finally:
        record.after()
    return record.summary()


def close_sweep(code: int) -> int:
    """Close the parent run of the sweep that this process launched, and turn its counts into the exit code."""
    sweep = sweeps.launched
    if sweep is None:
        return code
    sweeps.launched = None
    reason = {130: "interrupted", SIGTERM_EXIT_CODE: "SIGTERM"}.get(code)
    counts = sweep.store.close_sweep(sweep.sweep_id, lost=reason and f"{reason}: the sweep was told to end")
    said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"sweep {sweep.experiment}: {said or 'no runs'}", flush=True)
    bad = sum(number for status, number in counts.items() if status != "finished")
    return code or (1 if bad else 0)
