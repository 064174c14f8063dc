"""What a guess that looks at no input pays."""

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
