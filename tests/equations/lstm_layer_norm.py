"""``cell=lstm_layer_norm``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def normalized(s: Array) -> Array:
    centred = s - s.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)


def step(p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    gates = p["gain_x"] * normalized(x @ p["W"].T) + p["gain_h"] * normalized(h @ p["U"].T) + p["b"]
    i, f, g, o = np.split(gates, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(p["gain_c"] * normalized(c) + p["b_c"]), c
