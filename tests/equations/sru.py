"""``cell=sru``: one step in numpy, a matrix a gate; arrays by name, x (B, D), c (B, H). Gives the output and c."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, c: Array) -> tuple[Array, ...]:
    (Wf, Wr, Wn, Wp), (bf, br, bn, bp) = (np.split(p[name], 4) for name in "Wb")
    vf, vr = np.split(p["v"], 2)
    f = sigmoid(x @ Wf.T + vf * c + bf)
    r = sigmoid(x @ Wr.T + vr * c + br)
    c = f * c + (1 - f) * (x @ Wn.T + bn)
    return r * c + (1 - r) * (x @ Wp.T + bp), c
