"""A kept model again, from its run or its folder, without the data that it was trained on."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gru_bench.config.check import Node, check_node, construct
from gru_bench.config.kinds import check_kind
from gru_bench.errors import UserError
from gru_bench.kept.folder import CONFIG_FILE, FACTS_FILE, READER_FILE, WEIGHTS_FILE
from gru_bench.kept.weights import Shapes, fill, shapes_of, unfit
from gru_bench.run import build
from gru_bench.run.rebuild import WHOLE, is_count, read_config, refuse_foreign
from gru_bench.tasks.reader import Reader
from gru_bench.training.trainer import autocast

RUN_ID = re.compile(r"[0-9a-f]{32}")
PARTS = ("cell", "backend", "budget", "model")
"""Nodes of a config of which a model is built."""


@dataclass(frozen=True)
class Kept:
    """A trained model that can be used.

    Attributes:
        module: In evaluation mode.
        reader: What reads new input for it; None where a generator drew its data.
        config: The run's resolved config.
        facts: What the config does not say: ``run_id``, ``task``, ``cell``, ``backend``, ``hidden_size``,
            ``num_parameters``, ``seed``, ``sizes``, ``data_fingerprint``, ``metric``, ``valid_score``, and as ``kept``
            whether it has the weights of the ``best`` validation step or of the ``last`` step.
        place: Where it runs, and in which floating type.
    """

    module: nn.Module
    reader: Reader | None
    config: Node
    facts: dict[str, Any]
    place: build.Place

    def predict(self, rows: Sequence[Mapping[str, Any]], batch_size: int = 32) -> list[dict[str, Any]]:
        """The model's answer to each row, in their order; see :meth:`gru_bench.tasks.reader.Reader.predict`.

        Args:
            rows: By role, such as ``{"text": "..."}``.
            batch_size: Rows at once.

        Raises:
            UserError: The task has nothing that reads new input, or a row does not fit.
        """
        if self.reader is None:
            task = self.facts.get("task", "its task")
            raise UserError(f"{task}: a generator drew its data, so there are no rows to predict for; call .module")
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        with torch.no_grad(), autocast(self.place.device, self.place.autocast):
            return self.reader.predict(self.module, rows, batch_size=batch_size)


def load(source: str | Path, /, *, device: str = "cpu", tracking_uri: str | None = None) -> Kept:
    """Load a model that a run has kept.

    Args:
        source: A run's id, or a folder that holds the files of :mod:`gru_bench.kept.folder`.
        device: Where it is to run: ``cpu``, ``cuda``, ``cuda:1``.
        tracking_uri: The store of the run; None is ``mlflow.db`` in the working folder.

    Raises:
        UserError: No such run or folder, a run without weights, a file that is cut or another model's, a config that
            names what is no part of an experiment, or a device that is not here.
    """
    with ExitStack() as open_:
        folder = Path(source)
        if RUN_ID.fullmatch(str(source)) and not folder.exists():
            from gru_bench.store.add import finished_run, kept_folder
            from gru_bench.store.connect import absolute_uri
            from gru_bench.store.source import open_source

            store = open_source(absolute_uri(tracking_uri))
            folder = open_.enter_context(kept_folder(store, finished_run(store, str(source))))
            kept = load_folder(folder, device=device)
            kept.facts["run_id"] = str(source)  # where the store was away at the end, it was not yet known
            return kept
        return load_folder(folder, device=device)


def load_folder(folder: Path, *, device: str = "cpu") -> Kept:
    """Load a model from its folder.

    Raises:
        UserError: As in :func:`load`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: neither a folder nor the id of a run (32 digits and letters a to f)")
    for name in (WEIGHTS_FILE, CONFIG_FILE, FACTS_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: has no {name}; valid: the folder of a kept model")
    node = read_config(folder / CONFIG_FILE)
    facts = read_json(folder / FACTS_FILE)
    reader = None
    if (folder / READER_FILE).is_file():
        from gru_bench.tasks.reading import read_reader

        reader = read_reader(read_json(folder / READER_FILE))
    sizes, hidden_size = facts.get("sizes"), facts.get("hidden_size")
    if not isinstance(sizes, dict) or not all(map(is_count, (hidden_size, *sizes.values()))):
        raise UserError(f"{FACTS_FILE}: lacks sizes or hidden_size; {WHOLE}")
    assert isinstance(hidden_size, int)
    if reader is not None and reader.sizes() != sizes:
        raise UserError(f"{READER_FILE}: belongs to another model: it has {reader.sizes()}, the model {sizes}")
    place = build.place_of(device, str(node.get("dtype")))
    shapes = shapes_of(folder / WEIGHTS_FILE)
    module = built(node, sizes, hidden_size, place, shapes)
    fill(module, folder / WEIGHTS_FILE)
    return Kept(module.eval(), reader, node, facts, place)


def built(node: Node, sizes: dict[str, int], hidden_size: int, place: build.Place, shapes: Shapes) -> nn.Module:
    """The model of a config, with values that are to be replaced; torch's own random state stays as it was.

    It is drawn up without memory first: one that is not that of the weights is not made, whatever it would take.

    Args:
        node: The config.
        sizes: As ``Task.sizes()``.
        hidden_size: Of its layers.
        place: Where it is to run.
        shapes: Of the weights that it is to get.

    Raises:
        UserError: The config does not fit this version or the weights, or names what is no part of an experiment.
    """
    for name in PARTS:
        refuse_foreign(node.get(name), f"{CONFIG_FILE}.{name}")
        if not isinstance(node.get(name), dict) or "_target_" not in node[name]:
            raise UserError(f"{CONFIG_FILE}: lacks {name}; {WHOLE}")
        check_node(node[name], name)
        check_kind(node[name], name)
    numbers = sum(math.prod(shape) for shape in shapes.values())
    if node["num_layers"] > len(shapes) or hidden_size > numbers or any(size > numbers for size in sizes.values()):
        raise unfit()
    cell, backend = build.make_cell(node), construct(node["backend"])
    build.check_backend(cell, backend, place)
    builder = build.ModelBuilder(node, sizes, place)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            planned = builder.sketch(cell, hidden_size)
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"{FACTS_FILE}: its sizes lack {error}; or they are another model's") from error
        except Exception as error:  # nothing of it ran on data: the files are not those of one model
            raise UserError(f"{CONFIG_FILE}: no model can be made of it ({type(error).__name__}); {WHOLE}") from error
        state = planned.state_dict()
        if any(name in state and tuple(state[name].shape) != shape for name, shape in shapes.items()):
            raise unfit()
        return builder.build(cell, backend, hidden_size, seed=0)


def read_json(path: Path) -> dict[str, Any]:
    """A mapping from a file.

    Raises:
        UserError: It is cut, or something else.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name}: cannot be read; {WHOLE}") from error
    if not isinstance(known, dict):
        raise UserError(f"{path.name}: holds no mapping; {WHOLE}")
    return known
