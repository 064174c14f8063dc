"""Which runs are asked for: an experiment's, one sweep's, or the latest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gru_bench.errors import UserError
from gru_bench.store.connect import without_password
from gru_bench.store.find import search, sweep_runs
from gru_bench.store.schema import KIND, RUN_KIND, SWEEP_KIND

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun


@dataclass(frozen=True)
class Selected:
    """The runs to read, and the parents of the sweeps that they may belong to; the oldest first."""

    runs: "list[MlflowRun]"
    sweeps: "list[MlflowRun]"


def select(
    client: "MlflowClient", uri: str, names: dict[str, str], experiment: str | None, sweep: str | None
) -> Selected:
    """Find what was asked for; see :func:`gru_bench.store.read.read`."""
    everything = list(names)
    if sweep is not None:
        parents = search(client, everything, f"tags.`{KIND}` = '{SWEEP_KIND}'")
        found = [parent for parent in parents if parent.info.run_id == sweep]
        if not found:
            known = ", ".join(f"{p.info.run_id} ({names[p.info.experiment_id]})" for p in parents[:-6:-1]) or "none yet"
            raise UserError(f"sweep={sweep}: no such sweep in {without_password(uri)}; the latest are: {known}")
        if experiment is not None and names[found[0].info.experiment_id] != experiment:
            raise UserError(
                f"sweep={sweep} belongs to experiment={names[found[0].info.experiment_id]}, not {experiment}"
            )
        return one_sweep(client, found[0])
    if experiment is None:
        latest = newest(client, everything, SWEEP_KIND)
        if latest is not None:
            return one_sweep(client, latest)
        single = newest(client, everything, RUN_KIND)
        if single is None:
            raise UserError(f"tracking.uri={without_password(uri)}: no runs yet; `gru-bench train` writes some")
        experiment = names[single.info.experiment_id]
    ids = [experiment_id for experiment_id, name in names.items() if name == experiment]
    runs = search(client, ids, f"tags.`{KIND}` = '{RUN_KIND}'") if ids else []
    parents = search(client, ids, f"tags.`{KIND}` = '{SWEEP_KIND}'") if ids else []
    if not runs and not parents:
        known = ", ".join(sorted(name for i, name in names.items() if newest(client, [i], RUN_KIND))) or "none yet"
        reason = "has no runs" if ids else "no such experiment"
        raise UserError(f"experiment={experiment}: {reason} in {without_password(uri)}; with runs: {known}")
    return Selected(runs, parents)


def one_sweep(client: "MlflowClient", parent: "MlflowRun") -> Selected:
    """A sweep's own runs."""
    return Selected(sweep_runs(client, parent), [parent])


def newest(client: "MlflowClient", experiment_ids: list[str], kind: str) -> "MlflowRun | None":
    """The run or sweep that started last."""
    if not experiment_ids:
        return None
    found = client.search_runs(
        experiment_ids, f"tags.`{KIND}` = '{kind}'", max_results=1, order_by=["attributes.start_time DESC"]
    )
    return found[0] if found else None
