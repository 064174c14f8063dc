"""What two rows' runs say about the difference between them, before any verdict.

Differences are oriented: positive says that the first cell is better, whatever the metric's direction. Suffix letters:
S seeds, N test examples.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from gru_bench.compare.pairs import Pair
from gru_bench.compare.pieces import pseudo_values, scored_lengths
from gru_bench.errors import UserError
from gru_bench.report.groups import Group, TaskGroups, distinct, truth
from gru_bench.report.markdown import known
from gru_bench.report.view import View
from gru_bench.statistics.crossed import Estimate, Uncertain, crossed, seeds_only
from gru_bench.statistics.success import SuccessDifference

Kind = Literal["mean", "share solved"]

SHARE_MARGIN = 0.1
"""Margin of a difference of shares of seeds that solve a task: one seed in ten."""
LOG_METRICS = frozenset({"perplexity"})
"""Metrics whose ratios matter: differences are those of the logarithm, times the geometric mean of all scores compared,
so that they are in the metric's unit again and the task's margin holds for them."""
MARGINS = "margins"
"""What a user accepts who compares runs with different margins."""
MARGINS_MARK, CODE_MARK, DIRTY_MARK, MACHINES_MARK = (
    "margins changed between runs",
    "runs of mixed code",
    "uncommitted code",
    "runs of mixed machines",
)
Tables = Mapping[str, dict[object, np.ndarray]]
"""By run: at each length at which the test examples give the stored score, their pseudo-values."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """The seeds that two rows share, and the difference that they show.

    Attributes:
        kind: Of means, or of the shares of seeds that solve the task, where some do and some do not.
        margin: In the unit of the difference: the task's, or :data:`SHARE_MARGIN`.
        seeds: Those that both rows have.
        scores: One for each seed, of the first and of the second, as stored.
        solved: For each seed whether the first and the second solved the task; of shares alone.
        differences: (S,) or (S, N), oriented; one for each seed in the order of ``seeds``.
        right_or_wrong: Whether each test example is scored 0 or 1, on both sides.
        looks: Most looks at the results that the runs' sweep may take.
        notes: How the comparison was made where it is not the usual way, in words.
        marks: What weakens it, in few words.
    """

    pair: Pair
    kind: Kind
    margin: float | None
    seeds: list[int]
    scores: tuple[np.ndarray, np.ndarray]
    solved: tuple[np.ndarray, np.ndarray] | None
    differences: np.ndarray
    right_or_wrong: bool
    estimate: Uncertain
    looks: int
    notes: list[str]
    marks: list[str]

    @property
    def by_seed(self) -> np.ndarray:
        """(S,) oriented differences."""
        return self.differences.mean(axis=1) if self.differences.ndim == 2 else self.differences

    @property
    def num_examples(self) -> int | None:
        """Test examples whose noise is in the estimate; None where it is that of the seeds alone."""
        return getattr(self.estimate, "num_examples", None)

    @property
    def unit(self) -> str:
        """Of difference and margin."""
        return "share of seeds" if self.kind == "share solved" else self.pair.task.unit or self.pair.task.metric

    def without_seed(self, seed: int) -> "Evidence":
        """The same of all other seeds."""
        keep = np.array([other != seed for other in self.seeds])
        solved = None if self.solved is None else (self.solved[0][keep], self.solved[1][keep])
        differences = self.differences[keep]
        return dataclasses.replace(
            self,
            seeds=[other for other in self.seeds if other != seed],
            scores=(self.scores[0][keep], self.scores[1][keep]),
            solved=solved,
            differences=differences,
            estimate=estimated(differences, solved, self.right_or_wrong),
        )


def gather(view: View, pair: Pair, tables: Tables) -> Evidence:
    """What the runs of a pair say.

    Args:
        view: All runs.
        pair: Two rows of a task.
        tables: Pseudo-values of runs, as :func:`taken_apart` gives them.

    Raises:
        UserError: The task's metric has no direction, or its runs have different margins, which was not accepted.
    """
    task = pair.task
    margins = view.remember(("margins", task.task, task.metric), lambda: margins_of(task))
    check(task, margins, view.accept)
    sign = 1.0 if task.higher_is_better else -1.0
    sides = [view.seed_values(group, task.metric) for group in (pair.first, pair.second)]
    seeds = sorted(set(sides[0].index) & set(sides[1].index))
    first_S, second_S = (side[seeds].to_numpy(dtype=float) for side in sides)
    notes = [*pair.notes, *alone(pair, sides)]
    solved, margin = shares(view, pair, (first_S, second_S)), task.margin
    right_or_wrong = False
    if solved is not None:
        margin = SHARE_MARGIN
        differences = solved[0].astype(float) - solved[1].astype(float)
    else:
        scale = level_of(task.metric, first_S, second_S)
        pieces = [pieces_by_seed(group, seeds, tables) for group in (pair.first, pair.second)]
        both = at_one_length(pieces[0], pieces[1])
        if both is None:
            one, other = on_scale(first_S[:, None], first_S, scale), on_scale(second_S[:, None], second_S, scale)
            differences = sign * (one - other)[:, 0]
            notes += ["noise of the seeds alone: the stored test examples do not give the scores"] if seeds else []
        else:
            right_or_wrong = scale is None and all(are_right_or_wrong(side) for side in both)
            differences = sign * (on_scale(both[0], first_S, scale) - on_scale(both[1], second_S, scale))
    return Evidence(
        pair=pair,
        kind="mean" if solved is None else "share solved",
        margin=margin,
        seeds=[int(seed) for seed in seeds],
        scores=(first_S, second_S),
        solved=solved,
        differences=differences,
        right_or_wrong=right_or_wrong,
        estimate=estimated(differences, solved, right_or_wrong),
        looks=most_looks(pair),
        notes=notes,
        marks=marks(margins, pair),
    )


def are_right_or_wrong(pieces_SN: np.ndarray) -> bool:
    """Whether every number is 0 or 1; told by the first seed where it is not so."""
    return all(bool(np.isin(pieces_N, (0.0, 1.0)).all()) for pieces_N in pieces_SN)


def estimated(
    differences: np.ndarray, solved: tuple[np.ndarray, np.ndarray] | None, right_or_wrong: bool = False
) -> Uncertain:
    """The difference and its uncertainty; nothing is known of it where there is no seed."""
    if not len(differences):
        return Estimate(math.nan, math.inf, 1.0, 0, None, math.nan, math.nan, "no seed in common")
    if solved is not None:
        first, second = solved
        return SuccessDifference(int(first.sum()), int(second.sum()), len(first), len(second))
    return crossed(differences, right_or_wrong=right_or_wrong) if differences.ndim == 2 else seeds_only(differences)


def check(task: TaskGroups, margins: list[float], accept: frozenset[str]) -> None:
    """Refuse what cannot be compared."""
    if task.higher_is_better is None:
        raise UserError(
            f"{task.task}: whether a higher {task.metric or 'score'} is better is not recorded, so no cell can be the "
            "better one; leave its runs out of the report"
        )
    if len(margins) > 1 and MARGINS not in accept:
        texts = ", ".join(f"{margin:g}" for margin in margins)
        raise UserError(
            f"{task.task}: its runs have different margins ({texts}), and a margin is fixed before the runs; "
            f"accept=[{MARGINS}] compares by the smallest one and marks the report"
        )


def margins_of(task: TaskGroups) -> list[float]:
    """The different margins of a task's finished runs."""
    parts = [group.finished["margin"].drop_duplicates() for group in task.groups if len(group.finished)]
    return [float(margin) for margin in distinct(pd.concat(parts))] if parts else []


