"""The readable loop once more, under a name of its own."""

from typing import ClassVar

from gru_bench.backends.base import Mark
from gru_bench.backends.loop import LOOP, Loop


class ByHand(Loop):
    """Runs every cell as ``backend=loop`` does."""

    name: ClassVar[str] = "byhand"
    marks: ClassVar[tuple[Mark, ...]] = (Mark(LOOP, "Python loop"),)
