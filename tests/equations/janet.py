"""``cell=janet``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wf, Wg), (Uf, Ug), (bf, bg) = (np.split(p[name], 2) for name in "WUb")
    s = x @ Wf.T + h @ Uf.T + bf
    g = np.tanh(x @ Wg.T + h @ Ug.T + bg)
    return (sigmoid(s) * h + (1 - sigmoid(s - 1)) * g,)
