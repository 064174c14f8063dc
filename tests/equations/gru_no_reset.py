"""``cell=gru_no_reset``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wz, Wn), (Uz, Un), (bz, bn) = (np.split(p[name], 2) for name in "WUb")
    z = sigmoid(x @ Wz.T + h @ Uz.T + bz)
    n = np.tanh(x @ Wn.T + h @ Un.T + bn)
    return ((1 - z) * n + z * h,)
