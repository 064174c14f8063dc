"""A cell's own equations as ONNX nodes: what torch.export sees of ``Cell.step``, operator by operator.

Nothing is written twice: the code that trains a cell is what is translated. A cell of someone's own can be exported if
its step is made of the operators below; else the operator that is missing is named.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from gru_bench.cells.base import Cell
from gru_bench.errors import UserError
from gru_bench.export.graph import Graph
from gru_bench.export.traced import BATCH, TIME, TRACED_BATCH, TRACED_TIME


class Step(nn.Module):
    """``Cell.step`` with flat outputs."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, gx_BG: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        output_BH, new = self.cell.step(gx_BG, state)
        return (output_BH, *new)


class Projection(nn.Module):
    """``Cell.input_projection``."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x_TBD: Tensor) -> Tensor:
        return self.cell.input_projection(x_TBD)


def step_program(cell: Cell) -> ExportedProgram:
    """One step of any batch size."""
    size = len(cell.gates) * cell.hidden_size
    state = cell.initial_state(TRACED_BATCH)
    given = (cell.W.new_zeros(TRACED_BATCH, size), *state)
    shapes = ({0: BATCH}, tuple({0: BATCH} for _ in state))
    with torch.no_grad():
        return torch.export.export(Step(cell), given, dynamic_shapes=shapes, strict=False)


def projection_program(cell: Cell) -> ExportedProgram:
    """The input projection, of any number of steps and any batch size."""
    given = (cell.W.new_zeros(TRACED_TIME, TRACED_BATCH, cell.input_size),)
    with torch.no_grad():
        return torch.export.export(Projection(cell), given, dynamic_shapes=(({0: TIME, 1: BATCH}),), strict=False)


class Translated:
    """A cell whose step and input projection are translated into graphs, as often as needed.

    Args:
        cell: In float32, on the CPU.
        hint: What the names of its constants begin with, such as ``encoder_layer0``.

    Raises:
        UserError: An operator that has no translation; names the cell and the operator.
    """

    def __init__(self, cell: Cell, hint: str) -> None:
        self.cell, self.hint = cell, hint
        self._step, self._projection = step_program(cell), projection_program(cell)

    def step(self, graph: Graph, gx_BG: str, state: Sequence[str]) -> list[str]:
        """The output (B, H) and the new states, each (B, H)."""
        return self._translate(graph, self._step, [gx_BG, *state])

    def project(self, graph: Graph, x_TBD: str) -> str:
        """(T, B, D) to (T, B, G)."""
        return self._translate(graph, self._projection, [x_TBD])[0]

    def _translate(self, graph: Graph, program: ExportedProgram, given: Sequence[str]) -> list[str]:
        values: dict[str, Any] = {}
        signature = program.graph_signature
        parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        inputs = iter(given)
        for node in program.graph.nodes:
            if node.op == "placeholder":
                if node.name in parameters:
                    values[node.name] = program.state_dict[parameters[node.name]]
                else:
                    values[node.name] = next(inputs)
            elif node.op == "call_function":
                values[node.name] = self._call(graph, node, values)
            elif node.op == "output":
                return [values[one.name] for one in node.args[0]]
        raise AssertionError("a program without an output")

    def _call(self, graph: Graph, node: Node, values: dict[str, Any]) -> Any:
        """A graph value, named; a tensor where it depends on weights alone; or a list of these."""

        def known(argument: Any) -> Any:
            if isinstance(argument, Node):
                return values[argument.name]
            return [known(one) for one in argument] if isinstance(argument, list | tuple) else argument

        arguments = [known(argument) for argument in node.args]
        if node.target is operator.getitem:
            return arguments[0][arguments[1]]
        if not any(isinstance(one, str) for one in flat(arguments)):
            with torch.no_grad():
                return node.target(*arguments, **node.kwargs)  # type: ignore[operator]
        translate = TRANSLATIONS.get(str(node.target))
        if translate is None or any(value != 1 for key, value in node.kwargs.items() if key == "alpha"):
            raise UserError(
                f"cell={type(self.cell).__name__}: cannot be exported to ONNX: its step uses {node.target}, which has "
                "no translation; valid: format=torch"
            )
        return translate(Call(graph, node, arguments, self.hint))


def flat(arguments: Any) -> list[Any]:
    """All that is in nested lists."""
    return [one for part in arguments for one in flat(part)] if isinstance(arguments, list) else [arguments]


class Call:
    """One operator of a program on its way into a graph.

    Attributes:
        graph: Which gets the nodes.
        node: As torch.export saw it.
        arguments: Names of values in the graph, tensors that are constants, or plain numbers.
        hint: What the names of constants begin with.
    """

    def __init__(self, graph: Graph, node: Node, arguments: list[Any], hint: str) -> None:
        self.graph, self.node, self.arguments, self.hint = graph, node, arguments, hint

    def get(self, place: int, default: Any = None) -> Any:
        return self.arguments[place] if len(self.arguments) > place else default

    def value(self, place: int) -> str:
        """An argument as a value of the graph."""
        return self.as_value(self.arguments[place])

    def as_value(self, one: Any) -> str:
        if isinstance(one, str):
            return one
        return self.graph.constant(one, self.hint) if isinstance(one, Tensor) else self.graph.constant(float(one))

    def add(self, name: str, *inputs: str, **more: Any) -> Any:
        return self.graph.add(name, *inputs, **more)


def _same(name: str) -> Callable[[Call], str]:
    """An operator whose inputs are ONNX's, in order."""
    return lambda call: call.add(name, *(call.value(place) for place in range(len(call.arguments))))


