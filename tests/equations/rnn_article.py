"""``cell=rnn_article``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    return (sigmoid(x @ p["W"].T + h @ p["U"].T + p["b"]),)
