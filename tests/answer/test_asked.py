"""What a call asks: its own keys, those of training, and the yaml that asks the same."""

from pathlib import Path

import pytest
from conftest import CONF
from hydra import compose, initialize_config_dir

from gru_bench.answer.asked import ask, experiment_yaml, name_of
from gru_bench.answer.record import Chosen, Record, folder_of, read, write
from gru_bench.answer.sizing import LADDER
from gru_bench.errors import UserError

QUESTION = ["task=text_classification", "data.path=my tickets.csv", "data.text='a b'", "+data.more=[1,2]"]


def test_own_keys_are_taken_out() -> None:
    asked = ask([], ["max_hours=2", *QUESTION, "cells=[gru,lstm,rnn]", "tracking.uri=sqlite:///a.db", "run_timeout=60"])
    assert asked.keys.cells == ["gru", "lstm", "rnn"]
    assert (asked.keys.max_hours, asked.keys.workers, asked.keys.name) == (2, "auto", None)
    assert asked.question == QUESTION
    assert asked.carried == ["tracking.uri=sqlite:///a.db", "run_timeout=60"]
    assert asked.tracking == ["tracking.uri=sqlite:///a.db"]
    assert [asked.gives(key) for key in ("data.more", "task", "data")] == [True, True, False]
    assert ask([], ["cells=lstm,gru"]).keys.cells == ["lstm", "gru"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("cells=[gru,rnn]", "without lstm"),
        ("cells=[gru,lstm,gru]", "one of them twice"),
        ("cells=3", "cells=3: must be"),
        ("max_hours=0", "max_hours=0: must be greater than 0"),
        ("max_hours=soon", "max_hours='soon': must be"),
        ("max_seeds=4", "max_seeds=4: must be greater than or equal to 5"),
        ("workers=0", "workers=0: must be"),
        ("name=../x", "name=../x: must be letters"),
        ("name=3", "name=3: must be"),
        ("cell=gru", "cell=gru: gru-bench answer sets it itself; valid: cells="),
        ("seed=0,1", "seed=0,1: gru-bench answer sets it itself"),
        ("until=decided", "sets it itself"),
        ("only=all", "sets it itself"),
        ("experiment=quick", "valid: name=NAME"),
        ("hydra.sweeper.seeds=3", "sets it itself"),
        ("hydra/launcher=workers", "valid: workers=NUMBER"),
        ("~model.dropout", "deletes a key"),
    ],
)
def test_refused(argument: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        ask([], [argument])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_several_values_are_several_questions() -> None:
    with pytest.raises(UserError, match="hidden_size=8,16: several values are several questions; valid: one"):
        experiment_yaml(["hidden_size=8,16"], {}, {}, "")


def test_the_yaml_composes_to_what_was_asked(tmp_path: Path) -> None:
    """Groups, keys in quotes, new keys; and what is fixed besides."""
    more = {"trainer": {"learning_rate": {"lstm": 0.5, "gru": 0.25}}, "hydra": {"sweeper": {"seeds": 5}}}
    question = [*QUESTION, "stopping=never", "trainer.max_epochs=3", "task.goal.margin=0.02", "probe=[gates]"]
    text = experiment_yaml(question, {"backend": "bptt"}, more, "what it is")
    assert text.splitlines()[:2] == ["# @package _global_", "# what it is"]
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"]
        config = compose("train", overrides=overrides, return_hydra_config=True)
    assert config.hydra.runtime.choices.task == "text_classification"
    assert config.hydra.runtime.choices.backend == "bptt"
    assert (config.data.path, config.data.text, list(config.data.more)) == ("my tickets.csv", "a b", [1, 2])
    assert (config.trainer.max_epochs, config.task.goal.margin) == (3, 0.02)
    assert config.trainer.learning_rate.gru == 0.25
    assert config.trainer.stopping._target_.endswith(".Never")
    assert "gates" in config.probes


def test_names() -> None:
    assert name_of("trec", None, "1a2b3c4d") == "answer_trec_1a2b3c4d"
    assert name_of("text_classification", "/data/My tickets (new).csv.gz", "1a") == "answer_my_tickets_new_1a"
    assert name_of("text_classification", "数据.csv", "1a") == "answer_text_classification_1a"
    one, other = (ask([], question) for question in (QUESTION, QUESTION[::-1]))
    assert one.id("files:1") == other.id("files:1") != one.id("files:2")


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    chosen = {"gru": Chosen(0.004, [0.5, None, 0.75], "ab"), "lstm": Chosen(None, [None] * 3, "cd")}
    record = Record("mine", QUESTION, "files:1", "bptt", {"gru": [1, 2, 3]}, 2, LADDER[2], [1, 2, 3], [100], chosen)
    write(tmp_path, record, "text")
    assert read(tmp_path) == record
    assert (tmp_path / "experiment" / "mine.yaml").read_text() == "text"
    assert record.with_trials([1, 2, 3], [100]).chosen == chosen
    assert record.with_trials([1, 2, 3], [100, 101]).chosen == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', '{"version": 1, "size": null, "chosen": {}}'])
def test_what_cannot_be_used_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert read(tmp_path) is None
    assert read(tmp_path / "missing") is None


def test_each_store_has_its_own() -> None:
    assert folder_of("sqlite:///a.db", "mine") != folder_of("sqlite:///b.db", "mine")
