"""``cell=gru_layer_norm``: one step in numpy, a matrix a gate; arrays by name, x (B, D), states (B, H)."""

import numpy as np
from scipy.special import expit as sigmoid

Array = np.ndarray


def normalized(s: Array) -> Array:
    centred = s - s.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)


def step(p: dict[str, Array], x: Array, h: Array) -> tuple[Array, ...]:
    H = h.shape[1]
    of_x, of_h, b = p["gain_x"], p["gain_h"], p["b"]
    W, U, Wn, Un = p["W"][: 2 * H], p["U"][: 2 * H], p["W"][2 * H :], p["U"][2 * H :]
    gates = of_x[: 2 * H] * normalized(x @ W.T) + of_h[: 2 * H] * normalized(h @ U.T) + b[: 2 * H]
    r, z = np.split(sigmoid(gates), 2, axis=1)
    product = of_h[2 * H :] * normalized(h @ Un.T) + p["b_hn"]
    n = np.tanh(of_x[2 * H :] * normalized(x @ Wn.T) + b[2 * H :] + r * product)
    return ((1 - z) * h + z * n,)
