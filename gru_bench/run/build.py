"""From a checked config to the objects of one run: task, backend and model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gru_bench.backends.base import Backend, Stack
from gru_bench.backends.loop import Loop, LoopStack
from gru_bench.config.check import Node, Settings, construct
from gru_bench.errors import UserError
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.models.products import flops_a_token
from gru_bench.models.streams import Streams, stream_seed
from gru_bench.tasks.base import Task

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Place:
    """Where and in which floating type a run computes.

    ``bfloat16`` is mixed precision: products are computed in it under ``torch.autocast``, parameters, gradients and
    optimizer state are float32. In bfloat16 alone small updates would be lost: 1 + 0.001 is 1 there.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def autocast(self) -> torch.dtype | None:
        """The floating type of mixed precision, or None where all is computed in one type."""
        return self.dtype if self.dtype is torch.bfloat16 else None

    @property
    def parameters(self) -> torch.dtype:
        """The floating type of parameters and inputs."""
        return self.dtype if self.autocast is None else torch.float32


def make_place(settings: Settings) -> Place:
    """As :func:`place_of`, of a run's settings."""
    return place_of(settings.device, settings.dtype)


def place_of(device: str, dtype: str) -> Place:
    """Turn the names of a device and a type into torch's.

    Raises:
        UserError: The device does not exist here, or there is no such type.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device={device}: no such device; valid: cpu, cuda, cuda:N") from error
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"device={device}: not supported; valid: cpu, cuda, cuda:N")
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            raise UserError(f"device={device}: torch sees {count} CUDA devices here; valid: cpu")
    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype}: no such type; valid: {', '.join(DTYPES)}")
    return Place(found, DTYPES[dtype])


def make_task(node: Node) -> Task:
    """The task with its data source, not yet loaded."""
    source = construct(node["data"]) if node["data"] else None
    return construct(node["task"], source)


def make_cell(node: Node) -> MakeCell:
    """``cell(input_size, hidden_size, generator)`` from the cell's node."""
    return construct(node["cell"] | {"_partial_": True})


@dataclass(frozen=True)
class ModelBuilder:
    """Builds the task's model around any cell and hidden size.

    Attributes:
        node: The checked config.
        sizes: ``Task.sizes()``.
        place: Where the model will run.
    """

    node: Node
    sizes: dict[str, int]
    place: Place

    def build(self, cell: MakeCell, backend: Backend, hidden_size: int, seed: int) -> nn.Module:
        """A model with initial values drawn from ``seed``, on the CPU in float32 and then moved."""
        model = self._build(cell, backend, hidden_size, Streams(seed, "model."))
        return model.to(self.place.device, self.place.parameters)

    def twin(self, model: nn.Module, cell: MakeCell, hidden_size: int) -> nn.Module:
        """A copy of a model of this config, with the weights that it has now, whose layers run as a readable loop.

        Whatever backend runs the model: a fused kernel hides its steps. The copy is in evaluation mode and has no
        gradients; torch's own random state stays as it was.

        Args:
            model: Any that :meth:`build` made, trained or not.
            cell: As it was built with.
            hidden_size: Likewise.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            twin = self.build(cell, Loop(), hidden_size, seed=0)  # every value is replaced below
        stacks = [(name, module) for name, module in model.named_modules() if isinstance(module, Stack)]
        copies = [module for module in twin.modules() if isinstance(module, LoopStack)]
        inside = tuple(f"{name}." for name, _ in stacks)
        rest = {name: value for name, value in model.state_dict().items() if not name.startswith(inside)}
        twin.load_state_dict(rest, strict=False)
        for (_, stack), copy in zip(stacks, copies, strict=True):
            for layer, tensors in zip(copy.cells, stack.cell_tensors(), strict=True):
                layer.load_state_dict(tensors, strict=False)  # a cell's constants come with the cell
        return twin.eval()

    def count(self, cell: MakeCell, hidden_size: int) -> int:
        """What the budget counts, its parameters or its arithmetic, with that cell and size. Nothing is allocated."""
        return construct(self.node["budget"]).count(self.sketch(cell, hidden_size))

    def flops_a_token(self, cell: MakeCell, hidden_size: int) -> int:
        """Operations of a token's forward pass with that cell and size. Nothing is allocated."""
        return flops_a_token(self.sketch(cell, hidden_size))

    def sketch(self, cell: MakeCell, hidden_size: int) -> nn.Module:
        """The model without values, whatever backend runs it."""
        with torch.device("meta"):
            return self._build(cell, Loop(), hidden_size, Streams(0))

    def _build(self, cell: MakeCell, backend: Backend, hidden_size: int, streams: Streams) -> nn.Module:
        resizable = construct(self.node["budget"]).resizes

        def build_encoder(input_size: int, part: Streams, /, **options: Any) -> Encoder:
            return Encoder(
                input_size,
                cell,
                backend,
                part,
                hidden_size=hidden_size,
                num_layers=self.node["num_layers"],
                device=self.place.device,
                dtype=self.place.parameters,
                resizable=resizable,
                **options,
            )

        return construct(self.node["model"], self.sizes, build_encoder, streams)


def dropout_seed(seed: int) -> int:
    """Seed of torch's own generator, from which dropout draws."""
    return stream_seed(seed, "dropout")


def data_seed(seed: int) -> int:
    """Seed of the order, or the draws, of the training data."""
    return stream_seed(seed, "data")


def check_backend(cell: MakeCell, backend: Backend, place: Place) -> None:
    """Let the backend refuse before anything is loaded.

    Raises:
        Unsupported: The backend does not run this cell; names what it does run.
    """
    if place.autocast is not None:
        backend.require_autocast(place.autocast, cell(1, 1, torch.Generator()))
    backend.stack([cell(1, 1, torch.Generator())], place.device, place.parameters)
