"""The article's model: what does its own network score on generated sequences?"""

from gru_bench.report.groups import TaskGroups, first_known, truth
from gru_bench.report.markdown import (
    ARROWS,
    Section,
    count,
    metric_header,
    number,
    paragraphs,
    plus_minus,
    table,
)
from gru_bench.report.scores import deviation
from gru_bench.report.view import View

CLAIMS = (
    "The article claims that plain RNNs cannot learn long-range dependencies, that gates solve this, and that an "
    "LSTM suits long dependencies and a GRU short sequences; it measures none of it. Here its network is trained as "
    "it describes, on generated sequences whose label depends on the order of two events, 5 to 90 steps apart."
)
PRINTED = (
    "Cells whose name ends in `_article` are the equations as printed there; the printed GRU has no path that carries "
    "the old state on, so it is not the GRU of the literature."
)


def render(view: View, /, *, task: str, metrics: list[str], notes: list[str]) -> Section:
    """Answer: what does the article's model score with each cell?

    Args:
        view: All runs.
        task: Name of the article's task.
        metrics: The columns of the table, as far as they were measured.
        notes: What a reader must know of the data and the training.
    """
    tables = [score_table(view, found, metrics) for found in view.tasks if found.task == task]
    if not any(tables):
        return Section("The article's model", "")
    note = "Test data, at the best validation step: mean ± standard deviation over n seeds. " + ARROWS
    return Section("The article's model", paragraphs(CLAIMS, *tables, " ".join([note, *notes, PRINTED])))


def score_table(view: View, task: TaskGroups, metrics: list[str]) -> str:
    """A row a cell: its scores, its size, and the trivial guess at the end."""
    scores = {(g.label, metric): view.seed_values(g, metric) for g in task.groups for metric in metrics}
    shown = [metric for metric in metrics if any(len(scores[g.label, metric]) for g in task.groups)]
    if not shown:
        return ""
    ids = {run for group in task.groups for run in group.runs["run_id"]}
    values = view.values
    of_task = values[values["run_id"].isin(ids) & (values["split"] == "test") & (values["slice"] == "")]
    headers = []
    trivial = ["trivial guess"]
    for metric in shown:
        facts = of_task[of_task["metric"] == metric]
        unit = first_known(facts["unit"]) if "unit" in facts else None
        better = truth(first_known(facts["higher_is_better"])) if "higher_is_better" in facts else None
        headers.append(metric_header(metric, str(unit or ""), better))
        guesses = of_task.loc[of_task["metric"] == f"trivial_{metric}", "value"].dropna().unique()
        trivial.append(number(guesses[0]) if len(guesses) == 1 else number(None))
    rows = []
    for group in task.groups:
        series = [scores[group.label, metric] for metric in shown]
        texts = [plus_minus(s.mean(), deviation(s)) if len(s) else number(None) for s in series]
        size, parameters = group.fact("hidden_size"), group.fact("num_parameters")
        rows.append([group.label, *texts, str(max(map(len, series))), count(size), count(parameters)])
    rows.append([*trivial, "", "", ""])
    columns = ["cell", *headers, "n", "hidden size", "parameters"]
    return table(columns, rows, set(columns[1:]))
