"""Every task on disk keeps the contract of ``tasks/base.py``, on its own data or on a small folder in its columns."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import composed, yaml_names
from made_tasks import loaded

from gru_bench.backends.vendor import Vendor
from gru_bench.config.check import check
from gru_bench.run.build import ModelBuilder, Place, make_cell, make_task
from gru_bench.tasks.base import Scores, Split, Task
from gru_bench.tasks.text.text_classification import TextClassification

pytestmark = pytest.mark.usefixtures("own_caches")

NAMES = yaml_names("task")


def scored(task: Task, node: Any, split: Split) -> Scores:
    builder = ModelBuilder(node, task.sizes(), Place(torch.device("cpu"), torch.float32))
    model = builder.build(make_cell(node), Vendor(), 8, seed=0).eval()
    with torch.no_grad():
        return task.score(model, split)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("hydra_conf")
def test_a_task_keeps_its_contract(name: str, tmp_path: Path) -> None:
    task, node = loaded(name, tmp_path)
    scores = scored(task, node, "test")
    names = {metric.name for metric in task.metrics}
    assert {"loss", task.primary} <= set(scores.metrics) == names
    assert set(task.trivial()) == names
    # a reader of a part's score sees what a guess scores there: no part has none, and there is none without a part
    parts = [(part.metric, part.slice, part.slice_value, part.n) for part in scores.slices]
    guessed = task.trivial_slices()
    assert sorted(parts) == sorted((part.metric, part.slice, part.slice_value, part.n) for part in guessed)
    assert len({part[:3] for part in parts}) == len(parts)
    assert {part[0] for part in parts} <= names
    assert all(part[3] > 0 for part in parts)
    assert len({len(column) for column in scores.examples.values()}) == 1
    assert len({len(column) for column in scores.samples.values()}) <= 1
    assert scores == scored(task, node, "test"), "the order of evaluation is not fixed"


MOST_CONSTANTS = 4
"""Answers of the constant models that are tried on each task."""


def constants(task: Task, node: Any) -> list[float]:
    """What models score on the test split, in the primary metric, that give one answer whatever they read."""
    builder = ModelBuilder(node, task.sizes(), Place(torch.device("cpu"), torch.float32))
    model = builder.build(make_cell(node), Vendor(), 2, seed=0).eval()
    for parameter in model.parameters():
        parameter.data.zero_()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.bias is not None]
    bias, scores = layers[-1].bias.data, []  # of the output layer
    for answer in range(min(len(bias), MOST_CONSTANTS)):
        bias.zero_()
        bias[answer] = 1.0
        with torch.no_grad():
            scores.append(task.score(model, "test").metrics[task.primary])
    return scores


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("hydra_conf")
def test_no_constant_answer_beats_the_trivial_guess(name: str, tmp_path: Path) -> None:
    """Else a cell that answers like a coin, and has learned nothing, would beat the guess."""
    task, node = loaded(name, tmp_path, small=True)
    sign = 1 if task.primary_metric.higher_is_better else -1
    assert max(sign * score for score in constants(task, node)) <= sign * task.trivial()[task.primary] + 1e-6


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize("name", ["parity", "sst2", "event_order"])
def test_the_best_constant_answer_is_the_trivial_guess(name: str, tmp_path: Path) -> None:
    task, node = loaded(name, tmp_path, small=True)
    assert max(constants(task, node)) == pytest.approx(task.trivial()["accuracy"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("hydra_conf")
def test_the_training_stream_is_the_seeds_alone(name: str, tmp_path: Path) -> None:
    task, node = loaded(name, tmp_path)

    def stream(seed: int) -> list[torch.Tensor]:
        batches = task.batches("train", torch.Generator().manual_seed(seed))
        return [batch.inputs for batch, _ in zip(batches, range(5), strict=False)]

    first, again = stream(0), stream(0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    if not hasattr(task, "level"):  # running text is read in its own order
        others = stream(1)
        assert not all(one.equal(other) for one, other in zip(first, others, strict=True))
    builder = ModelBuilder(node, task.sizes(), Place(torch.device("cpu"), torch.float32))
    model = builder.build(make_cell(node), Vendor(), 8, seed=0)
    loss, counts, _ = task.loss(model, next(iter(task.batches("train", torch.Generator().manual_seed(0)))), None)
    assert loss.ndim == 0
    assert loss.isfinite()
    assert counts.tokens > 0 < counts.examples


@pytest.mark.parametrize("name", ["sst2", "trec", "rotten_tomatoes"])
@pytest.mark.usefixtures("hydra_conf")
def test_prepared_data_takes_little_memory(shared_data: Path, name: str) -> None:
    _, node = check(composed(f"task={name}", f"data.path={shared_data / name}"))
    loaded = make_task(node)
    assert isinstance(loaded, TextClassification)
    loaded.load()
    ids = sum(texts.values.nbytes for texts in loaded.texts.values())
    assert loaded.prepared.num_bytes <= 1.5 * ids
    assert loaded.facts["padding_share"] < 0.12


@pytest.mark.usefixtures("hydra_conf")
def test_sst2_as_the_hub_has_it_tests_on_its_validation_sentences(tmp_path: Path) -> None:
    for split, count, start, label in (("train", 90, 0, 0), ("validation", 12, 100, 0), ("test", 9, 200, None)):
        rows = [{"sentence": f"film {i} was w{i % 7} w{i % 7}", "label": -1 if label is None else i % 2}
                for i in range(start, start + count)]  # fmt: skip
        pd.DataFrame(rows).to_parquet(tmp_path / f"{split}.parquet", index=False)
    _, node = check(composed("task=sst2", f"data.path={tmp_path}"))
    task = make_task(node)
    task.load()
    assert (task.facts["test_rows"], task.facts["valid_rows"], task.facts["train_rows"]) == (12, 9, 81)
    assert isinstance(task, TextClassification)
    assert task.texts["test"][0].tolist()[1] == task.vocabulary.unk  # film 100, which no training row has
