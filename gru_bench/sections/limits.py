"""Limits: what do these runs show, and what do they not show?"""

import pandas as pd

from gru_bench.report.groups import TaskGroups, distinct
from gru_bench.report.markdown import Section, count, known, plural, span
from gru_bench.report.scores import gain_over_trivial
from gru_bench.report.view import View

SHORT_S = 3600.0

BUDGETS = {
    "hidden": (
        "Every cell got the same hidden size, which is not the same number of parameters: a gated cell has three or "
        "four times the recurrent weights of a plain one, and an LSTM a third more than a GRU"
    ),
    "parameters": (
        "Every cell got about as many parameters as the LSTM, and so another hidden size; which of the two is the "
        "fair comparison depends on the question"
    ),
}


def render(view: View, /, *, seeds_for_a_winner: int) -> Section:
    """Answer: what do these runs show, and what do they not show?

    Args:
        view: All runs.
        seeds_for_a_winner: Seeds below which no difference between cells may be called one.
    """
    tasks = view.tasks
    runs = view.runs
    finished = runs[runs["status"] == "finished"]
    if finished.empty:
        return Section("What these runs show and do not show", "")
    lines = [
        "They show what each cell scored and cost at exactly these settings, on this data, with these seeds.",
        learned(tasks, view),
        seeds(tasks, view, seeds_for_a_winner),
        "The spread is over seeds alone: other initial values, another order or draw of the training data. The test "
        "data is the same for all, and how much scores would move on other test data is not in it.",
        *budgets(finished),
        tuning(tasks),
        training(tasks, view),
        origin(tasks),
        kernels(finished),
        survivors(tasks),
    ]
    return Section("What these runs show and do not show", "\n".join(f"- {line}" for line in lines if line))


def seeds(tasks: list[TaskGroups], view: View, wanted: int) -> str:
    """Whether there are enough seeds to call a difference one."""
    counts = [len(view.seed_values(group, task.metric)) for task in tasks for group in task.groups]
    counts = [number for number in counts if number]
    if not counts:
        return "No run has a test score."
    seen = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    if min(counts) < wanted:
        return (
            f"n is {seen} seeds a row. Below {wanted} no difference between two rows is called a win here, however "
            "large it looks."
        )
    return f"n is {seen} seeds a row. Differences are shown, not tested: intervals and a verdict come later."


def learned(tasks: list[TaskGroups], view: View) -> str:
    """On how many tasks any cell is clearly better than a guess."""
    yes: list[str] = []
    no: list[str] = []
    for task in tasks:
        gain = gain_over_trivial(task, [view.seed_values(group, task.metric) for group in task.groups])
        if gain is not None and known(task.beats_trivial_by):
            (yes if gain >= float(task.beats_trivial_by or 0) else no).append(task.task)
    if not yes and not no:
        return ""
    tasks_said = plural(len(yes) + len(no), "task")
    text = f"On {len(yes)} of {tasks_said} the best cell beats the trivial guess by the task's margin"
    return f"{text}; on {', '.join(no)} none does, so nothing there tells the cells apart." if no else f"{text}."


def tuning(tasks: list[TaskGroups]) -> str:
    """How the learning rates came about, and what that means."""
    tuned = {task.task: number for task in tasks if (number := trials(task))}
    rest = [task for task in tasks if task.task not in tuned]
    told = []
    if tuned:
        counts = " to ".join(dict.fromkeys([str(min(tuned.values())), str(max(tuned.values()))]))
        told.append(
            f"On {', '.join(tuned)} each family has the learning rate that was best for its reference cell on "
            f"validation data among {counts} rates, the same ones for all; the trials stand in the task's yaml, with "
            "the settings at which they ran. Nothing else was tuned for a family, and at another size or on other data "
            "another rate may be best."
        )
    if any(len({group.fact("learning_rate") for group in task.groups} - {None}) > 1 for task in rest):
        told.append(
            "Rows of one task differ in learning rate, and nothing here says that each cell had equally many tuning "
            "trials: differences hold at these settings only."
        )
    elif rest:
        where = f"On {', '.join(task.task for task in rest)} all cells" if tuned else "All cells of a task"
        told.append(
            f"{where} share one learning rate; none was given its own best one. Sizes, steps and learning rates "
            "of the shipped tasks were chosen by looking at these cells, so that some cell learns and not all solve "
            "the task. Differences hold at these settings only."
        )
    return " ".join(told)


