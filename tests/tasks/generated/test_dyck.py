"""Dyck languages: strings by hand, answers against a stack of Python's, and that all strings are equally likely."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.errors import UserError
from gru_bench.tasks.base import Goal
from gru_bench.tasks.generated.dyck import Dyck

GOAL = Goal(margin=0.02, beats_trivial_by=0.3, ceiling=0.99)


def make(kinds: int = 2, depth: int | None = 3, levels: tuple[int, ...] = (2, 8), beyond: tuple[int, ...] = ()) -> Dyck:
    return Dyck(
        None, kinds=kinds, depth=depth, levels=list(levels), beyond=list(beyond), num_eval=20, batch_size=8, goal=GOAL
    )


def answers(symbols: list[int], kinds: int, depth: int | None) -> list[int]:
    """By a stack; fails where the brackets are not balanced or too deep."""
    stack: list[int] = []
    found: list[int] = []
    for symbol in symbols:
        if symbol < kinds:
            stack.append(symbol)
        else:
            assert stack.pop() == symbol - kinds
        assert depth is None or len(stack) <= depth
        full = depth is not None and len(stack) == depth
        found.append(1 + stack[-1] + kinds * full if stack else 0)
    assert not stack
    return found


def strings(length: int, kinds: int, depth: int | None) -> list[tuple[int, ...]]:
    """All of them, by trying every sequence."""
    found = []
    for symbols in itertools.product(range(2 * kinds), repeat=length):
        try:
            answers(list(symbols), kinds, depth)
        except (AssertionError, IndexError):
            continue
        found.append(symbols)
    return found


def test_the_example_of_the_docstring() -> None:
    symbols = ["([)]".index(c) for c in "([][])[]"]
    assert answers(symbols, 2, 2) == [1, 4, 1, 4, 1, 0, 2, 0]


@settings(max_examples=25)
@given(
    kinds=st.integers(1, 4),
    depth=st.one_of(st.none(), st.integers(1, 5)),
    pairs=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_strings_are_balanced_and_answered_as_by_a_stack(kinds: int, depth: int | None, pairs: int, seed: int) -> None:
    task = make(kinds, depth, (2 * pairs,))
    batch = task.draw(2 * pairs, 6, torch.Generator().manual_seed(seed))
    assert batch.inputs.shape == batch.targets.shape == (2 * pairs, 6)
    for symbols, targets in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
        assert targets == answers(symbols, kinds, depth)
    assert int(batch.targets.max()) < task.sizes()["num_classes"]
    assert int(batch.inputs.max()) < task.sizes()["vocab_size"]


@pytest.mark.parametrize(("kinds", "depth", "length"), [(1, None, 8), (1, 2, 8), (2, 2, 6), (2, None, 4)])
def test_all_strings_of_a_length_are_equally_likely(kinds: int, depth: int | None, length: int) -> None:
    drawn = 200 * len(every := strings(length, kinds, depth))
    batch = make(kinds, depth, (length,)).draw(length, drawn, torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, batch.inputs.T.tolist()))
    assert set(counts) == set(every)
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    # mean len - 1, standard deviation sqrt(2 (len - 1))
    assert chi_square < len(every) - 1 + 4 * (2 * (len(every) - 1)) ** 0.5


@pytest.mark.parametrize(("kinds", "depth", "length"), [(1, None, 6), (1, 1, 4), (2, 2, 6), (2, None, 4), (2, 1, 4)])
def test_no_memory_scores_what_the_best_of_all_memoryless_rules_scores(
    kinds: int, depth: int | None, length: int
) -> None:
    task = make(kinds, depth, (length,))
    every = [(symbols, answers(list(symbols), kinds, depth)) for symbols in strings(length, kinds, depth)]
    best = max(
        sum(all(rule[s] == a for s, a in zip(symbols, wanted, strict=True)) for symbols, wanted in every)
        for rule in itertools.product(range(task.sizes()["num_classes"]), repeat=2 * kinds)
    )
    assert task.without_memory(length) == pytest.approx(best / len(every))


def test_long_strings_are_drawn_and_batches_ahead_do_not_repeat() -> None:
    task = make(1, None, (4, 40), beyond=(500,))
    task.load()
    assert task.examples.whole["test"][-1].inputs.shape == (500, 20)
    assert (task.examples.whole["test"][-1].targets[-1] == 0).all()
    stream = task.batches("train", torch.Generator().manual_seed(0))
    long = [batch.inputs for batch, _ in zip(stream, range(100), strict=False) if len(batch.inputs) == 40]
    assert {batch.shape for batch in long} == {(40, 8)}
    columns = [tuple(column) for batch in long for column in batch.T.tolist()]
    assert len(set(columns)) == len(columns)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match=r"task.levels and task.beyond: 7 is odd"):
        make(levels=(2, 7))
    with pytest.raises(UserError, match=r"task.depth: 2 kinds of brackets with up to 250 open are too many"):
        make(2, None, (40,), beyond=(500,))
