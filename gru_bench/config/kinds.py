"""What the class of a node must be a kind of: ``backend._target_`` that names a cell is refused."""

import inspect
from typing import Any

from hydra.utils import get_object

from gru_bench.errors import UserError

KINDS = {
    "cell": "gru_bench.cells.base.Cell",
    "model": "torch.nn.Module",
    "backend": "gru_bench.backends.base.Backend",
    "task": "gru_bench.tasks.base.Task",
    "budget": "gru_bench.models.budgets.Budget",
    "tracking": "gru_bench.store.write.Store",
}
"""What the classes of some nodes must be kinds of."""


def check_kind(part: dict[str, Any], name: str) -> None:
    """Refuse a node whose class is of another kind: ``backend._target_`` that names a cell.

    Raises:
        UserError: It is, or there is no class.
    """
    if name != "data" and "_target_" not in part:  # a task that makes its own data has none
        raise UserError(f"{name}: its yaml has no _target_, the class to build")
    if name not in KINDS:
        return
    named, kind = get_object(part["_target_"]), get_object(KINDS[name])
    if not (inspect.isclass(named) and issubclass(named, kind)):
        raise UserError(f"{name}._target_={part['_target_']}: must be a {KINDS[name]}")
