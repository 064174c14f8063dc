"""The first step of ``gru-bench answer``: what is asked of what data, a pilot, and the plan. Runs nothing else."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gru_bench.answer import record as kept
from gru_bench.answer.asked import Asked, experiment_yaml, key_of, name_of
from gru_bench.answer.plan_text import plan_lines
from gru_bench.answer.record import Record
from gru_bench.answer.sizing import LADDER, Sized, middle_of, rates_around, sized, total_s
from gru_bench.commands.data import describe
from gru_bench.commands.plan import WATCH_S, Cost, measure, safe_here
from gru_bench.config.check import construct, to_node
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.run.build import check_backend, make_cell, make_place
from gru_bench.run.outlook import Line, Outlook
from gru_bench.run.plan import Choices, Composed, compose_job
from gru_bench.store.write import Store
from gru_bench.tasks.base import Metric

PILOT_SHARE, PILOT_S, LEAST_PILOT_S = 0.05, 60.0, 4.0
"""Of the time, for all pilots; at most so many seconds, and at least so many for each cell."""
TRIAL_SEEDS = (100, 101, 102)
"""None that an experiment compares with."""


@dataclass
class Question:
    """What is to be answered.

    Attributes:
        asked: The call.
        started: When it began, as ``time.time()`` counts.
        uri: Of the store.
        folder: Where its record lies.
        record: What earlier calls and this one decided.
        tuning: What the task's yaml has of trials; empty without.
        metric: By which it is judged.
        margin: A difference that matters.
        reads: Whether a model of the task can be given new rows.
    """

    asked: Asked
    started: float
    uri: str
    folder: Path
    record: Record
    tuning: Mapping[str, Any]
    metric: Metric
    margin: float
    reads: bool

    @property
    def seconds_left(self) -> float:
        """Until ``max_hours`` are over."""
        return self.started + 3600 * self.asked.keys.max_hours - time.time()

    def keep(self, record: Record) -> None:
        """Keep a record, and the experiment that says the same.

        Raises:
            UserError: They cannot be written.
        """
        self.record = record
        try:
            kept.write(self.folder, record, self.experiment())
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written to ({error.strerror}); GRU_BENCH_CACHE names another"
            ) from error

    def experiment(self) -> str:
        """The yaml by which every command knows the experiment."""
        size = self.record.size
        more: dict[str, Any] = {
            "hydra": {
                "mode": "MULTIRUN",
                "sweeper": {"params": {"cell": ",".join(self.asked.keys.cells)}, "seeds": size.seeds if size else 5},
            }
        }
        more |= rates_node(self.record, self.tuning, self.metric)
        fixed = {} if self.asked.gives("backend") else {"backend": self.record.backend}
        first = f"{', '.join(self.asked.keys.cells)}: {' '.join(self.asked.question)}; written by gru-bench answer"
        return experiment_yaml(self.asked.question, fixed, more, first.replace("\n", " "))


def rates_node(record: Record, tuning: Mapping[str, Any], metric: Metric) -> dict[str, Any]:
    """What the trials gave, as a task's yaml has it; nothing before they have.

    Args:
        record: With them.
        tuning: That of the task's yaml. Its trials chose for other data or settings: none of them counts.
        metric: By which they were judged.
    """
    rates = {cell: one.rate for cell, one in record.chosen.items() if one.rate is not None}
    if not rates:
        return {}
    nothing: list[float | None] = [None] * len(record.rates)
    scores = dict.fromkeys(tuning.get("scores") or {}, nothing)
    scores |= {cell: one.scores for cell, one in record.chosen.items()}
    node = {
        "metric": metric.name,
        "best": "highest" if metric.higher_is_better else "lowest",
        "seeds": record.trial_seeds,
        "at": None,
        "rates": record.rates,
        "scores": scores,
        "extra": None,
        "settings": {cell: one.settings for cell, one in record.chosen.items()},
    }
    return {"tuning": node, "trainer": {"learning_rate": rates}}


def look_at(asked: Asked, started: float, found: list[Question], config: DictConfig) -> int:
    """Say what is asked and what the data is, and plan.

    Args:
        asked: The call.
        started: When it began.
        found: Gets what is to be answered.
        config: As composed for one run.

    Returns:
        The exit code, 0.

    Raises:
        UserError: Whatever ``gru-bench train`` would refuse, or a name that stands for another question.
    """
    backend, composed = on_one_backend(asked, config)
    first = next(iter(composed.values()))
    store: Store = construct(to_node(config.tracking))
    source_id = first.source_id()
    given = next((text.partition("=")[2] for text in asked.question if key_of(text) == "data.path"), None)
    name = asked.keys.name or name_of(first.choices["task"], given, asked.id(source_id))
    folder = kept.folder_of(store.uri, name)
    earlier = kept.read(folder)
    fresh = Record(name, sorted(asked.question), source_id, backend)
    if earlier is not None:
        refuse_another(earlier, fresh)
    else:
        say_if_changed(folder, fresh)
    task = describe(first.node, first.choices["task"], store).task
    goal = first.node["task"]["goal"]
    record = earlier or fresh
    tuning: Any = OmegaConf.to_container(config.tuning) if config.get("tuning") else {}
    question = Question(
        asked,
        started,
        store.uri,
        folder,
        record,
        tuning,
        task.primary_metric,
        float(goal["margin"]),
        bool(task.reader()),
    )
    print(margin_line(question, first.choices["task"]), flush=True)
    make_plan(question, config, composed)
    found.append(question)
    return 0


def on_one_backend(asked: Asked, config: DictConfig) -> tuple[str, dict[str, Composed]]:
    """The backend on which all cells run, so that kernels are not compared, and each cell's config there.

    Raises:
        UserError: A value does not fit, or the backend that was asked for does not take a cell.
    """
    if asked.gives("backend"):
        names = [str(config.hydra.runtime.choices.backend)]
    else:
        names = ["vendor", "loop"] if "cuda" in str(config.get("device")) else ["bptt", "loop"]
    for name in names:
        composed = {cell: compose_job(config, job_of(asked, cell, name)) for cell in asked.keys.cells}
        try:
            for one in composed.values():
                check_backend(make_cell(one.node), construct(one.node["backend"]), make_place(one.settings))
        except Unsupported:
            if name == names[-1]:
                raise
            continue
        break
    return name, composed


def job_of(asked: Asked, cell: str, backend: str) -> Choices:
    """The overrides of one run."""
    question = dict(text.split("=", 1) for text in asked.question)
    return question | {"cell": cell, "backend": backend}


def refuse_another(earlier: Record, fresh: Record) -> None:
    """Refuse a name that stands for another question.

    Raises:
        UserError: It does.
    """
    if earlier.source_id != fresh.source_id:
        raise UserError(
            f"name={fresh.name}: the data has changed since its runs ({earlier.source_id}, now {fresh.source_id}); "
            "valid: another name, or the data as it was"
        )
    if earlier.question != fresh.question:
        raise UserError(f"name={fresh.name}: stands for {' '.join(earlier.question)}; valid: another name, or none")


def say_if_changed(folder: Path, fresh: Record) -> None:
    """A line where the same was asked of other data at the same place: nothing of that counts here."""
    for other in sorted(folder.parent.glob("*/record.json")):
        before = kept.read(other.parent)
        if before is not None and before.question == fresh.question and before.source_id != fresh.source_id:
            print(f"the data has changed since {before.name}: its runs do not count, and {fresh.name} begins anew")


def margin_line(question: Question, task: str) -> str:
    """Which difference matters, and who says so."""
    metric, given = question.metric, question.asked.gives("task.goal.margin")
    unit = "" if metric.unit in ("", "1") else f" {metric.unit}"
    whose = "as you gave it" if given else f"the default of task={task}; task.goal.margin= sets another"
    return (
        f"a difference in {metric.name} that matters (margin): {question.margin:g}{unit}, {whose}; fixed before any run"
    )


def make_plan(question: Question, config: DictConfig, composed: Mapping[str, Composed]) -> None:
    """Pilot what is not known yet, plan, print it and keep it. A second call never plans less than the first."""
    record, keys = question.record, question.asked.keys
    unknown = {cell: one for cell, one in composed.items() if cell not in record.run_s}
    if unknown:
        record = piloted(question, config, unknown)
    run_s = {cell: record.run_s[cell][2] for cell in keys.cells}
    tunes = not question.asked.gives("trainer.learning_rate")
    workers = record.workers if keys.workers == "auto" else keys.workers
    spent = time.time() - question.started
    found = sized(run_s, workers, question.seconds_left, tunes=tunes, max_seeds=keys.max_seeds)
    before = record.size
    if before is not None and LADDER.index(before) >= LADDER.index(found.size):
        print(f"{record.name}: goes on with the plan of an earlier call", flush=True)
        left = {cell: run_s[cell] for cell in unknown}  # what the others have yet to do was planned then
        cost = total_s(before, left or run_s, workers)
        found = Sized(before, cost, not left or cost <= question.seconds_left, before, cost)
    rates: list[float] = []
    if tunes:
        rates = rates_around(middle_of(given_rates(config)), found.size.rates)
    record = replace(record, size=found.size, workers=workers).with_trials(
        rates, list(TRIAL_SEEDS[: found.size.trial_seeds])
    )
    for text in plan_lines(record, found, keys, spent):
        print(text, flush=True)
    question.keep(record)


def given_rates(config: DictConfig) -> list[float]:
    """The learning rates of the task's yaml."""
    rates = OmegaConf.to_container(config.trainer, resolve=True)["learning_rate"]  # type: ignore[index,call-overload]
    return [float(rate) for rate in (rates.values() if isinstance(rates, dict) else [rates])]


