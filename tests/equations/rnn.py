"""``cell=rnn``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    return (np.tanh(x @ p["W"].T + h @ p["U"].T + p["b"]),)
