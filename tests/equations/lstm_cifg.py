"""``cell=lstm_cifg``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    (Wi, Wg, Wo), (Ui, Ug, Uo), (bi, bg, bo) = (np.split(p[name], 3) for name in "WUb")
    i = sigmoid(x @ Wi.T + h @ Ui.T + bi)
    g = np.tanh(x @ Wg.T + h @ Ug.T + bg)
    o = sigmoid(x @ Wo.T + h @ Uo.T + bo)
    c = (1 - i) * c + i * g
    return o * np.tanh(c), c
