"""``cell=minlstm``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    (Wf, Wi, Wn), (bf, bi, bn) = (np.split(p[name], 3) for name in "Wb")
    f = sigmoid(x @ Wf.T + bf)
    i = sigmoid(x @ Wi.T + bi)
    return (f / (f + i) * h + i / (f + i) * (x @ Wn.T + bn),)
