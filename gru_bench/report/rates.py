"""Where a row's learning rate comes from: what may be claimed about it, and marks for the rows of a table."""

from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import UNKNOWN, known, plural

CLAIMS = {
    "other settings": "best of this cell's own trials at other settings, not tuned for these",
    "family": "rate of its family, not tuned for this cell",
    "task": "one rate for all cells of the task, tuned for none of them",
    "fallback": "rate not tuned for this cell",
    "user": "given by hand",
}
"""By the fact ``learning_rate_from``; of ``trials``, see :func:`claim`."""

IN_SHORT = {
    "trials": "the best of the row's own trials at these settings",
    "other settings": "the best of the row's own trials at other settings",
    "family": "its family's, not tuned for the cell",
    "task": "the task's one rate for all cells",
    "fallback": "not tuned for the cell",
    "user": "given by hand",
    "": "of no recorded origin",
}


def origin(group: Group) -> str:
    """The fact ``learning_rate_from``; empty where the runs are older than that record."""
    return str(group.fact("learning_rate_from") or "")


def claim(group: Group) -> str:
    """What is true of a row's rate; nothing where the runs do not say where it comes from."""
    source = origin(group)
    if source != "trials":
        return CLAIMS.get(source, "")
    rates, seeds = group.fact("learning_rate_trials"), group.fact("learning_rate_trial_seeds")
    if not known(rates) or not int(rates):
        return "chosen by trials of this cell at these settings"
    among = plural(int(rates), "rate")
    if not known(seeds):
        return f"best among {among} by validation score"
    if int(seeds) == 1:
        return f"best of one trial per rate, among {among}, by validation score: one trial is noisy"
    return f"best among {among} by validation score, mean over {int(seeds)} seeds per rate"


def marks(task: TaskGroups) -> dict[str, str]:
    """A letter for each different claim of a task's rows, in their order."""
    claims = dict.fromkeys(text for group in task.groups if (text := claim(group)))
    return {text: letter(position) for position, text in enumerate(claims)}


def letter(position: int) -> str:
    """``a``, ``b`` and so on."""
    return chr(ord("a") + position)


def rate_text(group: Group, letters: dict[str, str]) -> str:
    """``0.003 (a)``: a row's rate with the mark of what is true of it."""
    rate = group.fact("learning_rate")
    if not known(rate):
        return UNKNOWN
    mark = letters.get(claim(group), "")
    return f"{float(rate):g} ({mark})" if mark else f"{float(rate):g}"


def rate_notes(task: TaskGroups) -> list[str]:
    """What the marks mean, and for which rows more was tried than for others."""
    notes = []
    if letters := marks(task):
        notes.append(f"Learning rates: {'; '.join(f'({mark}) {text}' for text, mark in letters.items())}.")
    extra: dict[str, list[str]] = {}
    for group in task.groups:
        if known(more := group.fact("learning_rate_extra")):
            extra.setdefault(str(more), []).append(group.label)
    notes += [
        f"Beyond the common grid of rates, more was tried for {', '.join(labels)}: {more}."
        for more, labels in extra.items()
    ]
    return notes
