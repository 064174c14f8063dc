"""``cell=gru_article``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wr, Wz, Wh), (Ur, Uz, Uh), (br, bz, bh) = (np.split(p[name], 3) for name in "WUb")
    z = sigmoid(x @ Wz.T + h @ Uz.T + bz)
    r = sigmoid(x @ Wr.T + h @ Ur.T + br)
    return ((1 - z) * r * np.tanh(x @ Wh.T + h @ Uh.T + bh),)
