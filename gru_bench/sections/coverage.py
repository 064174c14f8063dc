"""Coverage: what is missing or mixed, and what does that cost the claim?"""

from collections.abc import Iterable

import pandas as pd

from gru_bench.compare.compared import FIRST, SECOND, Compared, other_cells, primary, secondary
from gru_bench.compare.pairs import shown, unpaired
from gru_bench.report.groups import distinct, truth
from gru_bench.report.markdown import Section, escape, known, plural, table
from gru_bench.report.rates import IN_SHORT, origin
from gru_bench.report.view import View
from gru_bench.statistics.looks import MIN_SEEDS

MOST_NAMED = 4
"""Names in one cell of the table; of more only the number is given."""
COMMIT_DIGITS = 7
TUNED = "trials"
"""Origin of a learning rate that is the row's own."""


def render(view: View, /) -> Section:
    """Answer: which runs are missing, mixed or too few, and what does that cost the claim?

    Args:
        view: All runs.
    """
    if view.all_runs.empty:
        return Section("Coverage", "")
    found = [*primary(view), *secondary(view)]
    rows = [
        row
        for row in (
            finished(view),
            searches(view),
            not_paired(view),
            few_seeds(found),
            without_partner(primary(view)),
            code(view, found),
            machines(view, found),
            margins(found),
            rates(view),
            examples(found),
        )
        if row
    ]
    if not rows or rows == [every_run(len(view.runs))]:
        text = f"All {len(view.runs)} planned runs finished, and nothing that was looked at is missing or mixed."
        return Section("Coverage", text if rows else "")
    return Section("Coverage", table(["what", "how it is", "what it costs the claim"], rows))


def every_run(planned: int) -> list[str]:
    """The row of runs that all finished."""
    return ["planned runs", f"all {planned} finished", "nothing"]


def listed(names: Iterable[str]) -> str:
    """A few names without repetition, or the first ones and how many more."""
    unique = list(dict.fromkeys(names))
    shown_names = (
        unique if len(unique) <= MOST_NAMED else [*unique[: MOST_NAMED - 1], f"{len(unique) - MOST_NAMED + 1} more"]
    )
    return ", ".join(shown_names)


def finished(view: View) -> list[str]:
    """How many of the planned runs finished, and which did not."""
    runs = view.runs
    if runs.empty:
        return []
    statuses = runs["status"].value_counts()
    done, planned = int(statuses.get("finished", 0)), len(runs)
    if done == planned:
        return every_run(planned)
    others = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status != "finished")
    rest = runs[runs["status"] != "finished"]
    return ["planned runs", f"{done} of {planned} finished; {others}: {cells_on_tasks(rest)}",
            "fewer seeds; what is left may flatter a cell that fails"]  # fmt: skip


def searches(view: View) -> list[str]:
    """How many runs belong to a search, and are no part of any comparison of scores."""
    runs = view.searched
    if runs.empty:
        return []
    ended = int((runs["status"] == "finished").sum())
    roles = distinct(runs["role"])
    texts = [f"{plural(int((runs['role'] == role).sum()), 'run')} with the role {role}" for role in roles]
    if missing := int((~runs["role"].isin(roles)).sum()):
        texts.append(f"{missing} planned and not run")
    names = "; ".join(texts) + f" ({cells_on_tasks(runs)}); {ended} finished"
    cost = "they are in no mean or comparison of scores; horizons, gradients and the claims on them rest on them"
    rest = runs[runs["status"] != "finished"]
    if rest.empty:
        return ["runs of a search", names, f"nothing: {cost}"]
    others = ", ".join(f"{number} {status}" for status, number in sorted(rest["status"].value_counts().items()))
    return ["runs of a search", f"{names}; {others}: {cells_on_tasks(rest)}",
            f"a row of which no trial could run is missing from every comparison; else {cost}"]  # fmt: skip


def cells_on_tasks(runs: pd.DataFrame) -> str:
    """``gru on adding, rnn on adding``, the first few."""
    return listed(f"{cell} on {task}" for cell, task in zip(runs["cell"], runs["task"], strict=True) if known(cell))


def not_paired(view: View) -> list[str]:
    """Cells that ran on a task under settings that never agree."""
    found = [one for first, second in [(FIRST, SECOND), *other_cells(view)] for one in unpaired(view, first, second)]
    if not found:
        return []
    texts = listed(f"{shown(one.cells[0])} and {shown(one.cells[1])} on {one.task} ({one.why})" for one in found)
    return ["not compared", texts, "these comparisons are not made"]


