"""``gru-bench train`` for real: runs, sweeps, failures, exit codes, and what the store then holds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command, yaml_names

from gru_bench.commands import cli
from gru_bench.errors import UserError
from gru_bench.measure import parity
from gru_bench.run import record
from gru_bench.store import read as results
from gru_bench.store.read import Results

TINY = [
    "task=adding",
    "task.lengths=[5]",
    "task.beyond=[]",
    "task.num_eval=16",
    "task.batch_size=8",
    "hidden_size=6",
    "threads=1",
]
STEPS = ["trainer.max_steps=6", "trainer.eval_every=3"]
URI = "sqlite:///mlflow.db"


def stored(experiment: str = "adhoc") -> Results:
    return results.read(URI, experiment=experiment)


def test_one_run_records_everything(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "cell=lstm", "seed=3", *TINY, *STEPS) == 0
    assert "test mse" in capsys.readouterr().out
    found = stored()
    (run,) = found.runs.to_dict("records")
    expected = {
        "status": "finished",
        "cell": "lstm",
        "family": "lstm",
        "backend": "loop",
        "kernel": "Python loop",
        "task": "adding",
        "seed": 3,
        "hidden_size_asked": 6,
        "hidden_size": 6,
        "num_layers": 1,
        "num_parameters": 4 * 6 * (2 + 6 + 1) + 6 + 1,
        "budget": "hidden",
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 8,
        "learning_rate": 0.008,
        "primary_metric": "mse",
        "generated": True,
    }
    assert {key: run[key] for key in expected} == expected
    for column in ("config_key", "group_key", "machine", "data_source", "data_fingerprint", "env_torch"):
        assert run[column], column
    values = found.values.set_index(["split", "metric", "slice", "slice_value"])["value"]
    for key in (
        ("test", "mse", "", ""),
        ("test", "mse", "length", "5"),
        ("test", "trivial_mse", "", ""),
        ("valid", "mse", "", ""),
        ("speed", "train_tokens_per_s", "", ""),
        ("speed", "wall_s", "", ""),
        ("memory", "peak_tensor_mib", "", ""),
    ):
        assert values[key] > 0, key
    assert values[("train", "steps", "", "")] == 6
    curves = found.curves.groupby("metric")["step"].apply(list).to_dict()
    assert curves == {"train/loss": [3, 6], "valid/mse": [3, 6], "valid/loss": [3, 6]}
    examples = list(Path("mlartifacts").rglob("test_examples.parquet"))
    assert len(pd.read_parquet(examples[0])) == 16
    config = next(Path("mlartifacts").rglob("config.yaml")).read_text()
    assert "hidden_size: 6" in config
    assert not list(Path().glob("outputs"))


def test_nothing_personal_is_recorded(gru_bench: Command) -> None:
    import getpass
    import socket

    assert gru_bench("train", *TINY, *STEPS) == 0
    text = stored().runs.to_csv()
    for path in Path("mlartifacts").rglob("*"):
        if path.suffix in (".yaml", ".txt", ".json"):
            text += path.read_text()
    assert socket.gethostname() not in text
    if getpass.getuser() != "root":  # a word of three letters or more would be found by chance
        assert getpass.getuser() not in text


def test_the_same_seed_gives_the_same_bits_and_another_does_not(gru_bench: Command) -> None:
    for uri in ("sqlite:///one.db", "sqlite:///two.db"):
        assert gru_bench("train", f"tracking.uri={uri}", *TINY, *STEPS) == 0
    assert gru_bench("train", "tracking.uri=sqlite:///three.db", "seed=1", *TINY, *STEPS) == 0

    def score(uri: str) -> float:
        values = results.read(uri, experiment="adhoc").values
        return values.query("split == 'test' and metric == 'mse' and slice == ''")["value"].item()

    one, two, three = (score(f"sqlite:///{name}.db") for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_a_sweep_has_a_parent_and_a_row_for_each_job(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "-m", "cell=rnn,gru_article", "seed=0,1", *TINY, *STEPS) == 0
    assert "4 finished" in capsys.readouterr().out
    runs = stored().runs
    assert len(runs) == 4
    assert runs["sweep"].nunique() == 1
    assert set(zip(runs["cell"], runs["seed"], strict=True)) == {
        ("rnn", 0), ("rnn", 1), ("gru_article", 0), ("gru_article", 1),
    }  # fmt: skip
    assert runs["group_key"].nunique() == 2
    assert runs["data_fingerprint"].nunique() == 1


def test_what_a_backend_does_not_run_is_a_row_in_a_sweep(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gru_bench("train", "-m", "backend=vendor", "cell=gru,gru_article", *TINY, *STEPS) == 1
    runs = stored().runs.set_index("cell")
    assert runs.loc["gru", "status"] == "finished"
    assert runs.loc["gru_article", "status"] == "unsupported"
    assert "backend=loop runs every cell" in runs.loc["gru_article", "error"]
    assert "1 finished, 1 unsupported" in capsys.readouterr().out.replace("sweep adhoc: ", "")


def red(*_: object, **__: object) -> parity.Parity:
    return parity.Parity(output_error=0.25, gradient_error=float("inf"), passed=False, tolerance=2e-5)


@pytest.mark.parametrize("sweep", [False, True])
def test_a_backend_that_computes_something_else_is_never_timed(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sweep: bool
) -> None:
    monkeypatch.setattr(parity, "check", red)
    monkeypatch.setattr(record, "audit", None)
    assert gru_bench("train", *(["-m", "seed=0,1"] if sweep else []), *TINY, *STEPS) == (1 if sweep else 2)
    said = capsys.readouterr().err.strip().splitlines()
    reason = "backend=loop is not offered for cell=gru here: against the readable loop in float64 its outputs are off"
    assert len(said) == (2 if sweep else 1)
    assert all(reason in line and "2.5e-01" in line and "2e-05" in line for line in said)
    found = stored()
    for run in found.runs.to_dict("records"):
        assert (run["status"], run["parity"]) == ("unsupported", "red")
        assert run["error"].startswith(reason)
        assert (run["parity_output_error"], run["parity_gradient_error"]) == (0.25, float("inf"))
        assert run["hidden_size"] == 6
        assert run["kernel"] == ""
    assert set(found.values["split"]) == {"test"}  # what a trivial guess scores: no speed, no memory
    assert found.curves.empty


def test_the_kernel_is_audited_at_the_runs_own_shape(gru_bench: Command) -> None:
    assert gru_bench("train", "backend=vendor_aten", "cell=lstm", *TINY, *STEPS) == 0
    (run,) = stored().runs.to_dict("records")
    assert (run["backend"], run["kernel"]) == ("vendor_aten", "ATen loop")
    (audit,) = Path("mlartifacts").rglob("kernel_audit.txt")
    assert audit.read_text().startswith("kernel: ATen loop\n")
    assert "T=5 B=8 D=2, float32 on cpu" in audit.read_text()


def test_sequences_of_unequal_length_are_audited_as_such(gru_bench: Command) -> None:
    small = ["task.num_train=64", "task.num_valid=32", "task.num_test=32", "hidden_size=4", "threads=1"]
    assert gru_bench("train", "task=sentiment", *small, "trainer.max_steps=1") == 0
    (audit,) = Path("mlartifacts").rglob("kernel_audit.txt")
    assert "sequences of unequal length" in audit.read_text()


def test_an_unsupported_row_does_not_spoil_the_labels_and_counts_once(gru_bench: Command) -> None:
    sweep = ["-m", "cell=rnn,gru_article", "backend=loop,vendor", *TINY, *STEPS]
    assert gru_bench("train", *sweep) == 1
    assert gru_bench("train", *sweep) == 1
    runs = stored().runs
    assert sorted(runs["status"]) == ["finished"] * 3 + ["unsupported"]
    assert all(runs["config_key"])
    assert gru_bench("report", "experiment=adhoc") == 0
    text = Path("reports/adhoc/report.md").read_text()
    assert "| gru_article (backend loop)" in text
    assert "| gru_article (backend vendor)" in text
    assert "trainer.max_steps" not in text.split("## What these runs show")[0]


def test_a_users_own_yaml_that_is_broken_is_bad_input(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own/cell").mkdir(parents=True)
    for name, text, said in (
        ("broken", "# a cell\n_target_: [", "broken.yaml, line"),
        ("empty", "# a cell\nfoo: 1", "cell: its yaml has no _target_"),
        ("absent", "# a cell\n_target_: no_such_module.Cell", "No module named 'no_such_module'"),
    ):
        Path(f"own/cell/{name}.yaml").write_text(text)
        assert gru_bench("train", f"cell={name}", "--config-dir", "own", *TINY, *STEPS) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) <= 2


@pytest.mark.parametrize("arguments", [["--foo"], ["--config-dir"], ["--config-path=x"]])
def test_a_wrong_flag_is_said_in_a_line(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert gru_bench("train", *arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert gru_bench("report", "-m", "experiment=a,b") == 2


def test_a_run_that_diverges_is_a_row_with_its_reason_and_the_sweep_goes_on(gru_bench: Command) -> None:
    overrides = ["optimizer=sgd", "trainer.learning_rate=1e20,0.01", "trainer.clip_norm=null"]
    assert gru_bench("train", "-m", *overrides, *TINY, *STEPS) == 1
    found = stored()
    runs = found.runs.set_index("learning_rate").sort_index()
    assert list(runs["status"]) == ["finished", "failed"]
    assert runs["error"].iloc[1].startswith("Diverged: loss ")
    assert " at step " in runs["error"].iloc[1]
    lost = found.values[found.values["run_id"] == runs["run_id"].iloc[1]]
    assert "wall_s" in set(lost["metric"])


def test_data_that_cannot_be_used_is_a_row_in_a_sweep_and_no_run_alone(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts").mkdir()
    Path("texts/train.csv").write_text("review\nsome words\n")
    data = ["task=language_modeling", "data.path=texts", "data.text=nope", "threads=1"]
    assert gru_bench("train", *data) == 2
    assert "nope" in capsys.readouterr().err
    with pytest.raises(UserError):
        stored()
    assert gru_bench("train", "-m", "seed=0,1", *data) == 1
    runs = stored().runs
    assert list(runs["status"]) == ["failed", "failed"]
    assert all("nope" in error and "review" in error for error in runs["error"])


@pytest.mark.parametrize("cell", yaml_names("cell"))
def test_every_cell_trains(gru_bench: Command, cell: str) -> None:
    assert gru_bench("train", f"cell={cell}", *TINY, "trainer.max_steps=2") == 0


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("backend", ["loop", "vendor"])
def test_other_floating_types(gru_bench: Command, dtype: str, backend: str) -> None:
    assert gru_bench("train", f"dtype={dtype}", f"backend={backend}", *TINY, "trainer.max_steps=2") == 0
    assert stored().runs["dtype"].item() == dtype


def test_a_report_tells_settings_of_one_cell_apart(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "trainer.max_steps=1,2", *TINY) == 0
    assert sorted(stored().runs["settings"]) == ["trainer.max_steps=1", "trainer.max_steps=2"]
    assert gru_bench("report", "experiment=adhoc") == 0
    text = Path("reports/adhoc/report.md").read_text()
    assert "gru (trainer.max_steps=1)" in text
    assert "gru (trainer.max_steps=2)" in text


def test_equal_parameters(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "cell=rnn,lstm,gru", "budget=parameters", *TINY, "hidden_size=40",
                     "trainer.max_steps=2") == 0  # fmt: skip
    runs = stored().runs.set_index("cell")
    assert list(runs.loc[["lstm"], "hidden_size"]) == [40]
    assert set(runs["hidden_size_asked"]) == {40}
    assert runs.loc["rnn", "hidden_size"] > runs.loc["gru", "hidden_size"] > 40
    spread = runs["num_parameters"].max() / runs["num_parameters"].min()
    assert spread < 1.05


def test_a_sweep_whose_parent_cannot_be_opened_fails(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mlartifacts").write_text("a file where the folder should be")
    assert gru_bench("train", "-m", "cell=rnn,gru", *TINY, *STEPS) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_job_that_failed_early_is_superseded_when_the_same_choices_finish(gru_bench: Command) -> None:
    Path("texts").mkdir()
    data = ["task=language_modeling", "data.path=texts", "data.text=words", "task.seq_len=4", "threads=1"]
    small = ["hidden_size=4", "trainer.max_steps=1", "model.embedding_size=4"]
    Path("texts/train.csv").write_text("review\nsome words\n")
    assert gru_bench("train", "-m", "seed=0,1", *data, *small) == 1
    lines = "".join(f"the quick brown fox number {n} jumps over the lazy dog again and again\n" for n in range(200))
    Path("texts/train.csv").write_text("words\n" + lines)
    assert gru_bench("train", "-m", "seed=0,1", *data, *small) == 0
    assert list(stored().runs["status"]) == ["finished", "finished"]


BAD_INPUT = [
    (["trainer.max_steps=null", "trainer.max_epochs=2"], "adding draws training data without end"),
    (["cell=grru"], "cell=grru: no such choice (did you mean gru?); valid: gru, "),
    (["task=addition"], "task=addition: no such choice (did you mean adding?); valid: "),
    (["backend=cudnn"], "backend=cudnn: no such choice; valid: "),
    (["backend=vendor", "backend.onednn=off"], "backend.onednn='off': must be a valid boolean"),
    (["task.batch_size=0"], "task.batch_size=0: must be greater than 0"),
    (["task.lengths=[0]"], "task.lengths[0]=0: must be greater than or equal to"),
    (["dtype=float16"], "dtype='float16': must be 'float32', 'float64' or 'bfloat16'"),
    (["cell=rnn_article", "backend=vendor_aten"], "backend=vendor with onednn=false does not run RNN"),
    (["experiment=nope"], "experiment=nope: no such choice; valid: "),
    (["speed=3"], "speed: no such key"),
    (["cell.forget=1"], "cell.forget: no such key"),
    (["seed=abc"], "seed='abc': must be a valid integer"),
    (["hidden_size=-1"], "hidden_size=-1: must be greater than 0"),
    (["cell=lstm", "cell.forget_bias=maybe"], "cell.forget_bias='maybe': must be a valid number"),
    (["cell=gru_article", "backend=vendor"], "backend=vendor does not run GRUArticle"),
    (["device=tpu"], "device=tpu: "),
    (["device=cuda:99"], "device=cuda:99: torch sees "),
    (["threads=100000"], "threads=100000"),
    (["seed="], "seed"),
    (["seed"], "seed"),
    (["-m", "seed=0,abc"], "seed='abc': must be a valid integer"),
    (["-m", "cell=gru,grru"], "cell=grru: no such choice (did you mean gru?)"),
    (["-m", "experiment=quick,article"], "experiment: one at a time"),
    (["trainer.max_steps=null"], "trainer: max_steps, max_epochs and max_seconds are all null"),
    (["task=language_modeling", "data.path=./no/such/folder"], "no/such/folder"),
    (["tracking.uri=nonsense://x"], "nonsense"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input_is_said_in_a_line_or_two(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    small = [] if any(a.startswith("task=") for a in arguments) else TINY
    steps = [] if any("max_steps" in a for a in arguments) else STEPS
    assert gru_bench("train", *small, *steps, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) <= 2
    assert "Traceback" not in captured.err
    with pytest.raises(UserError):
        stored()  # nothing was left behind


@pytest.mark.parametrize(("arguments", "code", "said"), [
    ([], 2, "usage"),
    (["--help"], 0, "train one cell"),
    (["trian"], 2, "valid: train, report, ui, doctor"),
    (["train", "--help"], 0, "gru_reset_before  gated recurrent unit"),
    (["report", "--help"], 0, "summary"),
    (["doctor", "--help"], 0, "tracking"),
    (["--version"], 0, "gru-bench 0."),
])  # fmt: skip
def test_help_and_verbs(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert gru_bench(*arguments) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_help_lists_every_choice_in_words(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "--help") == 0
    out = capsys.readouterr().out
    for group in ("cell", "backend", "task", "budget", "experiment"):
        for name in yaml_names(group):
            assert f"  {name} " in out
    for key in ("seed: 0", "hidden_size:", "threads: auto", "max_steps"):
        assert key in out


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gru_bench", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}


def test_both_launchers_give_the_same_bits(empty_folder: Path) -> None:
    scores = {}
    for launcher in ("basic", "joblib"):
        subprocess.run(
            command("train", "-m", "cell=gru,lstm", "threads=1", f"hydra/launcher={launcher}",
                    f"tracking.uri=sqlite:///{launcher}.db", *TINY, *STEPS),
            cwd=empty_folder, env=environment(), check=True, timeout=200,
        )  # fmt: skip
        found = results.read(f"sqlite:///{launcher}.db", experiment="adhoc")
        table = found.joined().query("split == 'test' and metric == 'mse' and slice == ''")
        scores[launcher] = dict(zip(table["cell"], table["value"], strict=True))
        assert set(found.runs["threads"]) == {1}
    assert scores["basic"] == scores["joblib"]


@pytest.mark.parametrize(
    ("sent", "code", "reason"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("mode", ["single", "sweep"])
def test_a_stopped_run_is_killed_with_its_reason(
    empty_folder: Path, sent: int, code: int, reason: str, mode: str
) -> None:
    arguments = ["-m", "seed=0,1"] if mode == "sweep" else []
    process = subprocess.Popen(
        command("train", *arguments, *TINY, "trainer.max_steps=100000000", "trainer.eval_every=50"),
        cwd=empty_folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(empty_folder.rglob("config.yaml")):
        time.sleep(0.2)
    time.sleep(1.0)
    process.send_signal(sent)
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    runs = results.read(f"sqlite:///{empty_folder}/mlflow.db", experiment="adhoc").runs
    assert "running" not in set(runs["status"])
    assert "finished" not in set(runs["status"])
    killed = runs[runs["status"] == "killed"]
    assert len(killed) == 1
    assert reason in killed["error"].item()
    if mode == "sweep":
        assert sorted(runs["status"]) == ["killed", "missing"]


def test_a_server_that_does_not_answer_is_said_quickly(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "tracking.uri=http://127.0.0.1:9", *TINY, *STEPS) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_the_planned_matrix_is_kept(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "cell=rnn,gru", *TINY, "trainer.max_steps=1") == 0
    planned = json.loads(next(Path("mlartifacts").rglob("planned.json")).read_text())
    assert [(job["job"], job["cell"], job["task"], job["seed"]) for job in planned] == [
        ("0", "rnn", "adding", "0"),
        ("1", "gru", "adding", "0"),
    ]