def trials(task: TaskGroups) -> int:
    """By how many trials each family's learning rate was chosen; 0 where not all rows had equally many."""
    counts = {group.fact("learning_rate_trials") for group in task.groups}
    return int(counts.pop()) if len(counts) == 1 and known(next(iter(counts))) else 0


def budgets(finished: pd.DataFrame) -> list[str]:
    """What was equal between the cells, and what that left unequal."""
    told = []
    for budget in distinct(finished["budget"]):
        sizes = finished.loc[finished["budget"] == budget, ["task", "num_parameters"]].dropna()
        ranges = [
            f"{task} {count(part.min())} to {count(part.max())}"
            for task, part in sizes.groupby("task")["num_parameters"]
            if part.min() != part.max()
        ]
        whole = BUDGETS.get(str(budget), f"What was equal between the cells: {budget}")
        told.append(f"{whole} (parameters of the whole model: {'; '.join(ranges)})." if ranges else f"{whole}.")
    return told


def training(tasks: list[TaskGroups], view: View) -> str:
    """How short training was, and how many runs were still getting better when it ended."""
    steps, best, seconds = [], [], []
    for task in tasks:
        for group in task.groups:
            found = [view.seed_values(group, m, s) for m, s in (("steps", "train"), ("best_step", "train"))]
            both = pd.concat(found, axis=1, join="inner")
            steps += list(both.iloc[:, 0])
            best += list(both.iloc[:, 1])
            seconds += list(view.seed_values(group, "train_s", "speed"))
    if not steps:
        return ""
    late = sum(b >= s for s, b in zip(steps, best, strict=True))
    ran = " to ".join(dict.fromkeys([count(min(steps)), count(max(steps))]))
    took = f", {span(min(seconds), max(seconds), 2).replace(' ..', ' to')} seconds" if seconds else ""
    short = ", which is short" if seconds and max(seconds) < SHORT_S else ""
    text = f"Training took {ran} steps{took} a run{short}."
    if late:
        text += (
            f" In {late} of {plural(len(steps), 'run')} the best validation score came at the last evaluation: they "
            "may have been still getting better, and longer training may change the order."
        )
    return text


def origin(tasks: list[TaskGroups]) -> str:
    """Which tasks stand on generated data."""
    made = sorted({task.task for task in tasks if task.generated})
    real = sorted({task.task for task in tasks if task.generated is False})
    if not made:
        return ""
    text = f"The data of {', '.join(made)} is made by a generator: it tests one ability and is no sample of real use."
    return text + (f" Real data: {', '.join(real)}." if real else " No task here uses real data.")


def kernels(finished: pd.DataFrame) -> str:
    """That training throughput depends on kernels."""
    names = ", ".join(map(str, distinct(finished["kernel"])))
    if not names:
        return ""
    cpu = any(str(device).startswith("cpu") for device in distinct(finished["device"]))
    where = "on this CPU" if cpu else "on this device"
    return f"Times and throughput are those of the kernels that ran {where} ({names}); they do not rank the cells."


def survivors(tasks: list[TaskGroups]) -> str:
    """That means of rows with failed runs are those of the runs that came through."""
    rows = [f"{group.label} on {task.task}" for task in tasks for group in task.groups if group.num_unfinished > 0]
    if not rows:
        return ""
    return f"Some runs did not finish, and a mean over the others may flatter: {', '.join(rows)}."
