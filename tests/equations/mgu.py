"""``cell=mgu``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wf, Wn), (Uf, Un), (bf, bn) = (np.split(p[name], 2) for name in "WUb")
    f = sigmoid(x @ Wf.T + h @ Uf.T + bf)
    n = np.tanh(x @ Wn.T + (f * h) @ Un.T + bn)
    return ((1 - f) * h + f * n,)
