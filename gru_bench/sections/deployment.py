"""Deployment: what the models became when they were exported."""

from gru_bench.compare.deployment import CLEARLY, DTYPES, Deployed, card, deployed
from gru_bench.report.markdown import UNKNOWN, Section, count, number, paragraphs, table
from gru_bench.report.view import View

TITLE = "Deployment"
TEXT = (
    "What `gru-bench export` made of runs of this report: ONNX graphs that were proved to be the trained model over "
    "1,000 streamed steps and batches of unequal lengths (worst relative error of all outputs in float32). Size: of "
    "the graph of whole sequences. Score loss: how much worse the graph scores on the test split than the run did, in "
    "the metric's unit; below 0 is better. Times are of ONNX Runtime at batch 1 on one thread, in microseconds: a "
    "streamed step, and a sequence of 100 steps. **Each export was timed by itself, not by turns with others**: below "
    f"a factor of {CLEARLY:g} no order is meant. Medians over the runs that were exported. int8: weights in 8 bits as "
    "far as the runtime takes them; it leaves the operators GRU and RNN in float32."
)
COLUMNS = [
    "cell", "runs", "type", "bytes", "score loss", "worst error", "step p50", "step p99", "sequence p50",
    "sequence p99",
]  # fmt: skip
TIMES = ("stream_p50", "stream_p99", "sequence_p50", "sequence_p99")


def render(view: View, /) -> Section:
    """Answer: how large, how fast and how good is each cell's model once it is deployed?

    Args:
        view: All runs.
    """
    parts = []
    for task in view.tasks:
        if rows := [line for one in deployed(view, task) for line in lines(one)]:
            parts += [f"### {task.task} ({task.metric})", table(COLUMNS, rows, set(COLUMNS[3:]) | {"runs"})]
    return Section(TITLE, paragraphs(TEXT, *parts) if parts else "")


def lines(one: Deployed) -> list[list[str]]:
    """A line for each type of weights."""
    found = []
    for dtype in DTYPES:
        size = one.middle(f"{dtype}_bytes")
        if size is None:
            continue
        loss = one.loss.get(dtype)
        error = one.middle(f"{dtype}_error")
        found.append([
            one.group.label,
            str(one.runs),
            dtype,
            count(size),
            UNKNOWN if loss is None else number(loss),
            number(error, 2),
            *(number(one.middle(f"{dtype}_{name}")) for name in TIMES),
        ])  # fmt: skip
    return found


def verdict_card(view: View) -> str:
    """The table of the verdict: which family is smaller and which is faster when deployed; empty without exports."""
    rows = card(view)
    if not rows:
        return ""
    head = ["deployed", "smaller file", "faster step (p50)", "faster sequence of 100 (p50)"]
    return paragraphs(
        "Deployed in ONNX Runtime, exports proved to be the trained models; times are not of turns "
        "([Deployment](details.md#deployment)).",
        table(head, rows),
    )
