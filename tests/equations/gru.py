"""``cell=gru``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wr, Wz, Wn), (Ur, Uz, Un), (br, bz, bn) = (np.split(p[name], 3) for name in "WUb")
    r = sigmoid(x @ Wr.T + h @ Ur.T + br)
    z = sigmoid(x @ Wz.T + h @ Uz.T + bz)
    n = np.tanh(x @ Wn.T + bn + r * (h @ Un.T + p["b_hn"]))
    return ((1 - z) * n + z * h,)