def _linear(call: Call) -> str:
    if not isinstance(call.arguments[1], Tensor):
        raise UserError(f"{call.hint}: a product whose weights depend on the input has no translation")
    return call.graph.linear(call.value(0), call.arguments[1], call.get(2), call.hint)


def _slice(call: Call) -> str:
    axis, start, end, step = (call.get(place, default) for place, default in enumerate((0, None, None, 1), start=1))
    start, end = start or 0, 2**63 - 1 if end is None else end
    if (start, step) == (0, 1) and end > 2**62:
        return call.value(0)
    return call.add("Slice", call.value(0), *(call.graph.constant([number]) for number in (start, end, axis, step)))


def _split(call: Call) -> list[str]:
    """Into the sizes that torch found, which are fixed: gates are split, not batches."""
    axis = call.get(2, 0)
    sizes = [int(part.shape[axis]) for part in call.node.meta["val"]]
    return call.add("Split", call.value(0), call.graph.constant(sizes), outputs=len(sizes), axis=axis)


def _lerp(call: Call) -> str:
    start, end, weight = (call.value(place) for place in range(3))
    return call.add("Add", start, call.add("Mul", weight, call.add("Sub", end, start)))


def _layer_norm(call: Call) -> str:
    size = int(call.arguments[1][-1])
    gain = torch.ones(size) if call.get(2) is None else call.arguments[2]
    bias = [] if call.get(3) is None else [call.value(3)]
    return call.add(
        "LayerNormalization", call.value(0), call.as_value(gain), *bias, axis=-1, epsilon=float(call.get(4, 1e-5))
    )


def _filled(number: float) -> Callable[[Call], str]:
    return lambda call: call.add("Expand", call.graph.constant(number), call.add("Shape", call.value(0)))


TRANSLATIONS: dict[str, Callable[[Call], Any]] = {
    **{f"aten.{name}.Tensor": _same(name.capitalize()) for name in ("add", "sub", "mul", "div")},
    **{f"aten.{name}.default": _same(name.capitalize()) for name in ("sigmoid", "tanh", "relu", "exp", "neg", "abs")},
    "aten.rsub.Scalar": lambda call: call.add("Sub", call.value(1), call.value(0)),
    "aten.log_sigmoid.default": lambda call: call.add("Neg", call.add("Softplus", call.add("Neg", call.value(0)))),
    "aten.lerp.Tensor": _lerp,
    "aten.lerp.Scalar": _lerp,
    "aten.linear.default": _linear,
    "aten.slice.Tensor": _slice,
    "aten.chunk.default": _split,
    "aten.split_with_sizes.default": _split,
    "aten.split.Tensor": _split,
    "aten.cat.default": lambda call: call.add("Concat", *map(call.as_value, call.arguments[0]), axis=call.get(1, 0)),
    "aten.layer_norm.default": _layer_norm,
    "aten.ones_like.default": _filled(1.0),
    "aten.zeros_like.default": _filled(0.0),
    "aten.to.dtype": lambda call: call.value(0),  # the parameters' type, which is float32 throughout
    "aten._assert_tensor_metadata.default": lambda _: None,
}
"""What an operator of torch becomes."""
