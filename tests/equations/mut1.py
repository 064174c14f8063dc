"""``cell=mut1``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wz, Wr, Wn), (bz, br, bn) = (np.split(p[name], 3) for name in "Wb")
    Ur, Un = np.split(p["U"], 2)
    z = sigmoid(x @ Wz.T + bz)
    r = sigmoid(x @ Wr.T + h @ Ur.T + br)
    n = np.tanh((r * h) @ Un.T + np.tanh(x @ Wn.T) + bn)
    return (z * n + (1 - z) * h,)
