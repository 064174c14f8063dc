"""The Keras arms of ``bench/peers.py``: the article's model in a compiled training step on TensorFlow.

The step is the one inside ``fit``, in a ``tf.function`` of its own: without ``train_on_batch``, which converts the
batch, keeps metrics and waits for each loss. ``keras`` leaves XLA out, as Keras does by itself on a CPU;
``keras_xla`` asks for it.
"""

import platform

import keras  # type: ignore[import-not-found]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from peers_worker import Job, Training, serve

LAYERS = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
GATES = {"rnn": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}
"""Our gates in Keras's order: its GRU stacks z before r."""


class Keras:
    """Keras's own cells at their defaults, with our initial values."""

    def __init__(self, job: Job) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(job.threads)
        tf.config.threading.set_inter_op_parallelism_threads(job.threads)
        xla = job.arm == "keras_xla"
        self.kernel = "tf.function, XLA" if xla else "tf.function"
        self.versions = {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        }
        self.model = build(job)
        self.num_parameters = sum(int(np.prod(value.shape)) for value in self.model.trainable_variables)
        # the second bias of r and z, which adds nothing to the first
        second_bias = 2 * job.sizes["hidden_size"] if job.cell == "gru" else 0
        self.more_parameters = job.sizes["num_layers"] * second_bias
        beta_1, beta_2 = job.adam["betas"]
        self.optimizer = keras.optimizers.Adam(
            job.adam["learning_rate"], beta_1=beta_1, beta_2=beta_2, epsilon=job.adam["epsilon"]
        )
        self.optimizer.build(self.model.trainable_variables)
        self.measure = keras.losses.BinaryCrossentropy()
        self.compiled = tf.function(self._step, jit_compile=xla)
        # Keras's layers take the batch first
        self.batches = [
            (tf.constant(x_TBD.swapaxes(0, 1)), tf.constant(y_B[:, None]))
            for x_TBD, y_B in zip(job.arrays["inputs"], job.arrays["targets"], strict=True)
        ]
        self.last = None

    def _step(self, x_BTD: tf.Tensor, y_B1: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self.measure(y_B1, self.model(x_BTD, training=True))
        trained = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, trained), trained)
        return loss

    def step(self, batch: int) -> None:
        self.last = self.compiled(*self.batches[batch % len(self.batches)])

    def loss(self) -> float:
        assert self.last is not None
        return float(self.last)


def build(job: Job) -> keras.Model:
    """The article's model: three recurrent layers, the last output alone, dense layers, one sigmoid unit."""
    sizes = job.sizes
    recurrent = [
        LAYERS[job.cell](sizes["hidden_size"], return_sequences=layer < sizes["num_layers"] - 1)
        for layer in range(sizes["num_layers"])
    ]
    dense = [keras.layers.Dense(units, activation="relu") for units in sizes["dense"]]
    dense.append(keras.layers.Dense(1, activation="sigmoid"))
    model = keras.Sequential([keras.Input((sizes["seq_len"], sizes["input_size"])), *recurrent, *dense])
    for layer, module in enumerate(recurrent):
        module.set_weights(recurrent_values(job, layer))
    for index, module in enumerate(dense):
        module.set_weights([job.arrays[f"dense{index}.W"].T, job.arrays[f"dense{index}.b"]])
    return model


def recurrent_values(job: Job, layer: int) -> list[np.ndarray]:
    """One layer's initial values in Keras's order: kernel (D, G), recurrent kernel (H, G), bias (G) or (2, G)."""
    H = job.sizes["hidden_size"]

    def ordered(name: str) -> np.ndarray:
        rows = job.arrays[f"{name}{layer}"]
        return np.concatenate([rows[gate * H : (gate + 1) * H] for gate in GATES[job.cell]])

    bias = ordered("b")
    if job.cell == "gru":
        bias = np.stack([bias, np.concatenate([np.zeros(2 * H, bias.dtype), job.arrays[f"b_hn{layer}"]])])
    return [ordered("W").T, ordered("U").T, bias]


def make(job: Job) -> Training:
    """The arm ``keras`` or ``keras_xla``."""
    return Keras(job)


if __name__ == "__main__":
    serve(make)