def alone(pair: Pair, sides: list[pd.Series]) -> list[str]:
    """The seeds that only one of the rows has."""
    notes = []
    for group, mine, other in zip((pair.first, pair.second), sides, sides[::-1], strict=True):
        if left := sorted(set(mine.index) - set(other.index)):
            texts = [str(seed) for seed in left]
            which = ", ".join(texts if len(texts) <= 6 else [*texts[:5], f"and {len(texts) - 5} more"])
            notes.append(f"seeds of {group.cell} without a partner: {which}")
    if not set(sides[0].index) & set(sides[1].index):
        notes.insert(0, "no seed in common")
    return notes


def most_looks(pair: Pair) -> int:
    """Most looks that any of the runs was planned with; 1 where none says."""
    column = pd.concat([group.finished["looks"].drop_duplicates() for group in (pair.first, pair.second)])
    return max((int(value) for value in column if known(value)), default=1)


def marks(margins: list[float], pair: Pair) -> list[str]:
    """What weakens a comparison whatever it says."""
    runs = pd.concat([group.finished[["git_commit", "dirty", "machine"]] for group in (pair.first, pair.second)])
    kinds = runs[["git_commit", "dirty"]].drop_duplicates()
    dirty = [truth(value) for value in kinds["dirty"]]
    code = {(commit, flag) for commit, flag in zip(kinds["git_commit"], dirty, strict=True) if known(commit)}
    found = {
        MARGINS_MARK: len(margins) > 1,
        CODE_MARK: len(code) > 1,
        DIRTY_MARK: any(dirty),
        MACHINES_MARK: len(distinct(runs["machine"].drop_duplicates())) > 1,
    }
    return [mark for mark, there in found.items() if there]


