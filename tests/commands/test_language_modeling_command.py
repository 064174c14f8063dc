"""Language modeling from the command line, on text of one's own, and the recipe of an experiment."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, Command
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gru_bench.config.check import check, construct
from gru_bench.run import build
from gru_bench.store import read as results
from gru_bench.training.schedules import Decay

pytestmark = pytest.mark.usefixtures("own_caches")


ZAREMBA = [("lstm", 4_651_600, 1.0), ("gru", 4_491_600, 0.25), ("rnn", 4_170_400, 0.25)]


@pytest.mark.parametrize(("cell", "parameters", "rate"), ZAREMBA)
def test_zaremba_small_has_the_parameters_of_the_paper(tmp_path: Path, cell: str, parameters: int, rate: float) -> None:
    words = [f"w{i}" for i in range(9_998)] + ["<unk>"]  # with <eos> 10,000
    for split in ("train", "validation", "test"):
        rows = [f" {' '.join(words[i : i + 30])} " for i in range(0, len(words), 30)]
        pd.DataFrame({"sentence": rows}).to_parquet(tmp_path / f"{split}.parquet")
    data = [f"data.path={tmp_path}", "data.name=null", "data.revision=null"]
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        settings, node = check(compose("train", overrides=["experiment=zaremba_small", f"cell={cell}", *data]))
    task = build.make_task(node)
    task.load()
    assert task.sizes() == {"vocab_size": 10_000}
    builder = build.ModelBuilder(node, task.sizes(), build.make_place(settings))
    assert builder.count(build.make_cell(node), settings.hidden_size) == parameters
    trainer = construct(node["trainer"])
    # the published rate, the LSTM's, is 1.0 on the sum over 20 steps; here the loss is their mean
    assert trainer.learning_rate / 20 == rate
    assert trainer.schedule == Decay(factor=0.5, after=4)
    assert trainer.clip_norm * 20 == 5


@pytest.fixture
def gru_bench(gru_bench: Command) -> Command:
    """This task, small."""
    return lambda *arguments: gru_bench("train", "task=language_modeling", *arguments)


LINES = [f"the {color} {animal} sees line {i}" for i in range(40) for color, animal in [("red", "cat"), ("old", "dog")]]


def write_text(kind: str) -> list[str]:
    if kind == "csv":
        pd.DataFrame({"review": LINES, "stars": range(len(LINES))}).to_csv("reviews.csv", index=False)
        return ["data.path=reviews.csv", "data.text=review"]
    Path("books").mkdir()
    for name, part in (("one.txt", LINES[:30]), ("two.txt", LINES[30:])):
        Path("books", name).write_text("".join(f"{line}\n" for line in part))
    return ["data.path=books" if kind == "folder" else "data.path=books/two.txt"]


@pytest.mark.parametrize(("kind", "num_lines"), [("csv", 80), ("txt", 50), ("folder", 80)])
def test_own_text(gru_bench: Command, capsys: pytest.CaptureFixture[str], kind: str, num_lines: int) -> None:
    data = write_text(kind)
    small = ["hidden_size=8", "model.embedding_size=8", "task.batch_size=4", "threads=1", "trainer.max_steps=3"]
    assert gru_bench(*data, *small) == 0
    captured = capsys.readouterr()
    assert "carved from train by a fixed hash" in captured.err
    assert "test perplexity" in captured.out
    (run,) = results.read("sqlite:///mlflow.db", experiment="adhoc").runs.to_dict("records")
    assert run["data_source"].startswith("files:")
    facts = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml"))).facts
    assert facts.train_lines + facts.valid_lines + facts.test_lines == num_lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.path=nothing.csv"], "data.path=nothing.csv: no such folder or file"),
        (["data.path=reviews.csv", "data.text=text"], "data.text=text is no column of text. Text is in: review"),
        (["data.path=reviews.csv", "data.text=stars"], "data.text=stars is no column of text. Text is in: review"),
        (["data.path=reviews.csv", "task.batch_size=5000"], "tokens, too few for task.batch_size=5000"),
        (["data.text=review"], "data.name, data.text and data.revision choose within data.path, and that is null"),
    ],
)
def test_bad_input_is_one_line(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    write_text("csv")
    assert gru_bench(*options) == 2
    captured = capsys.readouterr().err
    assert message in captured
    assert len(captured.strip().splitlines()) == 1
