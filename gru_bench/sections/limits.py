"""Limits: what do these runs show, and what do they not show?"""

from collections import Counter

import pandas as pd

from gru_bench.report.groups import Group, TaskGroups, distinct
from gru_bench.report.markdown import Section, count, known, plural, span
from gru_bench.report.rates import IN_SHORT
from gru_bench.report.rates import origin as rate_origin
from gru_bench.report.scores import gain_over_trivial
from gru_bench.report.timings import Timing, place_text
from gru_bench.report.view import View

TITLE = "What these runs show and do not show"
SHORT_S = 3600.0

SAME_SIZE = "Every cell got the same hidden size"
NOT_SAME_PARAMETERS = (
    "equal hidden size is not an equal number of parameters: a gated cell has three or four times the recurrent "
    "weights of a plain one, and an LSTM a third more than a GRU"
)
SAME_PARAMETERS = (
    "Every cell got about as many parameters as the LSTM, and so a different hidden size; which of the two is the fair "
    "comparison depends on the question"
)


CHOSEN = (
    "Sizes, steps and learning rates of the shipped tasks, those with trials and those without, were chosen by looking "
    "at these cells, so that some cell learns and not all solve the task. Nothing else was tuned for a cell, and "
    "differences hold at these settings only."
)


def render(view: View, /, *, seeds_for_a_winner: int) -> Section:
    """Answer: what do these runs show, and what do they not show?

    Args:
        view: All runs.
        seeds_for_a_winner: Seeds below which no difference between cells may be called one.
    """
    tasks = view.tasks
    runs = view.runs
    finished = runs[runs["status"] == "finished"]
    if finished.empty and not view.timings:
        return Section(TITLE, "")
    if finished.empty:
        return Section("What these timings show and do not show", bullets(timed(view.timings)))
    lines = [
        "They show what each cell scored and cost at exactly these settings, on this data, with these seeds.",
        learned(tasks, view),
        seeds(tasks, view, seeds_for_a_winner),
        "The spread in the tables is over seeds alone: other initial values, another order or draw of the training "
        "data. How much scores would move on other test data is in the intervals of the comparisons.",
        *budgets(finished),
        tuning(tasks),
        training(tasks, view),
        origin(tasks),
        kernels(finished),
        repeated(finished),
        survivors(tasks),
        *timed(view.timings),
    ]
    return Section(TITLE, bullets(lines))


def bullets(lines: list[str]) -> str:
    """One line each, without the empty ones."""
    return "\n".join(f"- {line}" for line in lines if line)


def timed(found: list[Timing]) -> list[str]:
    """What paired timings show, and what they leave out."""
    if not found:
        return []
    where = list(dict.fromkeys(place_text(one) for one in found))
    lines = [
        "Timings show how fast these cells ran at these sizes, on these kernels and this machine "
        f"({'; '.join(where)}). Another machine, another version of torch or more threads can turn the order.",
        "Inside noise is no proof of equal speed: a longer measurement may find a gap that this one could not.",
        f"Each of the {plural(len(found), 'ratio')} has an interval of 95 % of its own: among many a few miss by "
        "chance, and a lone square of another colour on a map may be one of them.",
    ]
    if any(not one.task for one in found):
        lines.append(
            "Layers alone were timed where no task is named: no embedding, no loss and no data is in these times, "
            "which weigh the more in a whole model the smaller its layers are."
        )
    forced = sum(one.is_forced for one in found)
    if forced:
        lines.append(f"{plural(forced, 'pair')} ran on a busy machine, on demand (marked *): no advice rests on them.")
    return lines


def repeated(finished: pd.DataFrame) -> str:
    """On which machines the same numbers come out once more."""
    kind = "GPU" if {str(device)[:4] for device in distinct(finished["device"])} == {"cuda"} else "CPU"
    again = "" if kind == "GPU" else f"Repeated on the same kind of {kind} the scores come out the same. "
    return (
        f"{again}Another kind of {kind}, other versions or another number of threads round differently: that decides "
        "whether some seeds learn, and can move the mean of a row of such seeds a long way "
        "(from 0.31 to 0.51 the share of right answers of one row, between two kinds of CPU)."
    )


def seeds(tasks: list[TaskGroups], view: View, wanted: int) -> str:
    """Whether there are enough seeds to call a difference one."""
    counts = [len(view.seed_values(group, task.metric)) for task in tasks for group in task.groups]
    counts = [number for number in counts if number]
    if not counts:
        return "No run has a test score."
    seen = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    seen += " seed" if max(counts) == 1 else " seeds"
    if min(counts) < wanted:
        return (
            f"n is {seen} per row. Below {wanted} no difference between two rows is called a win here, however "
            "large it looks."
        )
    return f"n is {seen} per row. Only the verdict and the comparisons test differences; the tables show them."


