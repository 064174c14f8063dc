"""Whether any cell does more than guess: where none does, a task tells no cells apart, whatever the verdict."""

from gru_bench.report.markdown import known
from gru_bench.report.scores import gain_over_trivial
from gru_bench.report.view import View


def nothing_learned(view: View) -> str:
    """What a reader must hear first, in bold: the tasks on which no cell is clearly better than the trivial guess.

    Clearly: by what the task's yaml asks of a useful model. Nothing where all are, or where that is not known.
    """
    found = []
    for task in view.tasks:
        gain = gain_over_trivial(task, view.outcomes(task).values())
        if gain is not None and known(task.beats_trivial_by) and gain < float(task.beats_trivial_by or 0):
            found.append(task.task)
    if not found:
        return ""
    tasks = " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))
    return (
        f"**On {tasks} no cell is clearly better than a guess that looks at no input, so nothing there tells the cells "
        "apart. Longer training, other learning rates or more data may.**"
    )
