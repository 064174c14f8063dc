"""``cell=lstm_no_input``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    (Wf, Wg, Wo), (Uf, Ug, Uo), (bf, bg, bo) = (np.split(p[name], 3) for name in "WUb")
    f = sigmoid(x @ Wf.T + h @ Uf.T + bf)
    g = np.tanh(x @ Wg.T + h @ Ug.T + bg)
    o = sigmoid(x @ Wo.T + h @ Uo.T + bo)
    c = f * c + g
    return o * np.tanh(c), c
