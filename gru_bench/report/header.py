"""The head of a report, which says what runs it is about, and its foot, the command that makes it again."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gru_bench.redact import visible
from gru_bench.report.groups import distinct, family_rank, shown
from gru_bench.report.markdown import known, paragraphs, plural
from gru_bench.report.timings import place_text, situation_text, situations
from gru_bench.report.view import View

ACCEPTABLE = {"margins": "margins that were changed after the runs began, or that differ between runs of one task"}
"""What the key ``accept`` may name: a weakness of the comparison that would otherwise be refused."""


ROLES = {"": "that were not run", "horizon": "that look for the longest lag", "trial": "that try a learning rate"}
"""What a run of a search is for, in words."""


@dataclass(frozen=True)
class Made:
    """What a report was made with, as far as it decides what the report says.

    Attributes:
        select: The keys ``experiment`` and ``sweep``; None where not given.
        accept: Names of :data:`ACCEPTABLE`.
        also: Stores whose runs were added, without passwords.
    """

    select: Mapping[str, str | None]
    accept: Sequence[str] = ()
    also: Sequence[str] = ()


def header(view: View, made: Made) -> str:
    """What was asked and which runs answer it. No date: the same store gives the same bytes."""
    runs = view.all_runs
    if runs.empty and (view.timings or view.not_timed):
        return timed_header(view, made)
    names = names_of(view, made)
    statuses = runs["status"].value_counts()
    counts = [f"{statuses[status]} {status}" for status in sorted(statuses.index, key=lambda s: (s != "finished", s))]
    tasks = listed(distinct(runs["task"]))
    asked = "What do {} score on {}?" if view.tasks or view.searched.empty else "How far back do {} see on {}?"
    question = f"# Report: {literal(names)}\n\n{asked.format(literal(listed(cells(view))), literal(tasks))}"
    seeds = plural(len(distinct(runs["seed"])), "seed")
    device = ", ".join(map(str, distinct(runs["device"]))) or "device not known"
    facts = f"{plural(len(runs), 'run')}: {', '.join(counts)}; {seeds}; {device}.{searched(view)}"
    merged = (
        f"Runs of further stores are among them: {', '.join(f'`{uri}`' for uri in made.also)}." if made.also else ""
    )
    accepted = [f"> **Accepted by hand: {ACCEPTABLE[name]}.** What follows is weaker for it." for name in made.accept]
    return paragraphs(question, facts, merged, *accepted)


def timed_header(view: View, made: Made) -> str:
    """The same where nothing was trained: what was timed, and where."""
    timings = view.timings
    names = names_of(view, made)
    arms = sorted({(one.cell, one.backend) for timing in timings for one in (timing.first, timing.second)})
    ordered = sorted({cell for cell, _ in arms}, key=lambda cell: family_rank(cell.split("_")[0]), reverse=True)
    cells_of = " or ".join(map(shown, ordered))
    tasks = sorted({one.task for one in timings if one.task})
    of = [f"the models of {listed(tasks)}"] if tasks else []
    of += ["layers alone"] if any(not one.task for one in timings) else []
    question = f"# Report: {literal(names)}\n\nWhich is faster, {literal(cells_of)}, where and by how much?"
    where = list(dict.fromkeys(place_text(one) for one in timings))
    kinds = map(situation_text, situations(timings))
    facts = [
        f"{plural(len(timings), 'pair')} timed ({', '.join(kinds)}; {' and '.join(of)})",
        f"on {listed(sorted({backend for _, backend in arms}))}",
        f"{'; '.join(where)}",
    ]
    failed = (
        f" {plural(len(view.not_timed), 'pair')} could not be timed ([Cost](details.md#cost))."
        if view.not_timed
        else ""
    )
    text = ", ".join(facts) if timings else "No pair was timed"
    return paragraphs(question, f"{text}.{failed} No runs: nothing here says what a cell scores.")


def footer(view: View, made: Made) -> str:
    """The command that makes the report again."""
    sweeps = [str(sweep) for sweep in distinct(view.all_runs["sweep"])]
    return f"Made by `{command(made, sweeps, names_of(view, made))}`."


def names_of(view: View, made: Made) -> str:
    """The experiments of the runs, or of the timings where there are none."""
    if view.all_runs.empty:
        rows = [one.row for one in view.timings] or view.not_timed
        experiments = sorted({str(row["experiment"]) for row in rows if known(row["experiment"])})
    else:
        experiments = list(map(str, distinct(view.all_runs["experiment"])))
    return ", ".join(experiments) or str(made.select.get("experiment"))


def searched(view: View) -> str:
    """How many runs are in no comparison of scores, in a sentence; nothing where all are."""
    roles = view.searched["role"].fillna("").value_counts()
    texts = [f"{roles[role]} {ROLES.get(role, role)}" for role in sorted(roles.index)]
    return f" In no comparison of scores: {' and '.join(texts)}." if texts else ""


def literal(text: str) -> str:
    """Names of the data as text, whatever characters they have; the underscore within a word is no markup."""
    return re.sub(r"([\\<\[\]*`!&])", r"\\\1", " ".join(text.split()))


def cells(view: View) -> list[str]:
    """The cells in the order of the tables."""
    families = {group.cell: group.family for task in view.tasks for group in task.groups}
    families |= {
        str(cell): str(family)
        for cell, family in zip(view.searched["cell"], view.searched["family"], strict=True)
        if known(cell) and known(family)
    }
    return sorted(families, key=lambda cell: (family_rank(families[cell]), cell != families[cell], cell))


def listed(names: list[str]) -> str:
    """``rnn, lstm and gru``; how many there are where they are many."""
    found = [str(name) for name in names]
    if not found:
        return "the runs"
    return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def command(made: Made, sweeps: list[str], names: str) -> str:
    """The command that selects the same runs from the same store, now and after further sweeps."""
    chosen = [f"{key}={value}" for key, value in made.select.items() if value]
    if not chosen:
        chosen = [f"sweep={sweeps[0]}"] if len(sweeps) == 1 else [f"experiment={names}"]
    if made.accept:
        chosen.append(f"accept=[{','.join(made.accept)}]")
    if made.also:
        chosen.append(f"also=[{','.join(made.also)}]")
    return visible(shlex.join(["gru-bench", "report", *chosen]))
