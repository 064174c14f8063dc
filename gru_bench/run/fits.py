"""Whether a run can fit into memory at all, before anything large is made.

What is counted is less than any run needs: parameters with their gradients and the optimizer's averages, one number a
step, sequence and unit for each layer's output and for one gradient of these, and the data that a generator makes. So
nothing is refused that fits, while a slip such as ``task.batch_size=1000000000`` does not take the machine down.
"""

from dataclasses import dataclass

import torch

from gru_bench.config.check import Node, Settings, construct
from gru_bench.errors import UserError
from gru_bench.measure.room import room
from gru_bench.models.encoder import num_parameters
from gru_bench.run.build import ModelBuilder, Place, make_cell
from gru_bench.tasks.base import Task

AVERAGES = {"Adam": 2, "AdamW": 2, "RMSprop": 1, "Adagrad": 1}
"""Tensors of a parameter's size that an optimizer remembers, by the end of its class's name."""
OUTPUT_BYTES = {"float32": 4, "float64": 8, "bfloat16": 2}
SPLITS = 2
"""Validation and test."""


@dataclass(frozen=True)
class Part:
    """Bytes that a run needs at least for one thing, and the keys that set how many."""

    what: str
    nbytes: int
    keys: tuple[str, ...]


def check_data(task: Task, node: Node, settings: Settings, place: Place) -> None:
    """Before the data is there: refuse batches of a generator, and data held for evaluation, that cannot fit.

    Raises:
        UserError: They cannot; names the size and the keys.
    """
    if not task.generated:
        return
    examples = [value for key in ("num_eval", "num_train", "num_valid", "num_test") if (value := _number(node, key))]
    steps = task.trained_to or 1
    refuse(
        [
            Part("the evaluation data", SPLITS * steps * max(examples, default=0), ("task.num_eval", *_lengths(node))),
            _batch(node, settings, steps * (task.batch_size if task.endless else 1)),
        ],
        place,
    )


def check_model(task: Task, node: Node, settings: Settings, place: Place) -> None:
    """Once the data is there, and with it all sizes: refuse a model, or a step of training, that cannot fit.

    Raises:
        UserError: It cannot; names the size and the keys.
    """
    count = parameters(node, settings, task, place)
    averages = next((n for name, n in AVERAGES.items() if _optimizer(node).endswith(name)), 0)
    size = 8 if place.parameters is torch.float64 else 4
    refuse(
        [
            Part(
                "the model and its optimizer",
                size * count * (2 + averages),
                ("hidden_size", "num_layers", "model.embedding_size"),
            ),
            _batch(node, settings, tokens(task)),
        ],
        place,
    )


def check_steps(runs: int, task: Task, node: Node, settings: Settings, place: Place) -> None:
    """Before runs that differ in the seed alone train together: refuse so many batches at once, if they cannot fit.

    Raises:
        UserError: They cannot; names the size and the keys.
    """
    one = _batch(node, settings, tokens(task))
    refuse([Part(f"{runs} training batches at once", runs * one.nbytes, ("seeds_in_batch", *one.keys))], place)


def refuse(parts: list[Part], place: Place) -> None:
    """Refuse what cannot fit.

    Args:
        parts: What is needed at the same time.
        place: Where.

    Raises:
        UserError: More than there is.
    """
    needed, free = sum(part.nbytes for part in parts), room(place.device)
    if needed <= free:
        return
    alone = [part for part in parts if part.nbytes > free] or parts
    keys = ", ".join(dict.fromkeys(key for part in alone for key in part.keys))
    where = "this machine" if place.device.type == "cpu" else str(place.device)
    size, what = shown(sum(part.nbytes for part in alone)), " and ".join(part.what for part in alone)
    raise UserError(
        f"{keys}: at least {size} for {what}, and {where} has {shown(free)} of memory free; valid: smaller values"
    )


def tokens(task: Task) -> int:
    """Steps times sequences that the largest training batch has at least."""
    if task.endless:
        return (task.trained_to or 1) * task.batch_size
    rows = task.facts.get("train_rows")
    if isinstance(rows, int):
        return min(task.batch_size, rows)
    read = task.facts.get("train_tokens")
    seq_len = getattr(task, "seq_len", None)
    if isinstance(read, int) and isinstance(seq_len, int):  # running text: no batch is longer than the text
        return min(task.batch_size * seq_len, read)
    return 1


def parameters(node: Node, settings: Settings, task: Task, place: Place) -> int:
    """Trainable numbers of the model at the size asked for; of many layers from one and two of them."""
    layers = settings.num_layers

    def count(number: int) -> int:
        builder = ModelBuilder(node | {"num_layers": number}, task.sizes(), place)
        return num_parameters(builder.sketch(make_cell(node), settings.hidden_size))

    if layers <= SPLITS:
        return count(layers)
    one, two = count(1), count(2)
    return one + (layers - 1) * (two - one)


def shown(nbytes: int) -> str:
    """Bytes for people, in GiB, or TiB where they are many."""
    return f"{nbytes / 2**30:.1f} GiB" if nbytes < 2**40 else f"{nbytes / 2**40:,.1f} TiB"


def _batch(node: Node, settings: Settings, steps: int) -> Part:
    # and the gradient of one of them
    outputs = settings.hidden_size * (settings.num_layers + 1) if construct(node["budget"]).resizes is False else 1
    keys = ("task.batch_size", *_lengths(node), "hidden_size", "num_layers")
    return Part("one training batch", steps * outputs * OUTPUT_BYTES[settings.dtype], keys)


def _lengths(node: Node) -> tuple[str, ...]:
    return tuple(f"task.{key}" for key in ("lengths", "levels", "seq_len") if key in node["task"])


def _number(node: Node, key: str) -> int:
    value = node["task"].get(key)
    return value if isinstance(value, int) else 0


def _optimizer(node: Node) -> str:
    optimizer = node["trainer"].get("optimizer")
    return str(optimizer.get("_target_", "")) if isinstance(optimizer, dict) else ""
