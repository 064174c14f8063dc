"""``cell=mut3``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wz, Wr, Wn), (Uz, Ur, Un), (bz, br, bn) = (np.split(p[name], 3) for name in "WUb")
    z = sigmoid(x @ Wz.T + np.tanh(h) @ Uz.T + bz)
    r = sigmoid(x @ Wr.T + h @ Ur.T + br)
    n = np.tanh(x @ Wn.T + (r * h) @ Un.T + bn)
    return (z * n + (1 - z) * h,)
