"""A device that no machine lacks: its tensors lie in ordinary memory but count as being elsewhere, as those on CUDA do.

An operation that is given tensors of both places raises, as it would on CUDA, so code that forgets to move one is found
without a card. The device is called ``meta``, since torch's autograd engine must know a device by name, and this one it
leaves alone. What it cannot show: kernels, streams, events, and random numbers drawn on a device.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE, CPU = torch.device("meta"), torch.device("cpu")
MAY_MIX = ("copy_", "_to_copy")
"""Operations that take tensors from both places."""
TAKES_INDEX = ("index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index")
"""Operations of a tensor elsewhere whose index may come from the CPU."""


class Moved(Tensor):
    """A tensor elsewhere. ``here`` is the same memory as a tensor of the CPU."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> "Moved":
        here = here.detach()
        moved = torch.Tensor._make_subclass(cls, here, False, dispatch_device=True)
        moved.here = here
        return moved

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, here, with the answer where it belongs.

    Raises:
        RuntimeError: Its tensors lie in both places.
    """
    if func is torch.ops.prim.device.default:
        return ELSEWHERE
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    moved = [tensor for tensor in given if isinstance(tensor, Moved)]
    asked = kwargs.get("device")
    if not moved and (asked is None or torch.device(asked) != ELSEWHERE):
        return func(*args, **kwargs)
    name = func.__name__.split(".")[0]
    # a number without dimensions may come from the CPU
    others = [tensor for tensor in given if not isinstance(tensor, Moved) and tensor.dim() > 0]
    indexed = name in TAKES_INDEX and isinstance(args[0], Moved)
    if moved and name not in MAY_MIX and not all(indexed and is_among(other, args[1]) for other in others):
        raise RuntimeError(f"expected all tensors to be on the same device: {func}")
    if asked is not None:
        kwargs = kwargs | {"device": CPU}
    found = func(*tree_map(at_home, args), **tree_map(at_home, kwargs))
    if asked is not None and torch.device(asked) == CPU:
        return found.clone() if name == "_to_copy" else found
    if name == "copy_" and not isinstance(args[0], Moved):
        return args[0]

    def wrapped(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        own = [tensor for tensor in moved if tensor.here is result]  # in place
        return own[0] if own else Moved(result)

    return tree_map(wrapped, found)


def is_among(tensor: Tensor, some: Any) -> bool:
    """Whether it is one of them."""
    return any(tensor is one for one in some)


def at_home(value: Any) -> Any:
    """The CPU's view of a tensor elsewhere."""
    return value.here if isinstance(value, Moved) else value


class _Operations(TorchDispatchMode):
    """What is to be made elsewhere, or moved there, also by autograd itself."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Readings(TorchFunctionMode):
    """What reads a tensor's values without an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.tolist and isinstance(args[0], Moved):
            return args[0].here.tolist()
        if func is Tensor.numpy and isinstance(args[0], Moved):
            raise TypeError("can't convert a tensor elsewhere to numpy: use Tensor.cpu()")
        return func(*args, **(kwargs or {}))


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Inside, the device is there."""
    autocast, is_enabled = torch.autocast, torch.is_autocast_enabled

    def without(kind: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if kind == ELSEWHERE.type else autocast(kind, *args, **kwargs)

    torch.autocast = without  # type: ignore[misc, assignment]
    torch.is_autocast_enabled = lambda kind: kind != ELSEWHERE.type and is_enabled(kind)  # type: ignore[assignment]
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a moved parameter is of another class
    try:
        with _Readings(), _Operations():
            yield ELSEWHERE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
        torch.autocast, torch.is_autocast_enabled = autocast, is_enabled  # type: ignore[misc]
