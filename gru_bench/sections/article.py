"""The article's model: what does its own network score on generated sequences?"""

import math

from gru_bench.report.groups import TaskGroups, first_known, truth
from gru_bench.report.length_figure import Level, draw_lengths
from gru_bench.report.markdown import (
    ARROWS,
    Section,
    count,
    metric_header,
    number,
    paragraphs,
    table,
)
from gru_bench.report.parts import Small, cut, unsized_note
from gru_bench.report.scores import plus_minus_of
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


def render(
    view: View,
    /,
    *,
    task: str,
    metrics: list[str],
    notes: list[str],
    slice: str,
    level: float | None,
    level_name: str,
    level_reason: str,
    fewest_examples: int,
    mergeable: list[str],
) -> Section:
    """Answer: what does the article's model score with each cell?

    Args:
        view: All runs.
        task: Name of the article's task.
        metrics: The columns of the table, as far as they were measured.
        notes: What a reader must know of the data and the training.
        slice: What the figure and its table are cut by.
        level: Score that is drawn across the figure; None for none.
        level_name: What reaches that score.
        level_reason: Why it does.
        fewest_examples: Test examples below which a part is merged with others or left out.
        mergeable: Metrics that are means over test examples, so that small parts may be merged.
    """
    mine = [found for found in view.tasks if found.task == task]
    tables = [score_table(view, found, metrics) for found in mine]
    if not any(tables):
        return Section("The article's model", "")
    note = (
        "Test data, at the best validation step: mean ± standard deviation over n seeds, or the median where they "
        f"split. {ARROWS}"
    )
    texts = [CLAIMS, *tables, " ".join([note, *notes, PRINTED])]
    small = Small(below=fewest_examples, mergeable=mergeable)
    cuts = [cut(view, found, found.metric, slice, small) for found in mine]
    cuts = [parts for parts in cuts if parts.scores and parts.values]
    figures = {}
    if cuts:
        line = None if level is None else Level(level, level_name)
        figures["article"] = draw_lengths(view, cuts, [], math.inf, line)
        dotted = "" if level is None else f" Dotted, at {level:g}: {level_name}. {level_reason}"
        texts += [
            f"### {cuts[0].metric} by {slice}",
            f"![Test score of each cell by {slice}](figures/article.png)",
            f"*Bars: smallest to largest seed. Dashed in grey: the trivial guess, where it is known.{dotted}*",
        ]
        texts += [text for parts in cuts for text in (parts.table(), parts.note)]
        texts.append(unsized_note(cuts))
    return Section("The article's model", paragraphs(*texts), figures)


def score_table(view: View, task: TaskGroups, metrics: list[str]) -> str:
    """One row per cell: its scores, its size, and the trivial guess at the end."""
    scores = {(g.label, metric): view.seed_values(g, metric) for g in task.groups for metric in metrics}
    shown = [metric for metric in metrics if any(len(scores[g.label, metric]) for g in task.groups)]
    if not shown:
        return ""
    ids = {run for group in task.groups for run in group.runs["run_id"]}
    values, outcomes = view.values, view.outcomes(task)
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
        texts = [plus_minus_of(s, outcomes[group.label].is_split) for s in series]
        size, parameters = group.fact("hidden_size"), group.fact("num_parameters")
        rows.append([group.label, *texts, str(max(map(len, series))), count(size), count(parameters)])
    rows.append([*trivial, "", "", ""])
    columns = ["cell", *headers, "n", "hidden size", "parameters"]
    return table(columns, rows, set(columns[1:]))
