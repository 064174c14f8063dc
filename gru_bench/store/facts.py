"""Facts in the form that MLflow keeps: params and tags, both text."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gru_bench.store.private import clean
from gru_bench.store.schema import CONFIG_FILE, DECLARED, check_declared
from gru_bench.store.tables import typed

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONGEST_PARAM = 1000
CUT = f"… (cut; the whole is in {CONFIG_FILE})"


def log_facts(client: "MlflowClient", run_id: str, facts: Mapping[str, object], kind: str) -> None:
    """Write facts in one call.

    Args:
        client: On the store.
        run_id: MLflow's id of a run, a sweep's parent or a benchmark.
        facts: By name; None is ``null``, as in yaml.
        kind: Which of these three it is, as the schema names them.

    Raises:
        ValueError: A fact is not declared for that kind. Nothing is written.
        UserError: A value is not what its fact holds. Nothing is written.
    """
    from mlflow.entities import Param, RunTag

    params, tags = as_params_and_tags(facts, run_id, kind)
    client.log_batch(
        run_id,
        params=[Param(name, text) for name, text in params.items()],
        tags=[RunTag(name, text) for name, text in tags.items()],
    )


def as_params_and_tags(facts: Mapping[str, object], run_id: str, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Facts as the params and the tags that the schema makes of them; the rest as in :func:`log_facts`."""
    check_declared(facts, kind)
    params, tags = {}, {}
    for name, value in facts.items():
        text = "null" if value is None else clean({name: str(value)})[name]
        fact = DECLARED[kind].get(name)
        if fact is not None:
            typed(text, fact, run_id)
        if fact is not None and fact.tag:
            tags[fact.tag] = text
        if fact is None or fact.param:
            params[re.sub(r"[^\w\-./: ]", "_", name)] = shortened(text)
    return params, tags


def shortened(text: str) -> str:
    """The text, cut to what MLflow keeps of a param."""
    return text if len(text) <= LONGEST_PARAM else text[: LONGEST_PARAM - len(CUT)] + CUT
