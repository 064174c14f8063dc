"""Memory horizons: what each cell did at the longest lag that it solves and at the next one, and what that took."""

import math

from gru_bench.compare.horizons import Horizon, Tried, enough, horizons
from gru_bench.compare.wording import budget_text
from gru_bench.report.markdown import UNKNOWN, Section, count, known, paragraphs, plural, table
from gru_bench.report.view import View
from gru_bench.sections.how_far_back import places, rank, same_runs
from gru_bench.statistics.success import Survival

TITLE = "Memory horizons"
TEXT = (
    "The horizon is the longest lag that at least {enough} of the seeds solve: at least, where no longer lag is known "
    "to be unsolved, since the grid or the search ended there; not 12, where the shortest lag tried, 12, is not "
    "solved. Shares with Wilson's interval of 95 %. Seeds run a few at a time, and no further once the share is out of "
    "reach, so that an unsolved lag has fewer. A cell that solves a lag in 80 % of seeds passes in 4 of 10 searches of "
    "ten seeds: neighbouring lags are not told apart. Where no seeds followed the trials, these stand in for them: "
    "each has another rate, mostly on one and the same seed, and their interval is a rough one. A run that diverged "
    "counts as not solved; one that failed otherwise does not count. Steps until half of the seeds solve the horizon "
    "are Kaplan and Meier's, with Brookmeyer and Crowley's interval: seeds that do not solve it are cut off at their "
    "last step. Bisection takes for granted that a cell which solves a lag solves all shorter ones. The rate is that "
    "of the seeds at the horizon or, without one, at the next lag."
)


def render(view: View, /) -> Section:
    """Answer: how sure is each cell's memory horizon, and how many steps and tries did it take?

    Args:
        view: All runs.
    """
    found = horizons(view)
    if not found:
        return Section(TITLE, "")
    parts = [" ".join(filter(None, [TEXT.format(enough=enough(found)), same_runs(found)]))]
    for task, budget in places(found):
        mine = sorted((one for one in found if (one.task, one.budget) == (task, budget)), key=rank)
        parts += [f"### {task}, {budget_text(budget)}", table(COLUMNS, [row(one) for one in mine], NUMERIC)]
        parts += [note(mine), f"All lags that were tried:\n\n{every_lag(mine)}"]
    return Section(TITLE, paragraphs(*parts))


COLUMNS = [
    "cell", "hidden size", "horizon (steps)", "seeds that solve it (95 %)", "steps until half solve it (95 %)",
    "next lag tried", "seeds that solve it there (95 %)", "rate", "trials",
]  # fmt: skip
EDGE = "Where the rate is an end of the rates that were tried, one beyond it might reach further"
NUMERIC = {"hidden size", "horizon (steps)", "next lag tried"}


def row(one: Horizon) -> list[str]:
    """One cell."""
    size = one.facts.get("hidden_size")
    beyond = one.next
    return [
        one.name,
        count(size),
        one.text(),
        share_text(one.longest) if one.longest else UNKNOWN,
        median_text(one.longest.steps) if one.longest else UNKNOWN,
        count(beyond.lag) if beyond else "none",
        share_text(beyond) if beyond else UNKNOWN,
        rate_text(one),
        trials_text(one),
    ]


def share_text(tried: Tried) -> str:
    """``9 of 10 (60 to 98 %)``; that it is open where the search ended too early."""
    ends = tried.interval
    cut_short = ", cut short" if tried.passed is None else ""
    return f"{tried.counts()} ({100 * ends.low:.0f} to {100 * ends.high:.0f} %){cut_short}"


def rate_text(one: Horizon) -> str:
    """``0.003``: of the seeds at the horizon, or else at the lag that is not solved; that it is an end of the grid."""
    tried = one.longest or one.next
    if tried is None or tried.rate is None:
        return UNKNOWN
    rates = sorted({trial.rate for trial in tried.trials})
    ends = {rates[0]: "smallest", rates[-1]: "largest"} if len(rates) > 1 else {}
    return f"{tried.rate:g}{f', the {ends[tried.rate]} tried' if tried.rate in ends else ''}"


def median_text(steps: Survival) -> str:
    """``300 (200 to 600)``: an end that too few seeds reached is not bounded."""
    if math.isinf(steps.median):
        return "not reached"
    high = "∞" if math.isinf(steps.interval.high) else count(steps.interval.high)
    return f"{count(steps.median)} ({count(min(steps.interval.low, steps.median))} to {high})"


def trials_text(one: Horizon) -> str:
    """``4 rates (0.002 .. 0.1) at 3 lags: 12 runs``."""
    trials = [(tried.lag, trial) for tried in one.tried for trial in tried.trials]
    if not trials:
        return UNKNOWN
    rates = sorted({trial.rate for _, trial in trials if known(trial.rate)})
    lags = len({lag for lag, _ in trials})
    values = " .. ".join(dict.fromkeys(f"{rate:g}" for rate in (rates[0], rates[-1]))) if rates else UNKNOWN
    return f"{plural(len(rates), 'rate')} ({values}) at {plural(lags, 'lag')}: {plural(len(trials), 'run')}"


def every_lag(found: list[Horizon]) -> str:
    """The counts of each cell at each lag that any of them visited."""
    lags = sorted({tried.lag for one in found for tried in one.tried})
    rows = []
    for one in found:
        seen = {tried.lag: tried for tried in one.tried}
        rows.append([one.name, *(seen[lag].counts() if lag in seen else "" for lag in lags)])
    return table(["cell", *(f"lag {lag}" for lag in lags)], rows)


def note(found: list[Horizon]) -> str:
    """Cells that fail at a lag below their horizon, and those whose search was cut short."""
    texts = [
        f"{one.name} does not solve {', '.join(map(str, one.skipped))}, below its horizon"
        for one in found
        if one.skipped
    ]
    cut = [f"{one.name} at {', '.join(lags)}" for one in found if (lags := open_lags(one))]
    texts += [EDGE] if any("tried" in rate_text(one) for one in found) else []
    texts += [f"The search was cut short for {'; '.join(cut)}"] if cut else []
    return " ".join(f"{text}." for text in texts)


def open_lags(one: Horizon) -> list[str]:
    """The lags of which it was not found out whether enough seeds solve them."""
    return [str(tried.lag) for tried in one.tried if tried.passed is None]
