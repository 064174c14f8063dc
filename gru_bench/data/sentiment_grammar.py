"""Generated sentences whose sentiment has to be composed, over words that people have rated."""

# ruff: noqa: SIM905 - lists of words read better as text

import importlib.metadata
import importlib.resources
import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar, get_args

import torch

from gru_bench.errors import UserError

T = TypeVar("T")

GENERATOR_VERSION = "sentiment_grammar/1"
LEXICON_PACKAGE = "vaderSentiment"

Construction = Literal["plain", "negation", "double_negation", "contrast", "concession", "intensity"]
CONSTRUCTIONS: tuple[Construction, ...] = get_args(Construction)

POSITIVE = (
    "amazing awesome beautiful brilliant charming delightful enjoyable excellent exciting fabulous fantastic "
    "fascinating fun funny glorious good gorgeous great impressive interesting lovely magnificent marvelous "
    "outstanding perfect pleasant romantic special splendid superb sweet wonderful"
).split()
NEGATIVE = (
    "annoying bad boring brutal crude difficult disappointing disastrous dreary dull dumb frightening frustrating grim "
    "horrible horrific inferior irritating lame lousy messy painful rotten sad stupid terrible ugly unpleasant "
    "upsetting useless weak wicked"
).split()
MIN_RATING, MAX_DEVIATION = 1.0, 1.0
"""An adjective is used only where ten people's mean is at least this far from neutral and they agree this well."""

NOUNS = "film book show story concert trip lecture meal hotel speech game museum".split()
SCALES = {"not": -1.0, "nobody": -1.0, "very": 1.5, "slightly": 0.6, "barely": 0.3}
"""What a word does to the rating of the adjective in its clause. The factors are chosen here, not measured."""
INTENSIFIERS = ("very", "slightly", "barely")
CONNECTIVES = ("but", "although", "and")
FILLER_PAIRS = (
    "at noon|by train|in march|last week|on foot|after lunch|from town|near here|with us|for work|all day|next door|"
    "over there|every time|of course|one evening|each year|so far|since june|in town"
).split("|")
FILLER_WORDS = "today again there then later recently outside upstairs".split()
MIN_STRENGTH = 0.25
"""A sentence whose parts all but cancel is not used: its label would hang on a rating's decimals."""
MAX_DRAWS = 10_000
"""Draws of one kind of sentence before giving up on a new one."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and its label: 1 for positive, 0 for negative.

    Attributes:
        construction: How it is put together.
        distance: Neutral words between the cue (or the first clause) and the verdict.
    """

    words: tuple[str, ...]
    label: int
    construction: Construction
    distance: int


def generator_version() -> str:
    """Versions of the generator and of the package that holds the ratings."""
    return f"{GENERATOR_VERSION}:{LEXICON_PACKAGE}=={importlib.metadata.version(LEXICON_PACKAGE)}"