def shares(view: View, pair: Pair, scores: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Whether each seed solved the task: half of the way from the trivial guess to the ceiling, or better.

    None where the seeds of neither row split, so that their means can be compared.
    """
    task, outcomes = pair.task, view.outcomes(pair.task)
    infinite = not all(np.isfinite(side).all() for side in scores)
    if not infinite and not any(outcomes[group.label].is_split for group in (pair.first, pair.second)):
        return None
    guesses = [
        guess for group in (pair.first, pair.second) for guess in view.seed_values(group, f"trivial_{task.metric}")
    ] or [value for _, value in task.trivial]
    if not guesses or task.ceiling is None:
        return None
    half = (sum(guesses) / len(guesses) + task.ceiling) / 2
    first, second = ((side >= half) if task.higher_is_better else (side <= half) for side in scores)
    return None if not len(first) else (first, second)


def level_of(metric: str, first_S: np.ndarray, second_S: np.ndarray) -> float | None:
    """The geometric mean of all scores, of a metric that is compared by its logarithm; else None."""
    every = np.concatenate([first_S, second_S])
    if metric not in LOG_METRICS or not len(every) or not (np.isfinite(every) & (every > 0)).all():
        return None
    return float(np.exp(np.log(every).mean()))


def on_scale(pieces_SN: np.ndarray, scores_S: np.ndarray, level: float | None) -> np.ndarray:
    """Pseudo-values of the logarithm, times the level; as they are where the metric has no such scale."""
    if level is None:
        return pieces_SN
    scores_S1 = scores_S[:, None]
    return level * (np.log(scores_S1) + (pieces_SN - scores_S1) / scores_S1)


def taken_apart(view: View, metric: str, group: Group) -> Tables:
    """Pseudo-values of a row's finished runs, at each length that gives the stored score."""
    scores = view.measured.get(("test", metric, "", ""), {})
    found: dict[str, dict[object, np.ndarray]] = {}
    for run_id in group.finished["run_id"]:
        examples = view.examples(run_id) if run_id in scores else None
        if not examples:
            continue
        found[run_id] = {}
        for length in scored_lengths(metric, examples, scores[run_id]):
            pieces = pseudo_values(metric, examples, scores[run_id], length)
            if pieces is not None:
                found[run_id][length] = pieces
    return found


def pieces_by_seed(group: Group, seeds: list[int], tables: Tables) -> list[list[dict[object, np.ndarray]]]:
    """For each seed the tables of its runs; usually one."""
    finished = group.finished
    by_seed: dict[int, list[dict[object, np.ndarray]]] = {seed: [] for seed in seeds}
    for run_id, seed in zip(finished["run_id"], finished["seed"], strict=True):
        if known(seed) and int(seed) in by_seed:
            by_seed[int(seed)].append(tables.get(run_id, {}))
    return list(by_seed.values())


def at_one_length(
    first: list[list[dict[object, np.ndarray]]], second: list[list[dict[object, np.ndarray]]]
) -> tuple[np.ndarray, np.ndarray] | None:
    """(S, N) pseudo-values of both sides at the one length that all runs share; None where there is none.

    Where several fit, all runs have the same score at each of them, and the longest is taken.
    """
    runs = [table for side in (first, second) for seed in side for table in seed]
    if not runs:
        return None
    shared = set.intersection(*(set(table) for table in runs))
    sizes = {length: {len(table[length]) for table in runs} for length in shared}
    fitting = [length for length in shared if len(sizes[length]) == 1]
    if not fitting:
        return None
    length = max(fitting, key=lambda value: (value is not None, value if isinstance(value, int | float) else 0))
    one, other = (np.stack([np.mean([t[length] for t in seed], axis=0) for seed in side]) for side in (first, second))
    return one, other