def piloted(question: Question, config: DictConfig, composed: Mapping[str, Composed]) -> Record:
    """The record with what a run of each cell takes, and how many run at once.

    Raises:
        UserError: No pilot came to an end.
    """
    record, task = question.record, next(iter(composed.values())).choices["task"]
    jobs = {cell: job_of(question.asked, cell, record.backend) for cell in composed}
    lines = [Line({"task": task, "cell": cell}, job, planned=99, todo=99) for cell, job in jobs.items()]
    outlook, costs = Outlook(record.name, lines, [], config), [Cost() for _ in lines]
    seconds = 3600 * question.asked.keys.max_hours
    share = min(PILOT_S, max(LEAST_PILOT_S * len(lines), PILOT_SHARE * seconds))
    others = cores_used_by_others(WATCH_S)
    measure(outlook, costs, share, others)
    known = {cell: cost.run_s for cell, cost in zip(composed, costs, strict=True) if cost.run_s is not None}
    if missing := [cell for cell in composed if cell not in known]:
        why = costs[list(composed).index(missing[0])].source
        raise UserError(f"task={task} cell={missing[0]}: no pilot came to an end: {why}")
    spans = {cell: [round(end, 3) for end in (span.low, span.likely, span.high)] for cell, span in known.items()}
    workers = safe_here(outlook, costs, others).workers if not record.run_s else record.workers
    return replace(record, run_s=record.run_s | spans, workers=workers)
