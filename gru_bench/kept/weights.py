"""The tensors of a model in a file: safetensors, from which nothing is run. It knows nothing of experiments."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gru_bench.errors import UserError
from gru_bench.kept.folder import CONFIG_FILE, WEIGHTS_FILE

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def copied(state: Mapping[str, Tensor]) -> State:
    """A copy on the CPU, in which a tensor of two names, such as a tied embedding, is still one."""
    made: dict[tuple[object, ...], Tensor] = {}
    found = {}
    for name, tensor in state.items():
        # of its own storage: a view would bring all that it is a view of
        place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()) if tensor.numel() else (name,)
        if place not in made:
            made[place] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        found[name] = made[place]
    return found


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, a tensor that has two names once: the file's metadata has the second one.

    So a tied embedding costs its size once. Names and metadata are as ``safetensors.torch.save_model`` has them.

    Raises:
        OSError: It cannot be written.
    """
    first: dict[int, str] = {}
    kept: State = {}
    also = {"format": "pt"}
    for name, tensor in copied(state).items():
        if first.setdefault(id(tensor), name) == name:
            kept[name] = tensor
        else:
            also[name] = first[id(tensor)]
    path.touch()
    usual = path.stat().st_mode
    try:
        save_file(kept, path, also)
    except SafetensorError as error:
        raise OSError(f"{path.name}: {error}") from error
    path.chmod(usual)  # safetensors lets nobody else read it


def read_weights(path: Path) -> State:
    """What :func:`save_weights` wrote, a tensor of two names under both.

    Raises:
        UserError: The file is empty, cut or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            also = {name: first for name, first in (file.metadata() or {}).items() if name != "format"}
        return state | {name: state[first] for name, first in also.items()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise unreadable(path) from error


def shapes_of(path: Path) -> Shapes:
    """The shapes of the tensors in a file, each tensor under its first name alone; no tensor is read.

    Raises:
        UserError: As :func:`read_weights`.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> UserError:
    """That a file holds no tensors."""
    return UserError(f"{path.name}: cannot be read as weights; valid: the whole file as its run kept it")


def unfit(name: str = WEIGHTS_FILE) -> UserError:
    """That the tensors of a file are another model's."""
    return UserError(f"{name}: does not fit the model of {CONFIG_FILE} in this version of gru_bench")


def fill(model: nn.Module, path: Path) -> None:
    """Give a model the weights of a file.

    Raises:
        UserError: The file is empty, cut or something else, or its weights are another model's.
    """
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise unfit(path.name) from error