@cache
def lexicon() -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of ten people's ratings, from -4 to 4, of each alphabetic word.

    Source: Hutto and Gilbert (2014), VADER, doi:10.1609/icwsm.v8i1.14550; the file ``vader_lexicon.txt`` of the
    package ``vaderSentiment``: word, mean, standard deviation, the ten ratings, set apart by tabs.
    """
    text = (importlib.resources.files(LEXICON_PACKAGE) / "vader_lexicon.txt").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {row[0]: (float(row[1]), float(row[2])) for row in rows if row[0].isalpha()}


@cache
def ratings() -> dict[str, float]:
    """The mean rating of each adjective of this grammar.

    Raises:
        UserError: The lexicon lacks a word, or rates it less clearly than this module needs.
    """
    means: dict[str, float] = {}
    for sign, words in ((1, POSITIVE), (-1, NEGATIVE)):
        for word in words:
            mean, deviation = lexicon().get(word, (0.0, 0.0))
            if sign * mean < MIN_RATING or deviation > MAX_DEVIATION:
                raise UserError(
                    f"sentiment: {LEXICON_PACKAGE}'s lexicon rates {word!r} {mean} with deviation {deviation}; "
                    f"needed: {sign * MIN_RATING} or stronger, deviation {MAX_DEVIATION} or less"
                )
            means[word] = mean
    return means


def sentiment(words: Sequence[str]) -> float:
    """The sentiment of a sentence of this grammar; its sign is the label.

    A clause is the rating of its adjective times the factor in :data:`SCALES` of each word that has one, so
    negations flip the sign and two of them cancel. Of two clauses, the one after ``but`` counts, or the one before
    ``although``; with ``and`` they add up::

        the film was very good                                 1.5 * 1.9             2.85
        nobody said that the film was good                     -1 * 1.9             -1.9
        nobody said that the film was not good                 -1 * -1 * 1.9         1.9
        the film was great but the hotel was bad               -2.5                 -2.5
        the film was great although the hotel was bad          3.1                   3.1
        the film was barely great and the hotel was very bad   0.3 * 3.1 - 1.5 * 2.5 -2.82
    """
    for connective in CONNECTIVES:
        if connective in words:
            at = words.index(connective)
            first, second = sentiment(words[:at]), sentiment(words[at + 1 :])
            return {"but": second, "although": first, "and": first + second}[connective]
    rated = ratings()
    value = next(rated[word] for word in words if word in rated)
    for word in words:
        value *= SCALES.get(word, 1.0)
    return value


def make_sentences(
    count: int, distances: Sequence[int], generator: torch.Generator, exclude: Collection[tuple[str, ...]] = ()
) -> list[Sentence]:
    """Distinct sentences, none of them in ``exclude``: patterns, distances and labels in turn, so equally many of each.

    Of nine patterns five report a verdict (``everybody`` twice, ``nobody``, and each with ``not``) and four set two
    clauses of opposite polarity against each other (``but``, ``although``, and twice ``and``).

    Raises:
        UserError: There are not as many sentences as that.
    """
    dice = Dice(generator)
    kinds = itertools.cycle(itertools.product(PATTERNS, sorted(set(distances)), (0, 1)))
    seen = set(exclude)
    sentences: list[Sentence] = []
    for pattern, distance, label in itertools.islice(kinds, count):
        for _ in range(MAX_DRAWS):
            words = tuple(draw(pattern, distance, dice))
            value = sentiment(words)
            if abs(value) >= MIN_STRENGTH and (value > 0) == bool(label) and words not in seen:
                break
        else:
            raise UserError(
                f"sentiment: no new sentence like {' '.join(words)!r}: {count} are asked for besides {len(exclude)}, "
                "which is more than there are; valid: fewer, or longer distances"
            )
        seen.add(words)
        sentences.append(Sentence(words, label, construction(pattern), distance))
    return sentences


class Dice:
    """Draws from a torch generator, many at a time: one tensor a draw would take most of the time."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.drawn: list[float] = []

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        if not self.drawn:
            self.drawn = torch.rand(4096, generator=self.generator, dtype=torch.float64).tolist()
        return options[int(self.drawn.pop() * len(options))]


Pattern = tuple[str, str]
PATTERNS: tuple[Pattern, ...] = (
    ("everybody", ""),
    ("everybody", ""),
    ("nobody", ""),
    ("everybody", "not"),
    ("nobody", "not"),
    ("", "but"),
    ("", "although"),
    ("", "and"),
    ("", "and"),
)
"""The first word of a report and its negation; or nothing and the connective of two clauses.

The plain report stands twice: with labels in perfect balance, as in a parity, no cell left the chance level within a
few hundred steps. The surplus is all that a bag of words can use.
"""


def construction(pattern: Pattern) -> Construction:
    """What a pattern tests."""
    subject, word = pattern
    if not subject:
        joined: dict[str, Construction] = {"but": "contrast", "although": "concession", "and": "intensity"}
        return joined[word]
    counted: tuple[Construction, ...] = ("plain", "negation", "double_negation")
    return counted[(subject == "nobody") + (word == "not")]


def draw(pattern: Pattern, distance: int, dice: Dice) -> Iterable[str]:
    """The words of one sentence, its label not looked at."""
    subject, word = pattern
    if subject:
        yield subject
        yield from filler(distance, dice)
        yield from ("said", "that")
        yield from clause(dice.pick((POSITIVE, NEGATIVE)), dice.pick(("", "very")), dice, negation=word)
        return
    polarities = dice.pick(((POSITIVE, NEGATIVE), (NEGATIVE, POSITIVE)))
    # only where clauses add up do these words decide anything; elsewhere they are there to be ignored
    yield from clause(polarities[0], dice.pick(("", *INTENSIFIERS)), dice)
    yield from filler(distance, dice)
    yield word
    yield from clause(polarities[1], dice.pick(("", *INTENSIFIERS)), dice)


def clause(adjectives: Sequence[str], intensifier: str, dice: Dice, negation: str = "") -> Iterable[str]:
    """``the film was not very good``."""
    words = ("the", dice.pick(NOUNS), "was", negation, intensifier, dice.pick(adjectives))
    return (word for word in words if word)


def filler(count: int, dice: Dice) -> Iterable[str]:
    """Exactly ``count`` neutral words: pairs, and a single one where the number is odd."""
    for _ in range(count // 2):
        yield from dice.pick(FILLER_PAIRS).split()
    if count % 2:
        yield dice.pick(FILLER_WORDS)