def few_seeds(found: list[Compared]) -> list[str]:
    """Comparisons below the fewest seeds of a verdict."""
    few = [one for one in found if len(one.seeds) < MIN_SEEDS]
    if not few:
        return []
    counts = sorted({len(one.seeds) for one in few})
    seen = " to ".join(str(number) for number in dict.fromkeys([counts[0], counts[-1]]))
    which = f" ({listed(one.task for one in few)})"
    return ["seeds", f"{seen} in {len(few)} of {plural(len(found), 'comparison')}{which}",
            f"undecided, whatever they show: a verdict takes {MIN_SEEDS}"]  # fmt: skip


def without_partner(found: list[Compared]) -> list[str]:
    """Seeds of GRU or LSTM that only one side has. Other cells may have fewer by plan."""
    texts = [f"{one.task}: {note}" for one in found for note in one.notes if "without a partner" in note]
    more = f"; {len(texts) - 2} more" if len(texts) > 2 else ""
    cost = "they are left out: seeds are compared in pairs"
    return ["seeds without a partner", "; ".join(texts[:2]) + more, cost] if texts else []


def short(commit: str, dirty: object) -> str:
    """A short commit id, and whether files differed from it."""
    return f"{commit[:COMMIT_DIGITS]}{' with uncommitted changes' if truth(dirty) else ''}"


def code(view: View, found: list[Compared]) -> list[str]:
    """Whether all runs are of one code, and whether comparisons mix codes."""
    runs = view.runs[view.runs["status"] == "finished"]
    versions = sorted({
        short(str(commit), dirty)
        for commit, dirty in zip(runs["git_commit"], runs["dirty"], strict=True) if known(commit)
    })  # fmt: skip
    mixed = [one for one in found if any("mixed code" in mark for mark in one.marks)]
    dirty = any("uncommitted" in version for version in versions)
    if len(versions) < 2 and not dirty:
        return []
    if mixed:
        names = listed(one.task for one in mixed)
        cost = f"{plural(len(mixed), 'comparison')} of mixed code ({names}): code may be the difference"
    else:
        cost = "no comparison mixes them; tasks differ in code" if len(versions) > 1 else ""
    costs = [cost, "uncommitted changes cannot be repeated" if dirty else ""]
    return ["code", listed(versions), "; ".join(filter(None, costs))]


def machines(view: View, found: list[Compared]) -> list[str]:
    """Whether all runs are of one machine."""
    names = [str(name)[:8] for name in distinct(view.runs.loc[view.runs["status"] == "finished", "machine"])]
    if len(names) < 2:
        return []
    mixed = [one for one in found if any("mixed machines" in mark for mark in one.marks)]
    where = (
        f"{plural(len(mixed), 'comparison')} mix them ({listed(one.task for one in mixed)})"
        if mixed
        else "none mixes them"
    )
    return [
        "machines",
        listed(names),
        f"{where}; scores differ by rounding, which may decide whether a seed learns; speeds may not be pooled",
    ]


def margins(found: list[Compared]) -> list[str]:
    """Margins that were changed between runs, which was accepted."""
    mixed = [one for one in found if any("margins" in mark for mark in one.marks)]
    if not mixed:
        return []
    return ["margins", f"changed between runs of {listed(one.task for one in mixed)}",
            "accepted by hand; the smallest counts, and no verdict there was fixed beforehand"]  # fmt: skip


def rates(view: View) -> list[str]:
    """Rows whose learning rate is not the best of their own trials."""
    untuned: dict[str, list[str]] = {}
    total = 0
    for task in view.tasks:
        for group in task.groups:
            if len(group.finished):
                total += 1
                if (source := origin(group)) != TUNED:
                    untuned.setdefault(source, []).append(f"{group.cell} on {task.task}")
    if not untuned:
        return []
    texts = [f"{len(names)} {IN_SHORT.get(source, source)}" for source, names in untuned.items()]
    return ["learning rates", f"of {plural(total, 'row')}: {'; '.join(map(escape, texts))}",
            "there a difference may be one of rates"]  # fmt: skip


def examples(found: list[Compared]) -> list[str]:
    """Comparisons that do not know the noise of the test examples."""
    lacking = [one for one in found if one.kind == "mean" and one.seeds and not one.num_examples]
    if not lacking:
        return []
    return ["test examples", f"not used in {len(lacking)} of {plural(len(found), 'comparison')}",
            "there the noise of the test data is missing, and intervals are too narrow"]  # fmt: skip
