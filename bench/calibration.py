"""Does the verdict keep its promises? Simulated reports with a known truth: gru_bench/statistics/calibration.json.

    python bench/calibration.py [--simulations 6000] [--seed 0] [--quick] [--out gru_bench/statistics/calibration.json]

The functions that the report itself calls are run on made scores: normal, skewed (exponential), bimodal (one seed in
three lands four standard deviations off), each with standard deviation 1 over seeds. A report has six tasks. What is
promised: intervals cover at their level ± 2 points; with no difference a report names a winner in at most 5 % of cases,
all six tasks and all looks together (two standard errors of the simulation are allowed); a difference of one margin is
found with the power announced, ± 5 points. Rows that do not hold stand in the table as such; rows that are not
"promised" show where no promise is made. --quick writes nothing unless --out says where.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from gru_bench.statistics import crossed as crossed_module
from gru_bench.statistics.crossed import Estimate, Uncertain, crossed, seeds_only
from gru_bench.statistics.intervals import BCA_FROM, Interval, bca_interval, mean_interval, t_interval
from gru_bench.statistics.looks import nominal_level, schedule
from gru_bench.statistics.planning import POWER, power_difference, power_equivalence
from gru_bench.statistics.success import SuccessDifference
from gru_bench.statistics.verdict import decide

Array = np.ndarray
Row = dict[str, Any]
Draw = Callable[[tuple[int, ...], np.random.Generator], Array]
Estimator = Callable[[Array], Uncertain]

ALPHA = 0.05
TASKS = 6
EXAMPLES = 100
EXAMPLE_SE = math.sqrt(2 / 20)
SEEDS = (5, 10, 30)
UNTIL = schedule(5, 40)
OUT = Path(crossed_module.__file__).with_name("calibration.json")


def normal(size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Scores without surprises."""
    return rng.standard_normal(size)


