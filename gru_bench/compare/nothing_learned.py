"""Whether any cell does more than guess: where none does, a task tells no cells apart, whatever the verdict."""

from gru_bench.report.groups import TaskGroups
from gru_bench.report.markdown import known
from gru_bench.report.scores import gain_over_trivial
from gru_bench.report.view import View


def is_a_guess(view: View, task: TaskGroups) -> bool:
    """Whether no cell of a task is better than the trivial guess by what a useful model is; False where not known."""
    gain = gain_over_trivial(task, view.outcomes(task).values())
    return gain is not None and known(task.beats_trivial_by) and gain < float(task.beats_trivial_by or 0)


def nothing_learned(view: View) -> str:
    """What a reader must hear first, in bold: the tasks on which no cell is clearly better than the trivial guess.

    Clearly: by what the task's yaml asks of a useful model. Nothing where all are, or where that is not known.
    """
    found = [task.task for task in view.tasks if is_a_guess(view, task)]
    if not found:
        return ""
    tasks = " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
    return (
        f"**On {tasks} no cell is clearly better than a guess that looks at no input, so nothing there tells the cells "
        "apart. Longer training, other learning rates or more data may.**"
    )
