"""What the jobs of one worker share."""

import json
from pathlib import Path
from typing import Any

import pytest

from gru_bench.run import loaded
from gru_bench.tasks.generated.adding import Adding

NODE: dict[str, Any] = {
    "task": {
        "_target_": "gru_bench.tasks.generated.adding.Adding",
        "lengths": [4],
        "beyond": [6],
        "num_eval": 8,
        "batch_size": 4,
        "goal": {"_target_": "gru_bench.tasks.base.Goal", "margin": 0.01, "beats_trivial_by": 0.1, "ceiling": 0.001},
    },
    "data": {},
}


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "_kept", [])


def with_task(**options: Any) -> dict[str, Any]:
    return NODE | {"task": NODE["task"] | options}


def test_generated_data_is_made_once_for_jobs_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Adding] = []
    load = Adding.load

    def counted(task: Adding) -> None:
        made.append(task)
        load(task)

    monkeypatch.setattr(Adding, "load", counted)
    first = loaded.task_of(NODE)
    loaded.load(first, NODE)
    second = loaded.task_of(json.loads(json.dumps(NODE)))
    loaded.load(second, NODE)
    assert second is first
    assert made == [first]
    assert loaded.known(second) is loaded.known(first)


@pytest.mark.parametrize("options", [{"num_eval": 9}, {"batch_size": 5}, {"beyond": []}])
def test_another_config_is_another_task(options: dict[str, Any]) -> None:
    first = loaded.task_of(NODE)
    loaded.load(first, NODE)
    other = with_task(**options)
    second = loaded.task_of(other)
    loaded.load(second, other)
    assert second is not first
    assert loaded.task_of(NODE) is first  # a sweep's tasks take turns
    assert loaded.task_of(other) is second


def test_the_oldest_of_many_tasks_is_let_go() -> None:
    first = loaded.task_of(NODE)
    loaded.load(first, NODE)
    for number in range(loaded.MOST_KEPT):
        node = with_task(num_eval=9 + number)
        loaded.load(loaded.task_of(node), node)
    assert loaded.task_of(NODE) is not first
    assert loaded.task_of(node) is loaded.task_of(node)


def test_data_from_files_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.mkdir()
    for split in ("train", "validation", "test"):
        (path / f"{split}.txt").write_text("a b a b a b\n" * 40)
    node = {
        "task": {
            "_target_": "gru_bench.tasks.text.language_modeling.LanguageModeling",
            "level": "char",
            "tokenizer": "auto",
            "seq_len": 4,
            "max_vocab_size": None,
            "min_count": 1,
            "max_train_tokens": None,
            "max_eval_tokens": None,
            "batch_size": 2,
            "goal": NODE["task"]["goal"],
        },
        "data": {
            "_target_": "gru_bench.data.text.Text",
            "path": str(path),
            "name": None,
            "text": None,
            "revision": None,
            "fraction": 1.0,
        },
    }
    first = loaded.task_of(node)
    loaded.load(first, node)
    assert loaded.task_of(node) is not first


def test_known_is_what_the_task_says() -> None:
    task = loaded.task_of(NODE)
    loaded.load(task, NODE)
    found = loaded.known(task)
    assert found.fingerprint == task.fingerprint()
    assert found.trivial == task.trivial()
    assert [part.slice_value for part in found.trivial_slices] == ["4", "6"]


def test_runs_that_are_open_at_once_share_the_data_of_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adding, "generated", False)
    with loaded.kept():
        first = loaded.task_of(NODE)
        loaded.load(first, NODE)
        assert loaded.task_of(NODE) is first
    assert loaded.task_of(NODE) is not first  # files may have changed since
