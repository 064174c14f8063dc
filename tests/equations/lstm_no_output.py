"""``cell=lstm_no_output``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    (Wi, Wf, Wg), (Ui, Uf, Ug), (bi, bf, bg) = (np.split(p[name], 3) for name in "WUb")
    i = sigmoid(x @ Wi.T + h @ Ui.T + bi)
    f = sigmoid(x @ Wf.T + h @ Uf.T + bf)
    g = np.tanh(x @ Wg.T + h @ Ug.T + bg)
    c = f * c + i * g
    return np.tanh(c), c
