"""How a fact of the tracking store is declared; which ones there are is in :mod:`gru_bench.store.schema`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

TEXT, INTEGER, NUMBER, TRUTH = "str", "Int64", "float64", "boolean"
"""Kinds of facts, as the types of their columns. Text that is not known is empty; anything else is missing (NA)."""


@dataclass(frozen=True)
class Fact:
    """One fact of a run, or one column of a table.

    Attributes:
        name: Name of the column, and of the param unless ``param`` is False.
        kind: ``TEXT``, ``INTEGER``, ``NUMBER`` or ``TRUTH``.
        meaning: In a few words.
        unit: Of a number; ``1`` where it has none.
        tag: MLflow's tag that holds it; nothing for most.
        param: Whether MLflow keeps it as a param. What is neither param nor tag is found by the reader.
        setting: Whether it is equal in a fair comparison of cells, and labels rows of one cell where it differs.
        config: The key or the choice of the config that it repeats.
        node: The config's node whose class it names.
        example: What a usual run of the tests has; None where that has none.
    """

    name: str
    kind: str
    meaning: str
    unit: str = ""
    tag: str = ""
    param: bool = True
    setting: bool = False
    config: str = ""
    node: str = ""
    example: object = None


def by_name(*facts: Fact) -> dict[str, Fact]:
    """The facts in their order, to be looked up.

    Raises:
        ValueError: Two of them have one name.
    """
    found = {fact.name: fact for fact in facts}
    if len(found) < len(facts):
        raise ValueError("a fact is declared twice")
    return found


def columns_of(what: str, facts: Mapping[str, Fact], *more: Fact, without: Collection[str] = ()) -> dict[str, Fact]:
    """The columns of a table of what was measured beside runs: whose row it is, its facts, and what else a row has.

    Args:
        what: Was measured; in a word.
        facts: Of one MLflow run of that kind.
        more: Further columns.
        without: Names of facts that no column shows.
    """
    shown = (fact for fact in facts.values() if fact.name not in without)
    return by_name(Fact("run_id", TEXT, f"the {what}'s, never one of the runs"), *shown, *more)
