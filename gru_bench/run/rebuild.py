"""A trained model again, from the config and the weights that its run kept."""

import inspect
import pickle
from pathlib import Path

import torch
import yaml
from hydra.utils import get_object
from torch import nn

from gru_bench.config.check import GROUPS, PROBES, Node, Settings, check_arguments, check_node, construct
from gru_bench.errors import UserError
from gru_bench.kept.weights import fill
from gru_bench.measure.threads import resolve_threads, set_threads
from gru_bench.probes.base import Subject
from gru_bench.run import build, probing

OURS = ("gru_bench.", "torch.optim.")
"""Where what a config names comes from: classes of the user's own derive from one of these."""
WHOLE = "valid: the whole file as its run kept it"


def rebuild(
    config: Path, weights: Path, *, hidden_size: int, fingerprint: str, device: str | None, threads: int | str
) -> Subject:
    """What probes look at: the run's task, loaded, and its model as it was tested.

    Args:
        config: The run's ``config.yaml``.
        weights: The run's ``model.safetensors``, or the ``model.pt`` of an older version.
        hidden_size: That was trained.
        fingerprint: Of the data that it was trained on.
        device: Where the model will run; None for where it was trained.
        threads: Of torch, or ``auto``.

    Raises:
        UserError: The config or the weights do not fit, the device is not here, or the data is not what it was.
    """
    node = read_config(config)
    refuse_foreign(node)
    settings = checked(node, device)
    set_threads(resolve_threads(threads, 1))  # type: ignore[arg-type]  # the command's keys are checked
    place = build.make_place(settings)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # as in training
    task = build.make_task(node)
    cell, backend = build.make_cell(node), construct(node["backend"])
    build.check_backend(cell, backend, place)
    task.load()
    if task.fingerprint() != fingerprint:
        raise UserError(
            f"task: its data is not what the run was trained on (fingerprint {task.fingerprint()}, then {fingerprint})"
        )
    builder = build.ModelBuilder(node, task.sizes(), place)
    model = builder.build(cell, backend, hidden_size, settings.seed)
    load_weights(model, weights, place.device)
    return probing.make_subject(model.eval(), task, builder, cell, hidden_size, settings.seed)


def read_config(path: Path) -> Node:
    """The config of a run.

    Raises:
        UserError: It is cut, or no config.
    """
    try:
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path.name}: cannot be read; {WHOLE}") from error
    if not isinstance(node, dict) or not is_count(node.get("num_layers")):
        raise UserError(f"{path.name}: is no config of a run; {WHOLE}")
    return node


def is_count(value: object) -> bool:
    """Whether a value is a number of something that there is."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def refuse_foreign(node: object, path: str = "config.yaml") -> None:
    """Refuse a config that names anything but parts of an experiment: whoever wrote the store could run any function.

    Raises:
        UserError: A ``_target_`` that is neither of this package or torch.optim, nor derived from a class of it.
    """
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            refuse_foreign(value, f"{path}.{key}")
    target = node.get("_target_") if isinstance(node, dict) else None
    if target is None:
        return
    try:
        found = get_object(str(target))
    except Exception as error:
        raise UserError(f"{path}._target_={target}: cannot be imported") from error
    # a function of this package is no part either: it could be given what a store's writer likes
    origins = [str(base.__module__) for base in inspect.getmro(found)] if inspect.isclass(found) else []
    if not any(f"{origin}.".startswith(OURS) for origin in origins):
        raise UserError(f"{path}._target_={target}: no part of an experiment, so it is not run")


def load_weights(model: nn.Module, weights: Path, device: torch.device) -> None:
    """Give a model the weights of a file.

    Raises:
        UserError: The file is empty, cut or something else, or its weights are another model's.
    """
    if weights.suffix == ".safetensors":
        fill(model, weights)
        return
    try:
        state = torch.load(weights, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, LookupError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{weights.name}: cannot be read as weights; valid: the whole file as its run kept it"
        ) from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{weights.name}: does not fit the model of config.yaml in this version of gru_bench"
        ) from error


def checked(node: Node, device: str | None) -> Settings:
    """The settings of a config that was checked when its run began; another version may no longer have its keys.

    Raises:
        UserError: As in :func:`gru_bench.config.check.check`.
    """
    plain = {key: value for key, value in node.items() if key not in (*GROUPS, PROBES, "tuning", "keep_model")}
    plain |= {"device": plain.get("device") if device is None else device}
    check_arguments(Settings, plain, "", "a training config")
    for name in ("cell", "backend", "task", "budget", "data", "model"):
        check_node(node.get(name), name)
    return Settings(**plain)
