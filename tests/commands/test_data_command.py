"""``gru-bench data``: what it says of rows with known answers, of every task, and what it leaves in the store."""

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import CONF, Command
from made_tasks import loaded
from runs import URI, stored

from gru_bench.baselines import bag_of_words
from gru_bench.commands import data_text
from gru_bench.store.read import read
from gru_bench.store.schema import BASELINE_COLUMNS

pytestmark = pytest.mark.usefixtures("own_caches")

TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
SLOW = pytest.mark.slow
ONE_OF_EACH = {"adding", "anbn", "copy_memory", "delayed_recall", "multi30k_de", "sst2", "tiny_shakespeare", "ud_pos"}
"""Of each objective a task; all others take as long again, several times."""
QUEUES = ("bill", "tech\x1b[2J", "ship")


def tickets(file: Path, count: int = 120) -> Path:
    """Rows whose queue a word tells; the last row repeats the first, and one has no label."""
    rows = [
        {"body": f'"{i}" about\n{("money", "screen", "parcel")[i % 3]} 🙂, thanks', "queue": QUEUES[i % 3]}
        for i in range(count)
    ]
    rows += [rows[0], {"body": "nobody knows", "queue": ""}]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, ["body", "queue"])
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.fixture
def own_data(tmp_path: Path) -> list[str]:
    return [f"data.path={tickets(tmp_path / 'tickets.csv')}", "data.text=body", "data.label=queue"]


def test_it_says_what_the_rows_are_and_measures_the_baseline_once(
    gru_bench: Command, own_data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gru_bench("data", "task=text_classification", *own_data) == 0
    said = capsys.readouterr().out
    lines = {line.split("  ")[0]: line.split() for line in said.splitlines()}
    assert sum(map(int, lines["rows"][1:])) == 121
    assert lines["unlabeled"][1:] == ["1", "-", "-"]
    assert sum(map(int, lines["bill"][1:4])) == 41
    assert "3 classes" in said
    assert sum(map(int, lines["repeat another row of the split"][-3:])) == 1
    assert "tech\\x1b[2J" in said  # no escape of a terminal gets out
    assert "\x1b" not in said
    assert "carved from train" in said
    assert lines["accuracy (share of texts, higher is better)"][-1] == "1.0000"
    assert said.splitlines()[-1].endswith("beats a bag of words: accuracy 1.0000 on the test rows.")

    assert gru_bench("data", "task=text_classification", *own_data) == 0
    again = capsys.readouterr().out
    assert "bag of words, measured before" in again
    assert again.splitlines()[-6:] == said.splitlines()[-6:]
    assert gru_bench("data", "task=text_classification", *own_data, "again=true") == 0
    assert "measured before" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_of_runs_on_the_same_rows_has_it(gru_bench: Command, own_data: list[str]) -> None:
    run = ["task=text_classification", *own_data]
    tiny = ["hidden_size=4", "threads=1", "trainer.max_epochs=1"]
    assert gru_bench("train", *run, *tiny) == 0
    assert stored().baselines.empty
    assert gru_bench("data", *run) == 0
    assert gru_bench("data", *run, "task.class_weights=balanced") == 0
    assert gru_bench("data", *run, "data.valid_share=0.2") == 0  # other rows
    found = stored()
    assert list(found.baselines.columns) == list(BASELINE_COLUMNS)
    assert len(found.runs) == 1
    assert set(found.baselines["data_fingerprint"]) == set(found.runs["data_fingerprint"])
    assert set(found.baselines["class_weights"]) == {"", "balanced"}
    for run_id in found.baselines["run_id"].unique():
        examples = found.examples(run_id)
        assert examples is not None
        rows = found.baselines[(found.baselines["run_id"] == run_id) & (found.baselines["split"] == "test")]
        score = rows.set_index("metric")["value"]["accuracy"]
        assert float(np.mean(examples["correct"])) == score == 1
    confusions = found.confusions(found.runs["run_id"][0])
    assert confusions is not None
    assert set(confusions["label"]) <= set(QUEUES)
    assert int(confusions["count"].sum()) == len(found.examples(found.runs["run_id"][0])["label"])  # type: ignore[index]
    assert read(URI).runs.equals(found.runs)  # a baseline is later, and no run of any report

    assert gru_bench("report", "experiment=adhoc", "output=rep") == 0
    report = Path("rep", "report.md").read_text(encoding="utf-8")
    verdict = report.split("## ")[1]
    assert verdict.startswith("Verdict\n\n**On text_classification no cell is ")
    assert "**On text_classification no cell is shown to beat a bag of words" in verdict
    assert "beats a bag of words" in verdict
    details = Path("rep", "details.md").read_text(encoding="utf-8")
    assert "| bag of words" in details
    assert "## Classes" in details


def test_without_a_baseline_nothing_is_written(
    gru_bench: Command, own_data: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = tmp_path / "none.db"
    uri = f"tracking.uri=sqlite:///{store}"
    assert gru_bench("data", "task=text_classification", *own_data, "baseline=false", uri) == 0
    assert "trivial guess" in capsys.readouterr().out
    assert gru_bench("data", "task=parity", uri) == 0  # no bag of words for it
    assert not store.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data.path=nowhere.csv"], "data.path=nowhere.csv"),
        (["baseline=perhaps"], "baseline='perhaps': must be a valid boolean"),
        (["hidden=3"], "hidden"),
        (["task=nothing"], "nothing"),
        (["~task"], "task"),
        (["~task._target_"], "task: its yaml has no _target_"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gru_bench("data", *arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("gru-bench data: ")
    assert says in err
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize("name", [name if name in ONE_OF_EACH else pytest.param(name, marks=SLOW) for name in TASKS])
@pytest.mark.usefixtures("hydra_conf", "unknown_words_allowed")
def test_every_task_can_be_described(name: str, tmp_path: Path) -> None:
    task, _ = loaded(name, tmp_path, small=True)
    task.load()
    lines = data_text.about(task, name)
    assert lines[0].startswith(f"task {name}: ")
    assert task.fingerprint() in lines[1]
    assert any(line.split()[:3] == ["train", "valid", "test"] for line in lines)
    assert all(line.isprintable() for line in lines)
    trivial = task.trivial()
    told = data_text.scores(task, trivial, None, None)
    assert f"{trivial[task.primary]:.4f}" in "\n".join(told)
    assert told[-1].startswith("A recurrent network is worth its training where it beats")
    worse = {task.primary: trivial[task.primary] - (1 if task.primary_metric.higher_is_better else -1)}
    assert "beats the trivial guess: " in data_text.scores(task, trivial, worse, worse)[-1] or any(
        fact.startswith(data_text.WORD_TAG) for fact in task.facts
    )
    if bag_of_words.serves(task):
        found = bag_of_words.fit(task)  # type: ignore[arg-type]
        assert found is not None
        assert set(found.test) == {metric.name for metric in task.metrics}
