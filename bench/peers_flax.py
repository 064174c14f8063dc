"""The Flax arms of ``bench/peers.py``: the article's model in a jitted training step with optax's Adam.

``flax`` is the Linen API, whose GRU has exactly our equations; ``flax_nnx`` the newer one, whose GRU has no bias b_hn.
Both scan over time with their own ``RNN`` at its defaults. The step is one ``jax.jit`` over plain arrays that may
reuse its inputs' memory, without the cost of ``nnx.jit``'s look through the model at each call.
"""

import platform
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import flax  # type: ignore[import-not-found]
import jax  # type: ignore[import-not-found]
import numpy as np
import optax  # type: ignore[import-not-found]
from flax import linen, nnx
from peers_worker import Job, Training, serve

LINEN = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}
NNX = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
Values = Any
"""Trained arrays, however an API nests them."""
Logits = Callable[[Values, jax.Array], jax.Array]


class LinenModel(linen.Module):
    """The article's model in Linen: (B, T, D) -> logits (B,)."""

    cell: str
    hidden_size: int
    num_layers: int
    dense: tuple[int, ...]

    @linen.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        for layer in range(self.num_layers):
            x_BTD = linen.RNN(LINEN[self.cell](self.hidden_size, name=f"layer{layer}"))(x_BTD)
        h_BH = x_BTD[:, -1]
        for index, units in enumerate(self.dense):
            h_BH = linen.relu(linen.Dense(units, name=f"dense{index}")(h_BH))
        return linen.Dense(1, name=f"dense{len(self.dense)}")(h_BH)[:, 0]


class NnxModel(nnx.Module):
    """The article's model in NNX: (B, T, D) -> logits (B,)."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, num_layers: int, dense: list[int]) -> None:
        rngs = nnx.Rngs(0)
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nnx.List(nnx.RNN(NNX[cell](size, hidden_size, rngs=rngs), rngs=rngs) for size in sizes)
        widths = [hidden_size, *dense, 1]
        self.dense = nnx.List(nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(widths))

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        h_BH = x_BTD[:, -1]
        for dense in self.dense[:-1]:
            h_BH = nnx.relu(dense(h_BH))
        return self.dense[-1](h_BH)[:, 0]


def linen_model(job: Job) -> tuple[Values, Logits]:
    """Our initial values in Linen's names, and the model as a function of them."""
    sizes = job.sizes
    model = LinenModel(job.cell, sizes["hidden_size"], sizes["num_layers"], tuple(sizes["dense"]))
    values: dict[str, Any] = {f"layer{layer}": linen_cell(job, layer) for layer in range(sizes["num_layers"])}
    values |= {f"dense{index}": dense(job, f"dense{index}.") for index in range(job.num_dense)}
    values = jax.tree.map(jax.numpy.asarray, {"params": values})
    wanted = jax.eval_shape(model.init, jax.random.key(0), job.arrays["inputs"][0].swapaxes(0, 1))
    if jax.tree.map(np.shape, values) != jax.tree.map(np.shape, wanted):
        raise ValueError(f"{job.cell}: Flax's names or shapes of the values are not those that this program knows")
    return values, model.apply


def dense(job: Job, prefix: str) -> dict[str, np.ndarray]:
    """A dense layer's values by Flax's names."""
    return {"kernel": job.arrays[f"{prefix}W"].T, "bias": job.arrays[f"{prefix}b"]}


def linen_cell(job: Job, layer: int) -> dict[str, dict[str, np.ndarray]]:
    """One layer's values: Linen keeps each gate's apart, the LSTM's biases with the recurrent weights."""
    W, U, b = (job.arrays[f"{name}{layer}"] for name in ("W", "U", "b"))
    if job.cell == "rnn":
        return {"i": {"kernel": W.T, "bias": b}, "h": {"kernel": U.T}}
    H = job.sizes["hidden_size"]
    cell: dict[str, dict[str, np.ndarray]] = {}
    for index, gate in enumerate("ifgo" if job.cell == "lstm" else "rzn"):
        rows = slice(index * H, (index + 1) * H)
        cell[f"i{gate}"], cell[f"h{gate}"] = {"kernel": W[rows].T}, {"kernel": U[rows].T}
        cell[f"h{gate}" if job.cell == "lstm" else f"i{gate}"]["bias"] = b[rows]
    if job.cell == "gru":
        cell["hn"]["bias"] = job.arrays[f"b_hn{layer}"]
    return cell


def nnx_model(job: Job) -> tuple[Values, Logits]:
    """Our initial values in NNX's state, and the model as a function of them."""
    sizes = job.sizes
    model = NnxModel(job.cell, sizes["input_size"], sizes["hidden_size"], sizes["num_layers"], sizes["dense"])
    for layer, module in enumerate(model.layers):
        cell = module.cell
        cell.dense_i.kernel[...] = job.arrays[f"W{layer}"].T
        cell.dense_h.kernel[...] = job.arrays[f"U{layer}"].T
        (cell.dense_h if job.cell == "lstm" else cell.dense_i).bias[...] = job.arrays[f"b{layer}"]
    for index, module in enumerate(model.dense):
        module.kernel[...] = job.arrays[f"dense{index}.W"].T
        module.bias[...] = job.arrays[f"dense{index}.b"]
    graph, values, rest = nnx.split(model, nnx.Param, ...)
    return values, lambda values, x_BTD: nnx.merge(graph, values, rest, copy=True)(x_BTD)


class Flax:
    """One of the two APIs with our initial values."""

    def __init__(self, job: Job) -> None:
        is_nnx = job.arm == "flax_nnx"
        self.kernel = "jax.jit, NNX" if is_nnx else "jax.jit, Linen"
        self.versions = {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
        }
        self.values, logits = (nnx_model if is_nnx else linen_model)(job)
        self.num_parameters = sum(value.size for value in jax.tree.leaves(self.values))
        # NNX's GRU lacks b_hn
        absent = job.sizes["num_layers"] * job.sizes["hidden_size"] if is_nnx and job.cell == "gru" else 0
        self.more_parameters = -absent
        beta_1, beta_2 = job.adam["betas"]
        optimizer = optax.adam(job.adam["learning_rate"], b1=beta_1, b2=beta_2, eps=job.adam["epsilon"])
        self.state = optimizer.init(self.values)

        def measure(values: Values, x_BTD: jax.Array, y_B: jax.Array) -> jax.Array:
            return optax.sigmoid_binary_cross_entropy(logits(values, x_BTD), y_B).mean()

        def step(values: Values, state: Any, x_BTD: jax.Array, y_B: jax.Array) -> tuple[Values, Any, jax.Array]:
            loss, gradients = jax.value_and_grad(measure)(values, x_BTD, y_B)
            updates, state = optimizer.update(gradients, state, values)
            return optax.apply_updates(values, updates), state, loss

        self.compiled = jax.jit(step, donate_argnums=(0, 1))
        # Flax's layers take the batch first, as a rule
        self.batches = [
            (jax.numpy.asarray(x_TBD.swapaxes(0, 1)), jax.numpy.asarray(y_B))
            for x_TBD, y_B in zip(job.arrays["inputs"], job.arrays["targets"], strict=True)
        ]
        self.last = None

    def step(self, batch: int) -> None:
        inputs = self.batches[batch % len(self.batches)]
        self.values, self.state, self.last = self.compiled(self.values, self.state, *inputs)

    def loss(self) -> float:
        assert self.last is not None
        jax.block_until_ready(self.values)
        return float(self.last)


def make(job: Job) -> Training:
    """The arm ``flax`` or ``flax_nnx``."""
    return Flax(job)


if __name__ == "__main__":
    serve(make)
