"""Kept models that nobody trained, for tests of what is done with one."""

from pathlib import Path

import torch
from conftest import composed

from gru_bench.config.check import check, construct
from gru_bench.kept.write import write_kept
from gru_bench.run.build import ModelBuilder, Place, make_cell, make_task
from gru_bench.tasks.base import Task

TICKETS = [("the printer is on fire", "bad"), ("the mail came, thanks", "good"), ("my screen is black", "bad")]


def keep(folder: Path, *overrides: str, scale: float = 4.0) -> Task:
    """Write a model of that config, with values large enough that its answers differ; returns its loaded task."""
    _, node = check(composed("cell=gru", "hidden_size=8", *overrides))
    task = make_task(node)
    task.load()
    builder = ModelBuilder(node, task.sizes(), Place(torch.device("cpu"), torch.float32))
    model = builder.build(make_cell(node), construct(node["backend"]), 8, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    name = next(one.partition("=")[2] for one in overrides if one.startswith("task="))
    facts = {"task": name, "hidden_size": 8, "sizes": task.sizes()}
    write_kept(folder, model, node, facts, task.reader())
    return task


def tickets(path: Path, number: int = 120) -> Path:
    """A table of labeled texts."""
    rows = [TICKETS[i % 3] for i in range(number)]
    lines = [f'{i},"{text} w{i % 7}",{label}' for i, (text, label) in enumerate(rows)]
    path.write_text("\n".join(["id,text,label", *lines, ""]), encoding="utf-8")
    return path
