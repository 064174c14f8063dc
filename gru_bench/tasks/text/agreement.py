"""Agreement of verb and subject: the verb's number from the words before it, by the nouns that mislead."""

from typing import ClassVar, Unpack

from gru_bench.data.rows import Rows
from gru_bench.tasks.base import Part, Split
from gru_bench.tasks.text.text_classification import TextClassification, Texts

UNKNOWN = "-1"
"""In the column of attractors: their number is not known."""


class Agreement(TextClassification):
    """Predict whether the verb that comes next is singular or plural.

    An attractor is a noun between subject and verb whose number is not the subject's::

        the keys to the old wooden cabinet  ->  plural (one attractor: cabinet)

    A rule that looks at the last noun fails on every sentence with an attractor next to its verb, so the score is shown
    by their number: slice ``attractors``, from the column ``data.slice``, where -1 means that it is not known.
    All else is as in :class:`~gru_bench.tasks.text.text_classification.TextClassification`.

    Source: Linzen, Dupoux, Goldberg (2016), arXiv:1611.01368.

    Args:
        test_selection: How the test sentences were chosen where those of validation were not: with more attractors
            more verbs are plural, so that a score on chosen sentences compares with none on all. Empty where they were
            not.
    """

    roles: ClassVar[tuple[str, ...]] = ("text", "label", "slice")

    def __init__(self, data: Rows, /, *, test_selection: str, **texts: Unpack[Texts]) -> None:
        super().__init__(data, **texts)
        self.test_selection = test_selection

    def parts(self, split: Split) -> list[Part]:
        return [Part("attractors", part.value, part.rows) for part in super().parts(split) if part.value != UNKNOWN]
