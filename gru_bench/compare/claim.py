"""A claim of the article, and what follows for it from several answers."""

from collections.abc import Mapping
from dataclasses import dataclass

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"


@dataclass(frozen=True)
class Claim:
    """One row: what is claimed, what tests it, what was seen, and what follows; what was seen once more in brief."""

    claim: str
    test: str
    evidence: str
    verdict: str
    brief: str = ""


def overall(answers: Mapping[str, str]) -> str:
    """One verdict of those on each task: the common one, that it depends on the task, or how many of each."""
    found = list(answers.values())
    if not found:
        return NOT_TESTED
    if len(set(found)) == 1:
        return found[0]
    if {SUPPORTED, CONTRADICTED} <= set(found):
        return "depends on the task"
    counts = [f"{which} on {found.count(which)}" for which in (SUPPORTED, CONTRADICTED, UNDECIDED) if which in found]
    return ", ".join(counts)
