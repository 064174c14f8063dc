"""``cell=mingru``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wz, Wn), (bz, bn) = (np.split(p[name], 2) for name in "Wb")
    z = sigmoid(x @ Wz.T + bz)
    return ((1 - z) * h + z * (x @ Wn.T + bn),)
