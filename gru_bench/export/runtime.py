"""An ONNX graph that runs, in ONNX Runtime on the CPU."""

from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor

from gru_bench.export.states import Named, Program


def onnx_session(model: onnx.ModelProto | Path, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU, one operator after the other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # its warnings are of shapes that are not known, as dynamic ones are not
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def onnx_program(session: onnxruntime.InferenceSession) -> Program:
    """A session as a program. Inputs that it does not take are refused by it."""
    names = [one.name for one in session.get_outputs()]

    def run(inputs: Named) -> dict[str, Tensor]:
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

    return run
