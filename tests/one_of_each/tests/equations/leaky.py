"""``cell=leaky``: one step in numpy; arrays by name, x (B, D), states (B, H), and the yaml's own ``leak``."""

import numpy as np

Array = np.ndarray


def step(p: dict[str, Array], x: Array, h: Array, *, leak: float) -> tuple[Array, ...]:
    return ((1 - leak) * h + leak * np.tanh(x @ p["W"].T + h @ p["U"].T + p["b"]),)
