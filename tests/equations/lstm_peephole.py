"""``cell=lstm_peephole``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    (Wi, Wf, Wg, Wo), (Ui, Uf, Ug, Uo), (bi, bf, bg, bo) = (np.split(p[name], 4) for name in "WUb")
    pi, pf, po = np.split(p["p"], 3)
    i = sigmoid(x @ Wi.T + h @ Ui.T + pi * c + bi)
    f = sigmoid(x @ Wf.T + h @ Uf.T + pf * c + bf)
    g = np.tanh(x @ Wg.T + h @ Ug.T + bg)
    c = f * c + i * g
    o = sigmoid(x @ Wo.T + h @ Uo.T + po * c + bo)
    return o * np.tanh(c), c
