"""ONNX Runtime's end of ``bench/inference.py``: one recurrent layer as a graph made by hand, run as the driver asks.

Runs in an environment of its own, with numpy, onnx and onnxruntime alone. Reads lines of JSON and answers each with
one: ``{"case", "path"}`` makes a case ready and says what came out, ``{"case", "calls"}`` times so many calls of it.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 14, 8
# Order of an ONNX node's gates, of our places: the GRU has z, r, n of r, z, n; the LSTM i, o, f, g of i, f, g, o
ORDERS = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
OPERATORS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


def graph(cell: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """A model of one node: X (T, B, D) and the old states (1, B, H) to Y (T, 1, B, H) and the new states."""
    H = arrays["U"].shape[1]

    def ordered(stacked: np.ndarray) -> np.ndarray:
        gates = np.split(stacked, len(stacked) // H)
        return np.concatenate([gates[place] for place in ORDERS[cell]])

    recurrent_bias = np.zeros_like(arrays["b"])
    if "b_hn" in arrays:
        recurrent_bias[-H:] = arrays["b_hn"]
    weights = {
        "W": ordered(arrays["W"])[None],
        "R": ordered(arrays["U"])[None],
        "B": np.concatenate([ordered(arrays["b"]), ordered(recurrent_bias)])[None],
    }
    states = ["h", "c"] if cell == "lstm" else ["h"]
    more: dict[str, Any] = {"linear_before_reset": 1} if cell == "gru" else {}
    node = helper.make_node(
        OPERATORS[cell],
        ["X", "W", "R", "B", "", *(f"{state}0" for state in states)],
        ["Y", *(f"{state}1" for state in states)],
        hidden_size=H,
        **more,
    )

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

    made = helper.make_graph(
        [node],
        cell,
        [value(name) for name in ("X", *(f"{state}0" for state in states))],
        [value(name) for name in node.output],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString()


class Case:
    """One layer and its inputs (T, B, D): a stream of steps, or the whole sequence from zeros.

    Args:
        path: ``npz`` with ``x``, ``W``, ``U``, ``b`` and, for the GRU, ``b_hn``; ``cell``, ``is_stream``, ``threads``.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as loaded:
            arrays = dict(loaded)
        self.x_TBD = arrays["x"]
        self.is_stream = bool(arrays["is_stream"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(arrays["threads"])
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        model = graph(str(arrays["cell"]), arrays)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.names = [given.name for given in self.session.get_inputs()]
        self.zeros = np.zeros((1, self.x_TBD.shape[1], arrays["U"].shape[1]), dtype=np.float32)

    def outputs(self) -> np.ndarray:
        """Of all steps, (T, B, H)."""
        state, outputs = self.start(), []
        for x_tBD in self.pieces():
            y, *state = self.session.run(None, dict(zip(self.names, (x_tBD, *state), strict=True)))
            outputs.append(y[:, 0])
        return np.concatenate(outputs)

    def start(self) -> list[np.ndarray]:
        return [self.zeros] * (len(self.names) - 1)

    def pieces(self) -> list[np.ndarray]:
        """The input of each call."""
        return [self.x_TBD[t : t + 1] for t in range(len(self.x_TBD))] if self.is_stream else [self.x_TBD]

    def seconds(self, calls: int) -> list[float]:
        """Of each call, after two that are not timed."""
        run, names, now = self.session.run, self.names, time.perf_counter
        state, pieces, taken = self.start(), self.pieces(), []
        for call in range(-2, calls):
            piece = pieces[call % len(pieces)]
            given = dict(zip(names, (piece, *state), strict=True))
            start = now()
            _, *new = run(None, given)
            end = now()
            if self.is_stream:
                state = new
            if call >= 0:
                taken.append(end - start)
        return taken


def main() -> None:
    """Answer until standard input ends."""
    cases: dict[str, Case] = {}
    answers: dict[str, Callable[[Any], Any]] = {
        "path": lambda asked: cases.setdefault(asked["case"], Case(asked["path"])).outputs().tolist(),
        "calls": lambda asked: cases[asked["case"]].seconds(asked["calls"]),
    }
    print(json.dumps({"version": onnxruntime.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = next(answers[name](asked) for name in answers if name in asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
