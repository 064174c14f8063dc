"""Descriptions in the MLflow UI: of an experiment, a sweep and a run, each one paragraph of markdown.

They say what there is and which command reports it. No reader takes anything from them, and what somebody else wrote
there stays.
"""

import re
from collections.abc import Mapping, Sequence

from gru_bench.store.private import clean
from gru_bench.store.schema import TRIVIAL

NOTE = "mlflow.note.content"
"""MLflow's tag of a description, of a run and of an experiment."""
OF_EXPERIMENT, OF_SWEEP = "**Experiment.**", "**Sweep.**"
"""How our paragraphs begin."""
MOST_VALUES = 12
"""Of one key, that are listed."""
LONGEST_REASON, LONGEST_COMMAND = 500, 1000

Values = Mapping[tuple[str, str, str, str], tuple[float, str, bool | None]]
"""By split, metric, slice and its value: the number, its unit and its direction."""


def escaped(text: str) -> str:
    """Text that is no markup: on one line, with HTML's signs as entities and markdown's behind a backslash."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def code(text: str) -> str:
    """Text as it is typed."""
    text = " ".join(text.split()).replace("`", "'")
    return f"`{text if len(text) <= LONGEST_COMMAND else text[: LONGEST_COMMAND - 1] + '…'}`"


def placed(before: str, mark: str, text: str, *, first: bool = False) -> str:
    """A description with our paragraph in the place of the one that begins alike.

    Args:
        before: The description so far.
        mark: How ours begins.
        text: Ours, without that.
        first: Whether it comes before all others.
    """
    ours = f"{mark} {' '.join(text.split())}"
    parts = [part for part in re.split(r"\n{2,}", before.strip("\n")) if part]
    places = [place for place, part in enumerate(parts) if part.startswith(mark)]
    others = [part for part in parts if not part.startswith(mark)]
    others.insert(0 if first else places[0] if places else len(others), ours)
    return "\n\n".join(others)


def of_experiment(name: str, planned: Sequence[Mapping[str, str]] = ()) -> str:
    """What an experiment compares, by the jobs of its latest sweep, and how to report it."""
    parts = []
    if planned:
        seeds = len({job.get("seed") for job in planned})
        listed = "; ".join(f"{key} {listed_values(values)}" for key, values in matrix(planned) if key != "seed")
        parts.append(f"Compares {listed}; {seeds} {'seed' if seeds == 1 else 'seeds'} (its latest sweep).")
    parts.append(
        f"A report of all its runs, with intervals and verdicts: {code(f'gru-bench report experiment={name}')}."
    )
    parts.append("Charts here show means over seeds alone.")
    return clean(" ".join(parts))


def of_sweep(
    sweep_id: str, planned: Sequence[Mapping[str, str]], overrides: str, counts: Mapping[str, int] | None = None
) -> str:
    """What a sweep runs, its command, its report's command, and how its jobs ended once they have.

    Args:
        sweep_id: The parent run.
        planned: Its jobs.
        overrides: What the command line changed.
        counts: Number of jobs by status; None while it runs.
    """
    listed = "; ".join(f"{key} {listed_values(values)}" for key, values in matrix(planned))
    parts = [f"{len(planned)} {'job' if len(planned) == 1 else 'jobs'}: {listed}."]
    if overrides:
        parts.append(f"Begun as {code(f'gru-bench train -m {overrides}')}.")
    parts.append(f"Its report: {code(f'gru-bench report sweep={sweep_id}')}.")
    if counts is not None:
        ended = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        parts.append(f"How they ended: {ended or 'no jobs'}.")
    return clean(" ".join(parts))


def matrix(planned: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Cell and task, and the other keys in which jobs differ, each with its values in the order of the plan."""
    names = dict.fromkeys(["cell", "task", *(name for job in planned for name in job if name not in ("job", "run"))])
    found = [(name, list(dict.fromkeys(job[name] for job in planned if name in job))) for name in names]
    return [(name, values) for name, values in found if values and (len(values) > 1 or name in ("cell", "task"))]


def listed_values(values: Sequence[str]) -> str:
    """Values with commas between, and how many more there are."""
    more = f" and {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
    return ", ".join(map(escaped, values[:MOST_VALUES])) + more


def of_run(facts: Mapping[str, str], values: Values, status: str, reason: str) -> str:
    """What a run was, its score beside that of the trivial guess, what it took, and why it did not finish.

    Args:
        facts: Its params and tags.
        values: What it measured.
        status: How it ended, in a word of ours.
        reason: Why, where it did not finish.
    """
    sizes = ", ".join(
        f"{facts[name]} {word}" for name, word in (("hidden_size", "units"), ("num_parameters", "parameters"))
        if name in facts
    )  # fmt: skip
    what = f"**{escaped(facts.get('cell', '?'))}** on **{escaped(facts.get('task', '?'))}**"
    parts = [f"{what}, seed {escaped(facts.get('seed', '?'))}{f' ({sizes})' if sizes else ''}."]
    metric = facts.get("primary_metric", "")
    score, guess = (values.get(("test", name, "", "")) for name in (metric, f"{TRIVIAL}{metric}"))
    if score is not None:
        against = "" if guess is None else f", the trivial guess {guess[0]:.4g}"
        better = {True: " (higher is better)", False: " (lower is better)", None: ""}[score[2]]
        parts.append(f"Test {escaped(metric)} {score[0]:.4g}{against}{better}.")
    took = [
        f"{entry[0]:.4g} {unit}"
        for key, unit in ((("train", "steps"), "steps"), (("speed", "wall_s"), "s"))
        if (entry := values.get((*key, "", ""))) is not None
    ]
    if took:
        stopped = facts.get("stopped", "")
        parts.append(", ".join(took) + (f"; training ended by {escaped(stopped)}." if stopped else "."))
    if reason or status != "finished":
        parts.append(f"{status.capitalize()}: {escaped(clean(reason))[:LONGEST_REASON] or 'no reason given'}")
    return clean(" ".join(parts))
