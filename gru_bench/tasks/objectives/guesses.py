"""What a guess that looks at no input scores."""

import numpy as np
import torch
from torch import Tensor


def add_one_surprise(counts_V: Tensor | np.ndarray) -> Tensor:
    """Nats (V,), in 64 bits, of each class or token where its probability is its frequency in training, plus one.

    Args:
        counts_V: How often training has each.
    """
    counted_V = torch.as_tensor(counts_V).double() + 1
    return -(counted_V / counted_V.sum()).log()


def share_of_commonest(ids_N: np.ndarray) -> float:
    """Share of the ids that are the commonest of them: the accuracy of the best constant answer."""
    return float(np.bincount(ids_N).max() / len(ids_N))
