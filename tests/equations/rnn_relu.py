"""``cell=rnn_relu``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    s = x @ p["W"].T + h @ p["U"].T + p["b"]
    return (s * (s.real > 0),)
