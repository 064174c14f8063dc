"""Numbers written out in words, in several languages: a parallel corpus of any size without a download."""

import importlib.metadata
import re
from functools import cache
from typing import Literal

import torch
from num2words import num2words

Language = Literal["en", "fr", "de"]

GENERATOR_VERSION = "number_words/1"

ORDER_SEED = 1_000_000_033
"""Seed of the one order of all numbers that splits are cut from."""


def generator_version() -> str:
    """Versions of the generator and of the package that spells the numbers."""
    return f"{GENERATOR_VERSION}:num2words=={importlib.metadata.version('num2words')}"


def number_words(number: int, language: Language) -> list[str]:
    """The words of a number.

    Hyphens and commas count as spaces (``quatre-vingt-un`` is three words), and German, which writes a number below
    a million as one word, is split into the number words that it is put together from::

        723, en    seven hundred and twenty three
        723, fr    sept cent vingt trois
        723, de    sieben hundert drei und zwanzig

    So each language has some thirty to forty words, and no rare ones.
    """
    text = num2words(number, lang=language)
    if language == "de":
        return _german_parts().findall(text)
    return re.split(r"[-, ]+", text)


def shuffled_numbers(highest: int, count: int) -> list[int]:
    """The first ``count`` of 1..highest in an order that is the same everywhere and always: no number twice.

    0 is left out: its word occurs in no other number, so nobody could translate it unseen.
    """
    generator = torch.Generator().manual_seed(ORDER_SEED)
    return (torch.randperm(highest, generator=generator)[:count] + 1).tolist()


@cache
def _german_parts() -> re.Pattern[str]:
    simple = [*range(20), *range(20, 100, 10)]
    parts = {num2words(number, lang="de") for number in simple} | {"ein", "und", "hundert", "tausend"}
    # the longest first: "dreizehn" is not "drei"
    return re.compile("|".join(sorted(parts, key=len, reverse=True)))
