"""Weights in 8 bits by ONNX Runtime's dynamic quantization, and what it really made of them.

Known: it takes an LSTM to a quarter of its size and leaves a GRU or a plain RNN in float32 without a word
(microsoft/onnxruntime#9796), since it has a kernel for the one and not for the others. So what was done is not believed
but counted, in bytes of constants by type. By its equations (``operators=false``) a GRU's products are ordinary
products, which it does take.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

RECURRENT = ("RNN", "GRU", "LSTM")


@dataclass(frozen=True)
class Quantized:
    """What became of a graph.

    Attributes:
        bytes_before: Size of the file in float32.
        bytes_after: In int8.
        weights_before: Bytes of constants of floats before.
        weights_left: Of these, bytes that are still floats.
        left: Recurrent operators that still have weights in float32.
    """

    bytes_before: int
    bytes_after: int
    weights_before: int
    weights_left: int
    left: tuple[str, ...]

    def words(self) -> str:
        """In a sentence."""
        share = 100 * (1 - self.weights_left / self.weights_before) if self.weights_before else 0.0
        text = (
            f"{self.bytes_before:,} to {self.bytes_after:,} bytes ({self.bytes_after / self.bytes_before:.2f}); "
            f"{share:.0f} % of the weights are in 8 bits"
        )
        if not self.left:
            return text
        names = " and ".join(self.left)
        return f"{text}; the runtime leaves {names} in float32, operators=false has it by its equations, which it takes"

    def as_json(self) -> dict[str, Any]:
        """What ``export.json`` keeps."""
        return {
            "bytes_float32": self.bytes_before,
            "bytes_int8": self.bytes_after,
            "bytes_of_float_weights_before": self.weights_before,
            "bytes_of_float_weights_left": self.weights_left,
            "recurrent_operators_left_in_float32": list(self.left),
        }


def quantize(path: Path, output: Path) -> Quantized:
    """Write the graph of a file with its weights in 8 bits."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends to prepare the model, which changes nothing here
    try:
        quantize_dynamic(
            path, output, weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True}
        )
    finally:
        logger.setLevel(level)
    before, after = onnx.load(path), onnx.load(output)
    floats = float_weights(after)
    left = sorted({node.op_type for node in after.graph.node if node.op_type in RECURRENT and floats & {*node.input}})
    return Quantized(
        path.stat().st_size,
        output.stat().st_size,
        sum(sizes(before, float_weights(before))),
        sum(sizes(after, floats)),
        tuple(left),
    )


def float_weights(model: onnx.ModelProto) -> set[str]:
    """Names of the constants of floats that have more than one dimension: biases and scales stay floats."""
    return {
        one.name
        for one in model.graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and len([size for size in one.dims if size > 1]) > 1
    }


def sizes(model: onnx.ModelProto, names: set[str]) -> list[int]:
    """Bytes of some of the constants."""
    return [numpy_helper.to_array(one).nbytes for one in model.graph.initializer if one.name in names]
