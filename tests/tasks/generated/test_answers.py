"""The tasks of memory and of state tracking: each against a slow reference, hand-made examples, and exact chances."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Goal
from gru_bench.tasks.generated.adding import Adding
from gru_bench.tasks.generated.associative_recall import AssociativeRecall
from gru_bench.tasks.generated.cycle_navigation import CycleNavigation
from gru_bench.tasks.generated.delayed_recall import DelayedRecall
from gru_bench.tasks.generated.even_pairs import EvenPairs
from gru_bench.tasks.generated.modular_arithmetic import ModularArithmetic
from gru_bench.tasks.generated.noisy_recall import NoisyRecall
from gru_bench.tasks.generated.parity import Parity
from gru_bench.tasks.generated.selective_copy import SelectiveCopy
from gru_bench.tasks.generated.word_problem import PERMUTATIONS, WordProblem
from gru_bench.tasks.objectives.answer import Answer

Symbols = list[int]
NO = IGNORED
COMMON: dict[str, Any] = {
    "num_eval": 30,
    "batch_size": 8,
    "goal": Goal(margin=0.02, beats_trivial_by=0.1, ceiling=0.99),
}
MEMORY: dict[type[Answer], dict[str, Any]] = {
    SelectiveCopy: {"num_tokens": 3, "num_symbols": 4},
    DelayedRecall: {"num_cues": 4, "num_distractors": 4},
    NoisyRecall: {"num_pairs": 2, "num_keys": 4, "num_values": 4, "num_noise": 4},
    AssociativeRecall: {"length": 40, "num_keys": 10, "num_values": 10, "noise": True},
}
TRACKING: tuple[type[Answer], ...] = (Parity, EvenPairs, CycleNavigation, ModularArithmetic, WordProblem)


def make(kind: type[Answer], levels: list[int] | None = None, **arguments: Any) -> Any:
    return kind(None, **(COMMON | {"levels": levels or [6, 9], "beyond": []} | MEMORY.get(kind, {}) | arguments))


# --- slow references: the answers of one sequence of symbols, from what the task says


def parity(bits: Symbols) -> Symbols:
    return [bits[: i + 1].count(1) % 2 for i in range(len(bits))]


def even_pairs(bits: Symbols) -> Symbols:
    changes = [sum(a != b for a, b in itertools.pairwise(bits[: i + 1])) for i in range(len(bits))]
    return [int(number % 2 == 0) for number in changes]


def cycle_navigation(symbols: Symbols) -> Symbols:
    place, places = 0, []
    for symbol in symbols:
        place = {0: place, 1: place + 1 if place < 4 else 0, 2: place - 1 if place > 0 else 4}[symbol]
        places.append(place)
    return places


def modular_arithmetic(symbols: Symbols) -> Symbols:
    text = ["+-*"[symbol - 5] if symbol >= 5 else str(symbol) for symbol in symbols]
    return [eval("".join(text[: i + 1])) % 5 if i % 2 == 0 else NO for i in range(len(text))]


def word_problem(symbols: Symbols) -> Symbols:
    things, answers = [0, 1, 2, 3, 4], []
    for symbol in symbols:
        if symbol == 1:
            things[:2] = things[1], things[0]
        elif symbol == 2:
            things = things[1:] + things[:1]
        answers.append(sorted(PERMUTATIONS).index(tuple(things)))
    return answers


def selective_copy(symbols: Symbols) -> Symbols:
    kept = [symbol - 2 for symbol in symbols if symbol >= 2]
    return [NO] * (len(symbols) - len(kept)) + kept


def delayed_recall(symbols: Symbols) -> Symbols:
    (cue,) = (symbol - 1 for symbol in symbols if 1 <= symbol <= 4)
    return [NO] * (len(symbols) - 1) + [cue]


def noisy_recall(symbols: Symbols) -> Symbols:
    values = {a: b - 4 for a, b in itertools.pairwise(symbols[:-2]) if a < 4 <= b < 8}
    return [NO] * (len(symbols) - 2) + [values[key] for key in symbols[-2:]]


REFERENCES: dict[type[Answer], Callable[[Symbols], Symbols]] = {
    Parity: parity,
    EvenPairs: even_pairs,
    CycleNavigation: cycle_navigation,
    ModularArithmetic: modular_arithmetic,
    WordProblem: word_problem,
    SelectiveCopy: selective_copy,
    DelayedRecall: delayed_recall,
    NoisyRecall: noisy_recall,
}

EXAMPLES: list[tuple[type[Answer], Symbols, Symbols]] = [
    (Parity, [1, 0, 1, 1, 0, 1], [1, 1, 0, 1, 1, 0]),
    (EvenPairs, [1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 1, 0]),
    (CycleNavigation, [1, 1, 0, 2, 2, 2], [1, 2, 2, 1, 0, 4]),
    (ModularArithmetic, [2, 5, 3, 7, 4, 6, 1], [2, NO, 0, NO, 4, NO, 3]),
    (WordProblem, [1, 2, 0, 1], [24, 9, 9, 51]),
    (SelectiveCopy, [0, 4, 0, 0, 2, 0, 4, 0, 1, 1, 1], [NO] * 8 + [2, 0, 2]),
    (DelayedRecall, [6, 5, 8, 2, 5, 5, 7, 6, 0], [NO] * 8 + [1]),
    (NoisyRecall, [8, 2, 5, 9, 9, 11, 0, 7, 8, 10, 0, 2], [NO] * 10 + [3, 1]),
]
"""Those that the docstrings draw."""


@pytest.mark.parametrize(("kind", "symbols", "answers"), EXAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_references_agree_with_the_drawn_examples(kind: type[Answer], symbols: Symbols, answers: Symbols) -> None:
    assert REFERENCES[kind](symbols) == answers


@pytest.mark.parametrize("kind", REFERENCES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("level", [4, 17])
def test_a_generator_agrees_with_its_reference(kind: type[Answer], level: int) -> None:
    batch = make(kind, [level]).draw(level, 150, torch.Generator().manual_seed(level))
    for symbols, answers in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
        assert answers == REFERENCES[kind](symbols)
    assert len(batch.inputs.unique(dim=1).T) > 15  # a stuck generator would agree, too


@pytest.mark.parametrize("noise", [True, False])
def test_associative_recall_asks_for_each_pair_once(noise: bool) -> None:
    batch = make(AssociativeRecall, [3], noise=noise).draw(3, 200, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (40, 200)
    for symbols, answers in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
        pairs = dict(zip(symbols[0:6:2], symbols[1:6:2], strict=True))
        assert len(pairs) == len(set(pairs.values())) == 3
        asked = [place for place, answer in enumerate(answers) if answer != NO]
        assert all(place >= 6 and place % 2 == 0 for place in asked)
        assert {symbols[place] for place in asked} == set(pairs)
        assert all(pairs[symbols[place]] == answers[place] + 11 for place in asked)
        others = [symbol for place, symbol in enumerate(symbols) if place >= 6 and place not in asked]
        assert all((symbol > 0) == noise for symbol in others)
        assert max(symbols) <= 20
        assert len(asked) == 3


def test_associative_recall_asks_near_the_pairs_most() -> None:
    batch = make(AssociativeRecall, [1]).draw(1, 5000, torch.Generator().manual_seed(0))
    places = (batch.targets != NO).long().argmax(dim=0)
    weights = torch.arange(1.0, 20).pow(-0.99)  # 19 places after 2 of 40 steps
    measured = torch.bincount((places - 2) // 2, minlength=19) / 5000
    torch.testing.assert_close(measured, weights / weights.sum(), atol=0.025, rtol=0)


def test_places_are_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    copied = make(SelectiveCopy, [8]).draw(8, 8000, generator).inputs[:8] >= 2
    torch.testing.assert_close(copied.double().mean(dim=1), torch.full((8,), 3 / 8).double(), atol=0.03, rtol=0)
    cues = make(DelayedRecall, [8]).draw(8, 8000, generator).inputs
    seen = ((cues >= 1) & (cues <= 4)).double().mean(dim=1)
    assert seen[8:].sum() == 0  # at least one distractor before the question
    torch.testing.assert_close(seen[:8], torch.full((8,), 1 / 8).double(), atol=0.02, rtol=0)
    # of two pairs in six steps the first stands at 0, 1 or 2, in 3, 2 and 1 of the six arrangements
    keys = make(NoisyRecall, [6]).draw(6, 8000, generator).inputs[:6] < 4
    first = torch.bincount(keys.long().argmax(dim=0)) / 8000
    torch.testing.assert_close(first, torch.tensor([3 / 6, 2 / 6, 1 / 6]), atol=0.03, rtol=0)


@pytest.mark.parametrize("kind", TRACKING, ids=lambda kind: kind.__name__)
def test_what_no_memory_scores_is_exact(kind: type[Answer]) -> None:
    """Over all sequences of a length: the best answer to each symbol, counted."""
    digits, operators = range(5), range(5, 8)
    alphabets: list[Any] = [range(make(kind).sizes()["vocab_size"])] * 5
    if kind is ModularArithmetic:
        alphabets = [digits, operators, digits, operators, digits]
    seen: dict[int, Counter[int]] = defaultdict(Counter)
    for symbols in itertools.product(*alphabets):
        for symbol, answer in zip(symbols, REFERENCES[kind](list(symbols)), strict=True):
            if answer != NO:
                seen[symbol][answer] += 1
    right = sum(answers.most_common(1)[0][1] for answers in seen.values())
    assert make(kind).without_memory(5) == pytest.approx(right / sum(map(Counter.total, seen.values())))


@pytest.mark.parametrize("kind", MEMORY, ids=lambda kind: kind.__name__)
def test_what_no_memory_scores_is_drawn(kind: type[Answer]) -> None:
    task = make(kind)
    batch = task.draw(9, 20_000, torch.Generator().manual_seed(0))
    asked = batch.targets != NO
    together = torch.zeros(task.sizes()["vocab_size"], task.sizes()["num_classes"])
    together.index_put_((batch.inputs[asked], batch.targets[asked]), torch.ones(()), accumulate=True)
    measured = together.max(dim=1).values.sum() / together.sum()
    assert task.without_memory(9) == pytest.approx(float(measured), abs=0.015)
    assert task.with_memory(9) == 1.0


def test_what_no_memory_scores_on_the_adding_problem() -> None:
    task = Adding(None, lengths=[4], beyond=[8], **COMMON | {"num_eval": 60_000})
    task.load()
    without, perfect = task.memory_scores()
    for batch, part in zip(task.examples.whole["test"], without.slices, strict=True):
        value, marked = batch.inputs[-1].unbind(dim=1)
        guess = torch.where(marked == 1, value + 0.5, 1.0)
        assert part.value == pytest.approx(float((guess - batch.targets).square().mean()), rel=0.03)
    assert (without.name, without.scored) == ("without_memory", without.slices[0].value)
    assert (perfect.name, perfect.scored, [part.value for part in perfect.slices]) == ("with_memory", 0.0, [0.0, 0.0])


def test_all_of_s5_is_reached() -> None:
    batch = make(WordProblem, [200]).draw(200, 200, torch.Generator().manual_seed(0))
    assert len(batch.targets.unique()) == 120


@pytest.mark.parametrize("kind", [*TRACKING, *MEMORY], ids=lambda kind: kind.__name__)
def test_splits_have_streams_of_their_own(kind: type[Answer]) -> None:
    task = make(kind, [9])
    task.load()
    train = next(iter(task.batches("train", torch.Generator().manual_seed(0))))
    valid, test = (next(iter(task.batches(split))) for split in ("valid", "test"))
    assert train.inputs.shape == valid.inputs.shape == test.inputs.shape
    for one, other in itertools.combinations((train, valid, test), 2):
        assert not torch.equal(one.inputs, other.inputs)


def test_training_batches_differ_and_take_turns_in_level() -> None:
    task = make(Parity, [3, 5])
    batches = list(itertools.islice(task.batches("train", torch.Generator().manual_seed(0)), 80))
    assert all(batch.inputs.shape[1] == batch.targets.shape[1] == 8 for batch in batches)
    lengths = [len(batch.inputs) for batch in batches]
    assert 20 < lengths.count(3) < 60
    assert len(set(itertools.pairwise(lengths))) == 4
    assert len({tuple(batch.inputs.flatten().tolist()) for batch in batches}) > 75


@pytest.mark.parametrize(
    ("kind", "levels", "arguments", "message"),
    [
        (SelectiveCopy, [2, 9], {}, "task.num_tokens=3: do not fit a lag of 2"),
        (NoisyRecall, [3], {}, "task.num_pairs=2: do not fit a lag of 3"),
        (NoisyRecall, [9], {"num_keys": 1}, "task.num_keys=1: too few for task.num_pairs=2"),
        (AssociativeRecall, [11], {}, "task.length=40: too short for 11 pairs"),
        (AssociativeRecall, [5], {"beyond": [9], "num_values": 8}, "task.num_values=8: too few symbols for 9 pairs"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: type[Answer], levels: list[int], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        make(kind, levels, **arguments)
    assert "\n" not in str(refused.value)


def test_the_trivial_loss_is_of_the_answers_that_are_scored() -> None:
    # after one letter three orders are possible, after 40 nearly all 120 are
    task = make(WordProblem, [1], beyond=[40], num_eval=60)
    task.load()
    answers = Counter(task.examples.whole["test"][0].targets.flatten().tolist())
    shares = torch.tensor([n / 60 for n in answers.values()], dtype=torch.float64)
    assert len(answers) == 3
    assert task.trivial()["loss"] == pytest.approx(float(-(shares * shares.log()).sum()))