def learned(tasks: list[TaskGroups], view: View) -> str:
    """On how many tasks any cell is clearly better than a guess."""
    yes: list[str] = []
    no: list[str] = []
    for task in tasks:
        gain = gain_over_trivial(task, view.outcomes(task).values())
        if gain is not None and known(task.beats_trivial_by):
            (yes if gain >= float(task.beats_trivial_by or 0) else no).append(task.task)
    if not yes and not no:
        return ""
    all_tasks = plural(len(yes) + len(no), "task")
    text = f"On {len(yes)} of {all_tasks} the best cell beats the trivial guess by the task's margin"
    return f"{text}; on {', '.join(no)} none does, so nothing there tells the cells apart." if no else f"{text}."


def tuning(tasks: list[TaskGroups]) -> str:
    """How the learning rates came about, and what that means."""
    rows = [group for task in tasks for group in task.groups if known(group.fact("learning_rate"))]
    if not rows:
        return CHOSEN
    counts = Counter(rate_origin(group) for group in rows)
    sources = [f"{text} ({counts[source]})" for source, text in IN_SHORT.items() if counts[source]]
    texts = [f"Learning rates of {plural(len(rows), 'row')}: {', '.join(sources)}."]
    rated = {task.task: [group for group in rows if group.task == task.task] for task in tasks}
    unlike = [task for task, groups in rated.items() if len({chosen(group) for group in groups}) > 1]
    if unlike:
        texts.append(
            f"On {', '.join(unlike)} the rates were not chosen alike for all rows, so a difference between rows may be "
            "one of rates."
        )
    shared = [task for task, groups in rated.items() if len(groups) > 1 and one_rate(groups)]
    if shared:
        texts.append(f"On {', '.join(shared)} all cells share one rate, and none was given its own best one.")
    return " ".join([*texts, CHOSEN])


def chosen(group: Group) -> tuple[str, str]:
    """How a row's rate was chosen: from what, and among how many rates and seeds."""
    facts = [group.fact(name) for name in ("learning_rate_trials", "learning_rate_trial_seeds", "learning_rate_extra")]
    return rate_origin(group), " ".join(str(fact) for fact in facts if known(fact))


def one_rate(groups: list[Group]) -> bool:
    """Whether all rows have the same rate without trials of their own."""
    rates = {group.fact("learning_rate") for group in groups}
    return len(rates) == 1 and set(map(rate_origin, groups)) <= {"task", "user"}


def budgets(finished: pd.DataFrame) -> list[str]:
    """What was equal between the cells, and what that left unequal."""
    lines = []
    for budget in distinct(finished["budget"]):
        sizes = finished.loc[finished["budget"] == budget, ["task", "num_parameters"]].dropna()
        ranges = [
            f"{task} {count(part.min())} to {count(part.max())}"
            for task, part in sizes.groupby("task")["num_parameters"]
            if part.min() != part.max()
        ]
        if budget == "hidden":
            whole = hidden_budget(finished[finished["budget"] == budget])
        else:
            whole = SAME_PARAMETERS if budget == "parameters" else f"What was equal between the cells: {budget}"
        lines.append(f"{whole} (parameters of the whole model: {'; '.join(ranges)})." if ranges else f"{whole}.")
    return lines


def hidden_budget(finished: pd.DataFrame) -> str:
    """Whether all cells of each task really had the same hidden size."""
    sizes = {str(task): distinct(part["hidden_size"]) for task, part in finished.groupby("task")}
    unequal = [f"{task} {', '.join(map(count, found))}" for task, found in sizes.items() if len(found) > 1]
    if unequal:
        return (
            f"Rows of one task differ in hidden size ({'; '.join(unequal)}): compare cells at one size; but "
            f"{NOT_SAME_PARAMETERS}"
        )
    across = " on each task" if len({tuple(found) for found in sizes.values()}) > 1 else ""
    return f"{SAME_SIZE}{across}; but {NOT_SAME_PARAMETERS}"


def training(tasks: list[TaskGroups], view: View) -> str:
    """How short training was, and how many runs were still getting better when it ended."""
    groups = [group for task in tasks for group in task.groups]
    steps = [value for group in groups for value in view.seed_values(group, "steps", "train")]
    seconds = [value for group in groups for value in view.seed_values(group, "train_s", "speed")]
    if not steps:
        return ""
    counts = [view.still_improving(group) for group in groups]
    late, of = sum(met for met, _ in counts), sum(number for _, number in counts)
    ran = " to ".join(dict.fromkeys([count(min(steps)), count(max(steps))]))
    took = f", {span(min(seconds), max(seconds), 1).replace(' ..', ' to')} seconds" if seconds else ""
    short = ", which is short" if seconds and max(seconds) < SHORT_S else ""
    text = f"Training took {ran} steps{took} a run{short}."
    if late:
        text += (
            f" {late} of {plural(of, 'run')} were still improving at the last evaluation (by task: under each table of "
            "the summary), and longer training may change the order."
        )
    return text


def origin(tasks: list[TaskGroups]) -> str:
    """Which tasks use generated data."""
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
