"""gru_bench: measure RNN, LSTM and GRU on your task and your machine, and say which to take."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gru_bench.kept.load import Kept

__version__ = "0.1.0"


def load(source: "str | Path", /, *, device: str = "cpu", tracking_uri: str | None = None) -> "Kept":
    """A trained model that a run has kept: ``load(RUN_ID).predict([{"text": "..."}])``.

    Args:
        source: A run's id, or the folder of a kept model.
        device: Where it is to run: ``cpu``, ``cuda``, ``cuda:1``.
        tracking_uri: The store of the run; None is ``mlflow.db`` in the working folder.

    Raises:
        gru_bench.errors.UserError: No such run or folder, or no model in it that can be used; says why.
    """
    from gru_bench.kept.load import load as load_kept  # late: it brings torch and the harness

    return load_kept(source, device=device, tracking_uri=tracking_uri)