def skewed(size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Most seeds are close to one another, and a few are much higher: skewness 2."""
    return rng.exponential(size=size) - 1


def bimodal(size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """One seed in three lands in another mode, four of the modes' standard deviations away."""
    within = 1 / math.sqrt(1 + 16 * 2 / 9)
    return within * (rng.standard_normal(size) + 4 * (rng.random(size) < 1 / 3) - 4 / 3)


SHAPES: dict[str, Draw] = {"normal": normal, "skewed": skewed, "bimodal": bimodal}


def paired(draw: Draw, other: Draw | None = None) -> Draw:
    """Differences of two cells' scores by seed."""
    return lambda size, rng: draw(size, rng) - (other or draw)(size, rng)


def with_examples(draw: Draw) -> Draw:
    """Differences by seed and test example, (..., seeds, examples): the examples' noise is that of 20 seeds."""

    def differences(size: tuple[int, ...], rng: np.random.Generator) -> Array:
        by_example = EXAMPLE_SE * math.sqrt(EXAMPLES) * draw((*size[:-1], 1, EXAMPLES), rng)
        return paired(draw)((*size, 1), rng) + by_example + 2 * normal((*size, EXAMPLES), rng)

    return differences


def right_or_wrong(size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Difference of two cells that are right (1) or wrong (0) on each example; some examples suit one cell better."""
    ability = 0.5 * normal((2, *size, 1), rng)
    hardness = 1.5 * normal((1, *size[:-1], 1, EXAMPLES), rng)
    suits = 0.7 * normal((2, *size[:-1], 1, EXAMPLES), rng)
    right = rng.random((2, *size, EXAMPLES)) < special.expit(1 + ability + hardness + suits)
    return right[0].astype(np.float64) - right[1]


def solved(size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Whether each of two cells solved the task: (..., seeds, 2)."""
    return (rng.random((*size, 2)) < 0.6).astype(np.float64)


def share_solved(outcomes: Array) -> SuccessDifference:
    """The estimate from what :func:`solved` makes."""
    first, second = outcomes.sum(axis=0).astype(int).tolist()
    return SuccessDifference(first, second, len(outcomes), len(outcomes))


def row(
    what: str,
    scores: str,
    n: int | str,
    nominal: float,
    hits: Sequence[float] | Array,
    kind: str,
    promised: bool = True,
) -> Row:
    """One line of the table; ``kind`` says what holds: coverage, error (at most), power, or at least."""
    measured, count = float(np.mean(hits)), len(hits)
    error = math.sqrt(max(nominal * (1 - nominal), measured * (1 - measured)) / count)
    within = {
        "coverage": abs(measured - nominal) <= 0.02,
        "error": measured <= nominal + 2 * error,
        "power": abs(measured - nominal) <= 0.05,
        "at least": measured >= nominal - 0.05,
    }[kind]
    return {
        "what": what,
        "scores": scores,
        "n": n,
        "nominal": round(nominal, 4),
        "measured": round(measured, 4),
        "simulations": count,
        "within": bool(within),
        "promised": promised,
    }


def coverage(
    what: str,
    draws: dict[str, Draw],
    interval: Callable[[Array], Interval],
    count: int,
    rng: np.random.Generator,
    *,
    seeds: Sequence[int] = SEEDS,
    promised: bool = True,
) -> list[Row]:
    """How often the interval at 95 % contains the true mean, 0."""
    rows = []
    for n in seeds:
        for scores, draw in draws.items():
            hits = [not interval(draw((n,), rng)).clear_of() for _ in range(count)]
            rows.append(row(what, scores, n, 0.95, hits, "coverage", promised))
    return rows


def coverage_of_shares(seeds: Sequence[int]) -> list[Row]:
    """Of the difference of two shares: exact, as the mean over true shares of 5, 15, ..., 95 %."""
    rows = []
    for n in seeds:
        intervals = [[SuccessDifference(a, b, n, n).interval(0.95) for b in range(n + 1)] for a in range(n + 1)]
        low = np.array([[interval.low for interval in line] for line in intervals])
        high = np.array([[interval.high for interval in line] for line in intervals])
        covered = []
        for p in np.arange(0.05, 1, 0.1):
            for q in np.arange(0.05, 1, 0.1):
                chance = np.outer(*(stats.binom.pmf(np.arange(n + 1), n, share) for share in (p, q)))
                covered.append(float(chance[(low <= p - q) & (p - q <= high)].sum()))
        rows.append(row("interval of the difference of shares solved", "solved or not", n, 0.95, covered, "coverage"))
    return rows


def fixed_report(
    data: Sequence[Array], estimators: Sequence[Estimator], margins: Sequence[float | None], n: int
) -> list[str]:
    """Answers of one report with ``n`` seeds of each task."""
    estimates = {task: make(scores[:n]) for task, (make, scores) in enumerate(zip(estimators, data, strict=True))}
    verdicts = decide(estimates, dict(enumerate(margins)), alpha=ALPHA, plan=False)
    return [verdict.answer for verdict in verdicts.values()]


def until_decided(
    data: Sequence[Array], estimators: Sequence[Estimator], margins: Sequence[float | None], points: Sequence[int]
) -> tuple[list[str], bool]:
    """Answers at the end of ``until=decided``, and whether a winner was named at any look.

    After each look the undecided tasks alone get the seeds up to their next one.
    """
    at, named = [0] * len(data), False
    while True:
        estimates = {
            task: make(scores[: points[at[task]]])
            for task, (make, scores) in enumerate(zip(estimators, data, strict=True))
        }
        verdicts = decide(estimates, dict(enumerate(margins)), alpha=ALPHA, looks=len(points), plan=False)
        answers: list[str] = [verdict.answer for verdict in verdicts.values()]
        named = named or "first" in answers or "second" in answers
        more = [task for task, answer in enumerate(answers) if answer == "undecided" and at[task] + 1 < len(points)]
        if not more:
            return answers, named
        for task in more:
            at[task] += 1


UNLIKE = "skewed against normal"
"""Two cells whose scores have different shapes: their differences are skewed, and nothing is promised."""


def families() -> dict[str, tuple[list[Draw], list[Estimator]]]:
    """The six tasks of a report, by kind of scores."""
    alike: dict[str, tuple[list[Draw], list[Estimator]]] = {
        name: ([paired(draw)] * TASKS, [seeds_only] * TASKS) for name, draw in SHAPES.items()
    }
    alike["seeds and examples"] = ([with_examples(normal)] * TASKS, [crossed] * TASKS)
    alike["six kinds"] = (
        [paired(normal), paired(skewed), paired(bimodal), with_examples(normal), right_or_wrong, solved],
        [seeds_only, seeds_only, seeds_only, crossed, crossed, share_solved],
    )
    alike[UNLIKE] = ([paired(skewed, normal)] * TASKS, [seeds_only] * TASKS)
    return alike


def no_difference(count: int, rng: np.random.Generator) -> list[Row]:
    """How often a report names a winner on any of six tasks where there is none."""
    rows = []
    for scores, (draws, estimators) in families().items():
        # without a margin nothing is ever settled as equivalent: the hardest case
        margins: list[float | None] = [None] * TASKS
        for n in SEEDS:
            named = []
            for _ in range(count):
                data = [draw((n,), rng) for draw in draws]
                named.append(not {"first", "second"}.isdisjoint(fixed_report(data, estimators, margins, n)))
            rows.append(row("a winner named, no difference", scores, n, ALPHA, named, "error", scores != UNLIKE))
        for margin in (None, 0.7):
            named = []
            for _ in range(count // 2):
                data = [draw((UNTIL[-1],), rng) for draw in draws]
                named.append(until_decided(data, estimators, [margin] * TASKS, UNTIL)[1])
            what = f"a winner named at any look, no difference, {'no margin' if margin is None else 'with a margin'}"
            rows.append(row(what, scores, span(UNTIL), ALPHA, named, "error", scores != UNLIKE))
    return rows


def span(points: Sequence[int]) -> str:
    """The numbers of seeds of ``until=decided`` in the table."""
    return f"{points[0]} to {points[-1]}"


def truth(n: int, examples: bool = False, value: float = 0.0) -> Estimate:
    """The true spread of what :func:`paired` and :func:`with_examples` make, for the announcement of power."""
    if not examples:
        return Estimate(value, math.sqrt(2 / n), n - 1, n, None, math.sqrt(2 / n), math.nan, "truth")
    seed_se = math.sqrt((2 + 4 / EXAMPLES) / n)
    one = Estimate(value, math.nan, math.nan, n, EXAMPLES, seed_se, EXAMPLE_SE, "truth")
    return one.with_seeds(n)


def margin_with_power(n: int, level: float, examples: bool) -> float:
    """The difference that is announced as found with :data:`POWER` by ``n`` seeds."""

    def gap(margin: float) -> float:
        return power_difference(truth(n, examples, margin), level) - POWER

    return float(optimize.brentq(gap, 0.1, 20))


def one_margin(count: int, rng: np.random.Generator) -> list[Row]:
    """One of six tasks differs by exactly one margin: it is found, and not called equivalent."""
    rows = []
    for scores, (draws, estimators) in families().items():
        if scores in ("six kinds", UNLIKE):
            continue  # their spreads differ by task
        for points in [[n] for n in SEEDS] + [UNTIL]:
            most, looks = points[-1], len(points)
            margin = margin_with_power(most, nominal_level(ALPHA / TASKS, looks), estimators[0] is crossed)
            answers = []
            for _ in range(count if looks == 1 else count // 2):
                data = [draw((most,), rng) for draw in draws]
                data[0] = data[0] + margin
                if looks == 1:
                    answers.append(fixed_report(data, estimators, [margin] * TASKS, most)[0])
                else:
                    answers.append(until_decided(data, estimators, [margin] * TASKS, points)[0][0])
            n = most if looks == 1 else span(points)
            found = [answer == "first" for answer in answers]
            rows.append(row("a difference of one margin found", scores, n, POWER, found, "power"))
            equal = [answer == "equivalent" for answer in answers]
            rows.append(row("a difference of one margin called equivalent", scores, n, ALPHA, equal, "error"))
    return rows


def six_margins(count: int, rng: np.random.Generator) -> list[Row]:
    """All six tasks differ by one margin: Holm's later steps are easier than what is announced for the first."""
    rows = []
    for n in SEEDS:
        margin = margin_with_power(n, ALPHA / TASKS, examples=False)
        found = []
        for _ in range(count):
            data = list(paired(normal)((TASKS, n), rng) + margin)
            answers = fixed_report(data, [seeds_only] * TASKS, [margin] * TASKS, n)
            found.append(answers.count("first") / TASKS)
        rows.append(row("six differences of one margin, each found (at least)", "normal", n, POWER, found, "at least"))
    return rows


def margin_to_be_equivalent(n: int) -> float:
    """The margin within which ``n`` seeds are announced to show equivalence with :data:`POWER`."""
    return float(optimize.brentq(lambda margin: power_equivalence(truth(n), margin, 2 * ALPHA) - POWER, 0.1, 20))


def equivalence(count: int, rng: np.random.Generator) -> list[Row]:
    """No difference, and a margin with which the announced chance of "equivalent" is :data:`POWER`."""
    rows = []
    for scores, draw in SHAPES.items():
        for n in SEEDS:
            margin = margin_to_be_equivalent(n)
            hits = []
            for _ in range(count):
                answers = fixed_report(list(paired(draw)((TASKS, n), rng)), [seeds_only] * TASKS, [margin] * TASKS, n)
                hits.append(answers[0] == "equivalent")
            rows.append(row("equivalence found, no difference", scores, n, POWER, hits, "power"))
    return rows


def note(rows: Sequence[Row]) -> str:
    """Which promises do not hold, and what lies outside them, in a few sentences."""

    def failed(promised: bool) -> list[str]:
        lines = [line for line in rows if line["promised"] == promised and not line["within"]]
        return [f"{line['what']}, {line['scores']}, n = {line['n']}" for line in lines]

    held = f"Not held: {'; '.join(failed(True))}." if failed(True) else "Every promise holds."
    beyond = failed(False)
    return f"{held} Not promised, and off: {'; '.join(beyond)}." if beyond else held


def main() -> None:
    """Simulate, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="100 simulations a row")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    count = 100 if options.quick else options.simulations
    rng = np.random.default_rng(options.seed)
    differences = {name: paired(draw) for name, draw in SHAPES.items()}
    tables = {name: with_examples(draw) for name, draw in SHAPES.items()} | {"right or wrong": right_or_wrong}
    rows: list[Row] = []

    def add(more: list[Row]) -> None:
        for line in more:
            print(
                f"{line['what']:<72} {line['scores']:<22} {line['n']!s:>8} {line['nominal']:>7.3f} "
                f"{line['measured']:>8.4f} {line['simulations']:>6} {'yes' if line['within'] else 'NO'}"
                f"{'' if line['promised'] else ' (not promised)'}",
                flush=True,
            )
        rows.extend(more)

    add(coverage("t interval, differences", differences, t_interval, count, rng))
    add(coverage("interval over seeds and test examples", tables, lambda d: crossed(d).interval(0.95), count, rng))
    add(coverage_of_shares(SEEDS[:2] if options.quick else SEEDS))
    few = max(50, count // 4)

    def bca(values: Array) -> Interval:
        return bca_interval(values, 0.95, rng, resamples=1999)

    add(coverage("BCa interval, differences", differences, bca, few, rng, seeds=[BCA_FROM]))
    add(coverage(f"BCa interval, differences (not used below {BCA_FROM})", differences, bca, few, rng, promised=False))
    one = "interval of one cell's mean (nothing is decided by it)"
    add(coverage(one, SHAPES, lambda x: mean_interval(x, 0.95, rng), count, rng, promised=False))
    add(no_difference(count, rng))
    add(one_margin(count // 2, rng))
    add(six_margins(count // 2, rng))
    add(equivalence(count // 2, rng))
    print(note(rows))
    out = options.out or (None if options.quick else OUT)
    if out:
        table = {"simulations": count, "seed": options.seed, "note": note(rows), "rows": rows}
        out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
