"""An ONNX graph under construction: nodes and constants with names of their own, one call an operator."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET, IR_VERSION = 18, 9
"""ONNX 1.14 (2023), which every runtime since then reads."""
TYPES = {"float": TensorProto.FLOAT, "int32": TensorProto.INT32, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
Shape = Sequence[int | str]
SMALL = 16
"""Elements of a constant that is kept once, however often it is asked for."""


class Graph:
    """Nodes in the order in which they are added, which is that of their execution.

    A graph inside another one (the body of a Scan) is a :meth:`body`: it names its values as the outer one does, so
    that no two are called alike, and its constants are kept outside, where nothing is copied at each step.
    """

    def __init__(self, outer: "Graph | None" = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.outer = outer
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._names: dict[str, int] = {}

    def body(self) -> "Graph":
        """A graph for a node of this one."""
        return Graph(self)

    def name(self, hint: str) -> str:
        """A name that nothing has yet, such as ``sigmoid_3``."""
        if self.outer is not None:
            return self.outer.name(hint)
        self._names[hint] = number = self._names.get(hint, 0) + 1
        return hint if number == 1 else f"{hint}_{number - 1}"

    def input(self, hint: str, kind: str, shape: Shape | None) -> str:
        """An input; sizes that are names are dynamic, and a shape of None says nothing."""
        name = self.name(hint)
        self._inputs.append(helper.make_tensor_value_info(name, TYPES[kind], shape))
        return name

    def output(self, hint: str, value: str, kind: str, shape: Shape | None) -> str:
        """An output of that name with the value of another one."""
        name = self.name(hint)
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(helper.make_tensor_value_info(name, TYPES[kind], shape))
        return name

    def constant(self, value: Tensor | np.ndarray | Sequence[int] | int | float, hint: str = "constant") -> str:
        """A constant: a tensor as it is, an integer or several as int64, a float as float32.

        Of equal ones that are small there is one.
        """
        if self.outer is not None:
            return self.outer.constant(value, hint)
        if isinstance(value, Tensor):
            array = value.detach().cpu().numpy()
        elif isinstance(value, np.ndarray):
            array = value
        elif isinstance(value, float):
            array = np.array(value, dtype=np.float32)
        else:
            array = np.array(value, dtype=np.int64)
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= SMALL else None
        if key in self._known:
            return self._known[key]
        name = self.name(hint)
        self._constants[name] = numpy_helper.from_array(array, name)
        if key is not None:
            self._known[key] = name
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, hint: str = "", **attributes: Any) -> Any:
        """A node. An input that is left out is an empty name.

        Returns:
            The name of its output, or a list of names where it has several.
        """
        hint = hint or operator.lower()
        names = [self.name(hint) for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    # what several parts of a model need

    def cast(self, value: str, kind: str) -> str:
        """In another type."""
        return self.add("Cast", value, to=TYPES[kind])

    def linear(self, x: str, weight: Tensor, bias: Tensor | None, hint: str) -> str:
        """``x W^T + b`` over the last dimension."""
        product = self.add("MatMul", x, self.constant(weight.detach().T.contiguous(), f"{hint}_weight"), hint=hint)
        return product if bias is None else self.add("Add", product, self.constant(bias, f"{hint}_bias"), hint=hint)

    def squeeze(self, x: str, axis: int) -> str:
        return self.add("Squeeze", x, self.constant([axis]))

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis]))

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        return self.add("Slice", x, *(self.constant([number]) for number in (start, end, axis)))

    def reduce(self, operator: str, x: str, axis: int, *, keep: bool) -> str:
        """``ReduceSum`` and its like over one axis."""
        return self.add(operator, x, self.constant([axis]), keepdims=int(keep))

    def size(self, x: str, axis: int) -> str:
        """A dimension, as a tensor of one element."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def zeros(self, *sizes: str | int) -> str:
        """float32 of a shape whose sizes are numbers or tensors of one element."""
        parts = [self.constant([size]) if isinstance(size, int) else size for size in sizes]
        return self.add("Expand", self.constant(0.0), self.add("Concat", *parts, axis=0))

    def alive(self, x: str, lengths: str) -> str:
        """Whether a step lies within its sequence's length: (T, B, 1) of bool, of a value (T, B, ...)."""
        end = self.squeeze(self.size(x, 0), 0)
        steps_T = self.add("Range", self.constant(0), end, self.constant(1))
        alive_TB = self.add("Less", self.unsqueeze(steps_T, 1), self.unsqueeze(lengths, 0))
        return self.unsqueeze(alive_TB, 2)

    # what becomes of it

    def proto(self, name: str) -> onnx.GraphProto:
        """The graph; a body's constants are its outer graph's."""
        return helper.make_graph(self.nodes, name, self._inputs, self._outputs, list(self._constants.values()))

    def model(self, name: str, facts: dict[str, str]) -> onnx.ModelProto:
        """The whole model, with facts as its metadata. Checked for form."""
        made = helper.make_model(
            self.proto(name),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="gru_bench",
        )
        helper.set_model_props(made, facts)
        onnx.checker.check_model(made, full_check=True)
        return made
