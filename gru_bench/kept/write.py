"""What is kept of a trained model, written as a folder."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from gru_bench.config.check import Node
from gru_bench.kept.folder import CONFIG_FILE, FACTS_FILE, READER_FILE, WEIGHTS_FILE
from gru_bench.kept.weights import State, save_weights
from gru_bench.store.private import clean
from gru_bench.tasks.reader import Reader

ELSEWHERE = ("hydra", "tracking")
"""Parts of a config that say nothing about the model."""


def write_kept(
    folder: Path, model: nn.Module | State, node: Node, facts: Mapping[str, Any], reader: Reader | None
) -> None:
    """Write a kept model, in place of what was there. A process that dies leaves the old folder, or none.

    Args:
        folder: Where; its parent exists.
        model: The model, or its ``state_dict``.
        node: The run's resolved config; secrets and private folders are left out.
        facts: What :data:`~gru_bench.kept.folder.FACTS_FILE` is to hold.
        reader: What reads new input for it; None where the task has none.

    Raises:
        OSError: The folder cannot be written.
    """
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}"))
    try:
        new = beside / "new"
        new.mkdir()  # with the usual rights, which a temporary folder does not have
        write_files(new, model, node, facts, reader)
        if folder.exists():
            folder.rename(beside / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_files(
    folder: Path, model: nn.Module | State, node: Node, facts: Mapping[str, Any], reader: Reader | None
) -> None:
    """The files of :func:`write_kept`, into a folder that exists."""
    save_weights(folder / WEIGHTS_FILE, model.state_dict() if isinstance(model, nn.Module) else model)
    config = clean({key: value for key, value in node.items() if key not in ELSEWHERE})
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / FACTS_FILE).write_text(json.dumps(dict(facts), indent=1) + "\n", encoding="utf-8")
    if reader is not None:
        known = {"kind": reader.kind, **reader.as_json()}
        (folder / READER_FILE).write_text(json.dumps(known, ensure_ascii=False) + "\n", encoding="utf-8")
