"""The agreement grammar: sentences by an independent reader, and that no rule but the subject's number helps."""

import pytest
import torch
from torch import Tensor

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Goal
from gru_bench.tasks.generated.agreement_grammar import (
    ADJECTIVES,
    NOUN_FORMS,
    PREPOSITIONS,
    VERB_FORMS,
    WORDS,
    AgreementGrammar,
)

DETERMINERS = {"the": None, "one": 0, "every": 0, "two": 1, "many": 1}


def make(levels: tuple[int, ...] = (0, 1, 2, 3, 4), nouns: int = 4, beyond: tuple[int, ...] = (7,)) -> AgreementGrammar:
    goal = Goal(margin=0.02, beats_trivial_by=0.3, ceiling=0.99)
    return AgreementGrammar(
        None, levels=list(levels), beyond=list(beyond), num_eval=500, nouns=nouns, batch_size=8, goal=goal
    )


def number(form: str, forms: list[str]) -> int:
    return forms.index(form) % 2


def parsed(words: list[str]) -> list[int]:
    """Number of each noun, the subject's first; fails where a sentence is none of the grammar's."""
    words = words.copy()
    numbers: list[int] = []

    def phrase(*, adjective: bool) -> None:
        determiner = words.pop(0)
        if adjective:
            assert words.pop(0) in ADJECTIVES
        numbers.append(number(words.pop(0), NOUN_FORMS))
        assert DETERMINERS[determiner] in (None, numbers[-1])

    phrase(adjective=False)
    while words[0] != "<verb>":
        if (first := words.pop(0)) == "that":
            phrase(adjective=False)
            assert number(words.pop(0), VERB_FORMS) == numbers[-1]
        else:
            assert first in PREPOSITIONS
            phrase(adjective=True)
    assert words == ["<verb>"]
    return numbers


def sentences(inputs_TB: Tensor) -> list[list[str]]:
    return [[WORDS[i] for i in column] for column in inputs_TB.T.tolist()]


def test_the_reader_takes_the_example_of_the_docstring() -> None:
    text = "two keys near the old cabinet that every dog sees with the red windows that many pilots follow <verb>"
    assert parsed(text.split()) == [1, 0, 0, 1, 1]
    with pytest.raises(AssertionError):
        parsed(["two", "keys", "that", "every", "dog", "see", "<verb>"])
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("level", [0, 1, 4, 7])
def test_sentences_are_the_grammars_and_have_their_attractors(level: int) -> None:
    batch = make().draw(level, 300, torch.Generator().manual_seed(0))
    assert (batch.targets[:-1] == IGNORED).all()
    for words, answer in zip(sentences(batch.inputs), batch.targets[-1].tolist(), strict=True):
        subject, *others = parsed(words)
        assert answer == subject
        assert len(others) == max(4, level)
        assert sum(other != subject for other in others) == level
    assert set(batch.inputs.flatten().tolist()) == set(range(len(WORDS)))


def test_no_rule_that_leaves_the_subject_out_is_right_more_than_half_of_the_time() -> None:
    task = make()
    task.load()
    right: dict[str, list[bool]] = {"last": [], "first": [], "most": []}
    for level, batch in zip(task.examples.by_split["valid"], task.examples.whole["valid"], strict=True):
        last = []
        for words in sentences(batch.inputs):
            subject, *others = parsed(words)
            last.append(others[-1] == subject)
            right["first"].append(others[0] == subject)
            right["most"].append((sum(others) > 2 or (sum(others) == 2 and others[0] == 1)) == subject)
        right["last"] += last
        # an attractor stands last in so many of the sentences of a level
        assert sum(last) / len(last) == pytest.approx(1 - level / 4, abs=0.08)
    for rule, answers in right.items():
        assert sum(answers) / len(answers) == pytest.approx(0.5, abs=0.04), rule
    assert task.trivial()["accuracy"] == pytest.approx(task.without_memory(4), abs=0.04)


def test_training_on_some_numbers_of_attractors_alone_is_noted() -> None:
    assert not any("unless" in note for note in make().notes)
    assert any("trained on 0, 1 attractors among 4 nouns: unless" in note for note in make(levels=(0, 1)).notes)


def test_training_mixes_levels_and_lengths_and_no_noun_between_says_anything() -> None:
    batches = make().batches("train", torch.Generator().manual_seed(0))
    lengths, mixed, last, most = set(), 0, [], []
    for _ in range(300):
        batch = next(batches)
        lengths.add(batch.inputs.shape)
        parses = [parsed(words) for words in sentences(batch.inputs)]
        assert batch.targets[-1].tolist() == [subject for subject, *_ in parses]
        mixed += len({sum(other != subject for other in others) for subject, *others in parses}) > 1
        last += [others[-1] == subject for subject, *others in parses if others]
        most += [(2 * sum(others) > len(others)) == subject for subject, *others in parses if len(others) % 2]
    assert lengths == {(3 + 4 * modifiers, 8) for modifiers in range(5)}
    assert mixed > 200
    assert sum(last) / len(last) == pytest.approx(0.5, abs=0.05)
    assert sum(most) / len(most) == pytest.approx(0.5, abs=0.06)


def test_more_attractors_than_nouns_are_refused_in_training() -> None:
    with pytest.raises(UserError, match=r"task.levels has 5 attractors, but task.nouns=4"):
        make(levels=(0, 5))
