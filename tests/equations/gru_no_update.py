"""``cell=gru_no_update``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wr, Wn), (Ur, Un), (br, bn) = (np.split(p[name], 2) for name in "WUb")
    r = sigmoid(x @ Wr.T + h @ Ur.T + br)
    return (np.tanh(x @ Wn.T + bn + r * (h @ Un.T + p["b_hn"])),)
