"""``gru-bench train`` for real: messages, exit codes, signals, launchers and help. What a run does: ``tests/run``."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Command, yaml_names
from runs import STEPS, TINY, stored

from gru_bench.commands import cli
from gru_bench.errors import UserError
from gru_bench.store import read as results


def test_an_unsupported_row_does_not_spoil_the_labels_and_counts_once(gru_bench: Command) -> None:
    sweep = ["-m", "cell=rnn,gru_article", "backend=loop,vendor", *TINY, *STEPS]
    assert gru_bench("train", *sweep) == 1
    assert gru_bench("train", *sweep, "only=all") == 1
    runs = stored().runs
    assert sorted(runs["status"]) == ["finished"] * 3 + ["unsupported"]
    assert all(runs["config_key"])
    assert gru_bench("report", "experiment=adhoc") == 0
    text = Path("reports/adhoc/details.md").read_text()
    assert "| gru_article (backend loop)" in text
    assert "| gru_article (backend vendor)" in text
    assert "trainer.max_steps" not in text.split("## What these runs show")[0]


def test_a_users_own_yaml_that_is_broken_is_bad_input(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own/cell").mkdir(parents=True)
    for name, text, message in (
        ("broken", "# a cell\n_target_: [", "broken.yaml, line"),
        ("empty", "# a cell\nfoo: 1", "cell: its yaml has no _target_"),
        ("absent", "# a cell\n_target_: no_such_module.Cell", "No module named 'no_such_module'"),
    ):
        Path(f"own/cell/{name}.yaml").write_text(text)
        assert gru_bench("train", f"cell={name}", "--config-dir", "own", *TINY, *STEPS) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) <= 2


@pytest.mark.parametrize("arguments", [["--foo"], ["--config-dir"], ["--config-path=x"]])
def test_a_wrong_flag_is_a_message_of_a_line(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert gru_bench("train", *arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert gru_bench("report", "-m", "experiment=a,b") == 2


def test_a_report_keeps_settings_of_one_cell_apart(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "trainer.max_steps=1,2", *TINY) == 0
    assert sorted(stored().runs["settings"]) == ["trainer.max_steps=1", "trainer.max_steps=2"]
    assert gru_bench("report", "experiment=adhoc") == 0
    text = Path("reports/adhoc/details.md").read_text()
    assert "gru (trainer.max_steps=1)" in text
    assert "gru (trainer.max_steps=2)" in text


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
    (["experiment=null"], "experiment=null: must be a name; valid: adding_600, article, "),
    (["cell=3"], "cell=3: must be a name; valid: gru, "),
    (["-m", "cell=gru,null"], "cell=null: Config group override must be a string or a list"),
    (["trainer.max_steps=null"], "trainer: max_steps, max_epochs and max_seconds are all null"),
    (["task=language_modeling", "data.path=./no/such/folder"], "no/such/folder"),
    (["tracking.uri=nonsense://x"], "nonsense"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input_is_a_message_of_a_line_or_two(
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


@pytest.mark.parametrize(("arguments", "code", "text"), [
    ([], 2, "usage"),
    (["--help"], 0, "train one cell"),
    (["trian"], 2, "trian: no such verb; valid: answer, train, "),
    (["train", "--help"], 0, "gru_reset_before  gated recurrent unit"),
    (["report", "--help"], 0, "summary"),
    (["doctor", "--help"], 0, "tracking"),
    (["probe", "--help"], 0, "occlusion"),
    (["--version"], 0, "gru-bench 0."),
])  # fmt: skip
def test_help_and_verbs(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    assert gru_bench(*arguments) == code
    captured = capsys.readouterr()
    assert text in captured.out + captured.err


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


def test_output_that_nobody_reads_to_its_end_is_no_traceback(empty_folder: Path) -> None:
    with subprocess.Popen(
        command("train", "--help"), cwd=empty_folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.slow
def test_all_launchers_give_the_same_bits(empty_folder: Path) -> None:
    scores = {}
    for launcher in ("basic", "joblib", "workers"):
        subprocess.run(
            command("train", "-m", "cell=gru,lstm", "threads=1", f"hydra/launcher={launcher}",
                    f"tracking.uri=sqlite:///{launcher}.db", *TINY, *STEPS),
            cwd=empty_folder, env=environment(), check=True, timeout=200,
        )  # fmt: skip
        found = results.read(f"sqlite:///{launcher}.db", experiment="adhoc")
        table = found.joined().query("split == 'test' and metric == 'mse' and slice == ''")
        scores[launcher] = dict(zip(table["cell"], table["value"], strict=True))
        assert set(found.runs["threads"]) == {1}
    assert scores["basic"] == scores["joblib"] == scores["workers"]


def test_the_end_of_a_sweep_names_its_report(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "-m", "cell=rnn,gru", *TINY, "trainer.max_steps=1") == 0
    (sweep,) = set(stored().runs["sweep"])
    *_, counts, report = capsys.readouterr().out.strip().splitlines()
    assert counts == f"sweep adhoc ({sweep}): 2 finished"
    assert report == f"its report: gru-bench report sweep={sweep}"
    assert gru_bench(*report.split()[3:]) == 0


def test_another_store_is_part_of_the_command_for_the_report(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mlflow.db").rename("other.db")
    assert gru_bench("train", "-m", "seed=0", "tracking.uri=sqlite:///other.db", *TINY, "trainer.max_steps=1") == 0
    report = capsys.readouterr().out.strip().splitlines()[-1]
    assert gru_bench(*report.split()[3:]) == 0


@pytest.mark.parametrize(
    ("sent", "code", "reason"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("mode", ["single", "sweep"])
def test_a_stopped_run_is_killed_with_its_reason(
    empty_folder: Path, sent: int, code: int, reason: str, mode: str
) -> None:
    arguments = ["-m", "seed=0,1"] if mode == "sweep" else []
    process = subprocess.Popen(
        command("train", *arguments, *TINY, "trainer.max_steps=100000000", "trainer.eval_every=50",
                "checkpoint_every=null"),
        cwd=empty_folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(empty_folder.rglob("config.yaml")):
        time.sleep(0.2)
    time.sleep(1.0)
    process.send_signal(sent)
    if mode == "sweep" and sent == signal.SIGINT:  # the first one lets the running job finish
        assert process.stderr is not None
        assert any(b"once more to stop now" in line for line in process.stderr)
        process.send_signal(sent)
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert ("to go on: the same command" in out.decode()) == (mode == "sweep")
    runs = results.read(f"sqlite:///{empty_folder}/mlflow.db", experiment="adhoc").runs
    assert "running" not in set(runs["status"])
    assert "finished" not in set(runs["status"])
    killed = runs[runs["status"] == "killed"]
    assert len(killed) == 1
    assert reason in killed["error"].item()
    if mode == "sweep":
        assert sorted(runs["status"]) == ["killed", "missing"]


def test_a_server_that_does_not_answer_is_named_quickly(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "tracking.uri=http://127.0.0.1:9", *TINY, *STEPS) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err
