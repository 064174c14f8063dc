"""A kept model as MLflow calls it: ``mlflow.pyfunc.load_model``, ``mlflow models serve``.

``MLmodel`` names this module as its loader.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gru_bench.kept.load import Kept, load_folder
from gru_bench.kept.mlmodel import answered
from gru_bench.training.trainer import autocast


class Served:
    """What answers MLflow's calls.

    Args:
        kept: The model.
    """

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def predict(self, model_input: Any, params: Any = None) -> pd.DataFrame | np.ndarray:
        """The model's answers.

        Args:
            model_input: As the signature says: a table with one column a role, or a tensor (T, B, D) or (T, B).
            params: None are known.

        Returns:
            A table with one row for each row; or the model's output as it is.

        Raises:
            UserError: A row that does not fit.
        """
        if self.kept.reader is not None:
            rows = pd.DataFrame(model_input).to_dict("records")
            return pd.DataFrame(self.kept.predict([plain(row) for row in rows]))
        place = self.kept.place
        x = torch.as_tensor(np.asarray(model_input), device=place.device)
        x = x.to(place.parameters) if x.is_floating_point() else x.long()
        with torch.no_grad(), autocast(place.device, place.autocast):
            found = answered(self.kept.module, x)
        return (found if found.dtype is torch.float64 else found.float()).cpu().numpy()


def plain(row: dict[Any, Any]) -> dict[str, Any]:
    """A row with lists for arrays, and None for what is missing, as readers take it."""
    return {
        str(role): list(value) if isinstance(value, np.ndarray) else None if value is pd.NA else value
        for role, value in row.items()
    }


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls, with the folder of the model."""
    return Served(load_folder(Path(path)))
