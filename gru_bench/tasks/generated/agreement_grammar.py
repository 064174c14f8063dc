"""Agreement of verb and subject in generated sentences, by the number of nouns that mislead."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Unpack

import numpy as np
import torch
from annotated_types import Ge, MinLen

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Batch, Common, Part, PositiveInt, Split
from gru_bench.tasks.generated.levels import TOGETHER
from gru_bench.tasks.objectives.answer import Answer
from gru_bench.tasks.reading.verb_number import VerbNumberReader

THE, SINGULAR, PLURAL = "the", ("one", "every"), ("two", "many")
NOUNS = [
    "key",
    "cabinet",
    "dog",
    "author",
    "farmer",
    "window",
    "report",
    "minister",
    "cat",
    "skater",
    "picture",
    "manager",
    "car",
    "pilot",
    "table",
    "surgeon",
    "officer",
    "letter",
    "customer",
    "road",
]
VERBS = ["like", "see", "admire", "follow", "know", "remember"]
PREPOSITIONS = ["near", "behind", "beside", "above", "with", "from"]
ADJECTIVES = ["old", "small", "red", "famous", "wooden", "quiet"]
THAT, ASK = "that", "<verb>"


def forms(nouns: list[str], verbs: list[str]) -> tuple[list[str], list[str]]:
    """Singular and plural of each word, one after the other: an s makes a noun plural and a verb singular."""
    return [f"{noun}{s}" for noun in nouns for s in ("", "s")], [f"{verb}{s}" for verb in verbs for s in ("s", "")]


NOUN_FORMS, VERB_FORMS = forms(NOUNS, VERBS)
WORDS = [THE, *SINGULAR, *PLURAL, *NOUN_FORMS, *VERB_FORMS, *PREPOSITIONS, *ADJECTIVES, THAT, ASK]
"""By id."""


class AgreementGrammar(Answer):
    """Read a sentence until its verb; say whether the verb is singular (0) or plural (1).

    Between the subject and its verb stand ``nouns`` modifiers with a noun each. An attractor is one whose number is not
    the subject's; the level says how many of them are. One example with two of four::

        two keys near the old cabinet that every dog sees with the red windows that many pilots follow <verb>
        answer at <verb>: plural (attractors: cabinet, dog)

    The grammar::

        sentence     noun phrase, modifiers, <verb>
        noun phrase  determiner noun
        modifier     preposition determiner adjective noun | that determiner noun verb
        determiner   the | one, every (singular) | two, many (plural)

    Each alternative is as likely as the other, where "the" is one and a word of number the other; words are uniform.
    The verb of a relative clause agrees with the noun of that clause, so it misleads together with it. A modifier
    has four words, so that all sentences of a level are equally long. Where a level ``beyond`` is above ``nouns``, that
    many nouns stand between and all of them are attractors.

    A training batch mixes the levels and keeps the first modifiers only, any number of them from none to all, so that
    short sentences are learned first. Where the levels are 0 to ``nouns``, each noun between agrees with the verb half
    of the time: neither the last noun, nor any other, nor what most of them are says anything. Only the subject does,
    or its determiner where that is a word of number. Without memory half is right, since at the verb there is nothing
    to see; perfect memory keeps one bit from the second word on.

    The score is that of all levels of training together, since a rule that goes against the last noun would be right
    wherever all nouns are attractors. A cell that solves the task is right at each level.

    Source: the task is that of Linzen, Dupoux, Goldberg (2016), arXiv:1611.01368, and the kinds of modifiers are among
    those of Marvin and Linzen (2018), arXiv:1808.09031; this grammar is neither's.

    Args:
        levels: Attractors, in training and in evaluation; at most M.
        beyond: Further numbers of them, in the test split alone.
        num_eval: Validation and test sentences of each level.
        nouns: M, modifiers between subject and verb.
    """

    version: ClassVar[str] = "agreement_grammar/1"
    difficulty: ClassVar[str] = "attractors"

    def __init__(
        self,
        data: None,
        /,
        *,
        levels: Annotated[list[Annotated[int, Ge(0)]], MinLen(1)],
        beyond: list[Annotated[int, Ge(0)]],
        num_eval: PositiveInt,
        nouns: PositiveInt,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, levels=levels, beyond=beyond, num_eval=num_eval, **common)
        self.nouns = nouns
        if (highest := self.examples.levels[-1]) > nouns:
            raise UserError(
                f"task.levels has {highest} attractors, but task.nouns={nouns}: only task.beyond may have more"
            )
        if set(self.examples.levels) != set(range(nouns + 1)):
            self.notes.append(
                f"trained on {', '.join(map(str, self.examples.levels))} attractors among {nouns} nouns: unless it is "
                "each number from none to all, the nouns between subject and verb tell something of the verb"
            )

    def parameters_id(self) -> str:
        return str(self.nouns)

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": len(WORDS), "num_classes": 2}

    def scored(self, split: Split) -> Part:
        levels = self.examples.levels
        parts = [part for part in self.examples.parts(split) if int(part.value) in levels]
        return Part(self.difficulty, "trained", np.concatenate([part.rows for part in parts]))

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if split != "train":
            yield from super().batches(split, generator)
            return
        levels_L = torch.tensor(self.examples.levels)
        while True:
            drawn_L = torch.randint(len(levels_L), (TOGETHER * self.batch_size,), generator=generator)
            whole = make_sentences(levels_L[drawn_L], self.nouns, generator)
            for start in range(0, len(drawn_L), self.batch_size):
                columns = slice(start, start + self.batch_size)
                yield shortened(whole, columns, int(torch.randint(self.nouns + 1, (), generator=generator)))

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        return make_sentences(torch.full((count,), level), max(self.nouns, level), generator)

    def reader(self) -> VerbNumberReader:
        return VerbNumberReader(WORDS, ASK)

    def without_memory(self, level: int, /) -> float:
        return 0.5


def make_sentences(attractors_B: torch.Tensor, M: int, generator: torch.Generator | None) -> Batch:
    """Draw one sentence for each number of attractors, all with M modifiers: inputs and targets (3 + 4 M, B)."""
    B = len(attractors_B)

    def some(number: int, *size: int) -> torch.Tensor:
        return torch.randint(number, (*size, B), generator=generator)

    subject_B = some(2)
    # the order of random numbers is a random permutation: its entries below a number are that many places
    is_attractor_MB = torch.rand(M, B, generator=generator).argsort(dim=0) < attractors_B
    plural_NB = torch.cat([subject_B[None], subject_B ^ is_attractor_MB.long()])
    noun_NB = WORDS.index(NOUN_FORMS[0]) + 2 * some(len(NOUNS), M + 1) + plural_NB
    # the, the, and one of the two words of that number
    determiner_NB = some(4, M + 1)
    determiner_NB = torch.where(determiner_NB < 2, WORDS.index(THE), determiner_NB + 2 * plural_NB - 1)
    verb_MB = WORDS.index(VERB_FORMS[0]) + 2 * some(len(VERBS), M) + plural_NB[1:]
    preposition_MB = WORDS.index(PREPOSITIONS[0]) + some(len(PREPOSITIONS), M)
    adjective_MB = WORDS.index(ADJECTIVES[0]) + some(len(ADJECTIVES), M)
    is_clause_MB = some(2, M) == 1
    modifiers_M4B = torch.stack(
        [
            torch.where(is_clause_MB, WORDS.index(THAT), preposition_MB),
            determiner_NB[1:],
            torch.where(is_clause_MB, noun_NB[1:], adjective_MB),
            torch.where(is_clause_MB, verb_MB, noun_NB[1:]),
        ],
        dim=1,
    )
    ask_1B = torch.full((1, B), WORDS.index(ASK))
    inputs_TB = torch.cat([determiner_NB[:1], noun_NB[:1], modifiers_M4B.flatten(0, 1), ask_1B])
    targets_TB = torch.full_like(inputs_TB, IGNORED)
    targets_TB[-1] = subject_B
    return Batch(inputs_TB, targets_TB)


def shortened(batch: Batch, columns: slice, modifiers: int) -> Batch:
    """Some of the sentences with only the first of their modifiers."""
    keep = 2 + 4 * modifiers
    both = (batch.inputs[:, columns], batch.targets[:, columns])
    return Batch(*(torch.cat([rows_TB[:keep], rows_TB[-1:]]) for rows_TB in both))
