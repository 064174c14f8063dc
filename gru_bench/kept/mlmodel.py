"""What makes the folder of a kept model a model of MLflow: ``MLmodel``, an input example, and what to install.

Written here and not by ``mlflow.pyfunc.save_model``, which takes seconds to find out what is imported. The form is that
of MLflow 3: https://mlflow.org/docs/latest/ml/model, "MLmodel file", "Model signatures", "Model input example".
"""

import json
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

import gru_bench
from gru_bench.kept.folder import MLMODEL_FILE
from gru_bench.run.build import Place
from gru_bench.tasks.reader import Reader
from gru_bench.training.trainer import autocast

EXAMPLE_FILE, SERVING_FILE = "input_example.json", "serving_input_example.json"
REQUIREMENTS_FILE, PYTHON_FILE = "requirements.txt", "python_env.yaml"
LOADER = "gru_bench.kept.pyfunc"
WORDS = ["This", "is", "an", "example"]
"""The example's text: no row of the data, which may be private."""
STEPS = 3
"""T of the example of a task that draws its data."""

Schema = list[dict[str, Any]]
version = cache(version_of)
"""Of a package; looking it up takes milliseconds, and each run of a sweep does."""


@dataclass(frozen=True)
class Form:
    """What a model is given and what it answers, as MLflow's signature has it.

    Attributes:
        inputs: Columns, or one tensor.
        outputs: Likewise; empty where the example's answer does not tell.
        example: One row of the columns, or the tensor as nested lists.
    """

    inputs: Schema
    outputs: Schema
    example: dict[str, Any] | list[Any]


def form_of(model: nn.Module, reader: Reader | None, sizes: Mapping[str, int], place: Place) -> Form | None:
    """Ask a model about its example.

    Args:
        model: Whichever weights it has; left in the mode in which it came.
        reader: Its task's.
        sizes: Its task's.
        place: Where it runs.

    Returns:
        Columns of text where the task has a reader. Of a task that draws its data the tensor that the model takes,
        (T, B, D) or (T, B) of ids. None where a model of such a task takes more than that, as one with two sides does,
        or cannot answer the example: a task of the user's own may ask for more, which is no reason to lose its run.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(place.device, place.autocast):
            return form_of_row(model, reader) if reader is not None else form_of_tensor(model, sizes, place)
    except Exception:
        return None
    finally:
        model.train(training)


def form_of_row(model: nn.Module, reader: Reader) -> Form:
    """Of a model whose task has a reader."""
    row = {role: WORDS if role == "tokens" else " ".join(WORDS) for role in reader.roles}
    answer = reader.predict(model, [row], batch_size=1)[0]
    columns = [column(name, value) for name, value in answer.items()]
    known = [one for one in columns if one is not None]
    inputs = [one for name, value in row.items() for one in [column(name, value)] if one is not None]
    return Form(inputs, known if len(known) == len(columns) else [], row)


def form_of_tensor(model: nn.Module, sizes: Mapping[str, int], place: Place) -> Form | None:
    """Of a model whose task draws its data."""
    if "input_size" in sizes:
        x = torch.zeros(STEPS, 1, sizes["input_size"], dtype=place.parameters, device=place.device)
    elif "vocab_size" in sizes:
        x = torch.zeros(STEPS, 1, dtype=torch.long, device=place.device)
    else:
        return None
    return Form([tensor(x, x.dim() - 2)], [tensor(answered(model, x), 1)], x.tolist())


def answered(model: nn.Module, inputs: Tensor) -> Tensor:
    """What a model says to a tensor; of a language model without its state."""
    found = model(inputs)
    out: Tensor = found[0] if isinstance(found, tuple) else found
    return out


def column(name: str, value: Any) -> dict[str, Any] | None:
    """A column that holds such a value; None where MLflow has no type for it."""
    kind = typed(value)
    return None if kind is None else kind | {"name": name, "required": True}


def typed(value: Any) -> dict[str, Any] | None:
    """MLflow's type of a value."""
    for python, name in ((bool, "boolean"), (str, "string"), (int, "long"), (float, "double")):
        if isinstance(value, python):
            return {"type": name}
    if isinstance(value, list) and value:
        items = typed(value[0])
        return None if items is None else {"type": "array", "items": items}
    return None


def tensor(x: Tensor, fixed: int) -> dict[str, Any]:
    """Such a tensor, of which the last ``fixed`` sizes alone are fixed."""
    open_sizes = x.dim() - fixed
    shape = [-1] * open_sizes + list(x.shape[open_sizes:])
    dtype = torch.float32 if x.dtype is torch.bfloat16 else x.dtype  # numpy has no such type
    return {"type": "tensor", "tensor-spec": {"dtype": str(dtype).removeprefix("torch."), "shape": shape}}


def write_mlmodel(folder: Path, form: Form, run_id: str = "") -> None:
    """Add MLflow's files to the folder of a kept model.

    Args:
        folder: That :func:`gru_bench.kept.write.write_kept` wrote.
        form: Of the model.
        run_id: Of its run, where it is known.

    Raises:
        OSError: The folder cannot be written.
    """
    if isinstance(form.example, dict):
        table: dict[str, object] = {"columns": list(form.example), "data": [list(form.example.values())]}
        kind = {"type": "dataframe", "pandas_orient": "split"}
        example, served = json.dumps(table), json.dumps({"dataframe_split": table})
    else:
        kind = {"type": "ndarray"}
        example, served = json.dumps(form.example), json.dumps({"inputs": form.example})
    (folder / EXAMPLE_FILE).write_text(example, encoding="utf-8")
    (folder / SERVING_FILE).write_text(served, encoding="utf-8")
    signature = {"inputs": json.dumps(form.inputs), "outputs": json.dumps(form.outputs) if form.outputs else None}
    about = {
        "flavors": {
            "python_function": {
                "env": {"virtualenv": PYTHON_FILE},
                "loader_module": LOADER,
                "python_version": platform.python_version(),
            }
        },
        "mlflow_version": version("mlflow"),
        "model_size_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "model_uuid": uuid.uuid4().hex,
        "saved_input_example_info": {"artifact_path": EXAMPLE_FILE, "serving_input_path": SERVING_FILE} | kind,
        "signature": signature | {"params": None},
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    } | ({"run_id": run_id} if run_id else {})
    (folder / MLMODEL_FILE).write_text(yaml.safe_dump(about), encoding="utf-8")
    others = [f"{name}=={version(name).partition('+')[0]}" for name in ("mlflow", "torch")]  # as an index names them
    needs = [f"gru-bench=={gru_bench.__version__}", *others]
    (folder / REQUIREMENTS_FILE).write_text("\n".join(needs) + "\n", encoding="utf-8")
    python = {"python": platform.python_version(), "dependencies": [f"-r {REQUIREMENTS_FILE}"]}
    (folder / PYTHON_FILE).write_text(yaml.safe_dump(python), encoding="utf-8")
