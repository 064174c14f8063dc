"""Score by length: how far back does each cell reach on the long-range tasks?"""

from gru_bench.report.length_figure import draw_lengths
from gru_bench.report.markdown import Section, escape, heading, metric_header, paragraphs
from gru_bench.report.parts import Parts, Small, cut, unsized_note
from gru_bench.report.view import View

TEXT = (
    "Test scores of the same trained models on sequences of each length: mean ± standard deviation over the seeds, or "
    "the median for a row whose seeds split (see the summary); n is the number of test examples. In the figure the "
    "bars reach from the smallest to the largest seed, and the trivial guess is dashed in grey."
)


def render(
    view: View,
    /,
    *,
    slices: list[str],
    without: list[str],
    log_metrics: list[str],
    log_axis_from: float,
    fewest_examples: int,
    mergeable: list[str],
    far_guess: float,
) -> Section:
    """Answer: how far back does each cell reach?

    Args:
        view: All runs.
        slices: Names of the slices that are a length or a distance, or another level of difficulty.
        without: Tasks whose lengths another section shows.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
        fewest_examples: Test examples below which a part is merged with others or left out.
        mergeable: Metrics that are means over test examples, so that small parts may be merged.
        far_guess: From how many times the span of the scores trivial guesses are marked at the panel's edge.
    """
    small = Small(below=fewest_examples, mergeable=mergeable)
    found = [
        cut(view, task, task.metric, name, small) for task in view.tasks if task.task not in without for name in slices
    ]
    found = [parts for parts in found if parts.scores]
    if not found:
        return Section("Score by length", "")
    figures = {}
    texts = [TEXT]
    if any(parts.values for parts in found):
        figures["score_by_length"] = draw_lengths(
            view, [parts for parts in found if parts.values], log_metrics, log_axis_from, far_guess=far_guess
        )
        texts.append("![Test score against length, for each task](figures/score_by_length.png)")
    for parts in found:
        task = parts.task
        metric = metric_header(task.metric, task.unit, task.higher_is_better)
        texts.append(f"### {heading(task.task, task.generated)}: {metric} by {parts.name}")
        texts += [parts.table(), parts.note, scored_at(view, parts)]
        if notes := task.groups[0].fact("notes"):
            texts.append(f"About the data: {escape(notes)}.")
    return Section("Score by length", paragraphs(*texts, unsized_note(found)), figures)


def scored_at(view: View, parts: Parts) -> str:
    """The length at which the summary's score was taken, where that is a single one."""
    whole = {group.label: view.seed_values(group, parts.metric) for group in parts.task.groups}
    same = [
        at
        for at in parts.values
        if all(
            len(row[at]) and row[at].equals(whole[label]) for label, row in parts.scores.items() if len(whole[label])
        )
    ]
    return f"The summary's scores are those of {parts.name} {same[0]}." if len(same) == 1 else ""
