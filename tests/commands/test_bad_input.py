"""Forms of bad input that once gave a traceback, or were taken: each gives one line, exit code 2, and no run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from runs import STEPS, TINY, stored

from gru_bench.commands import cli
from gru_bench.commands.arguments import quoted
from gru_bench.errors import UserError

LONG = "x" * 300
CLASSIFY = ["task=text_classification", "data.text=text", "data.label=label"]

NODES = [
    (["cell=[gru]"], "cell: choose one by its name, cell=NAME; valid: gru, "),
    (["~cell"], "~cell: gru-bench train needs it; choose one with cell=NAME, of gru, "),
    (["~backend"], "~backend: gru-bench train needs it"),
    (["~budget"], "~budget: gru-bench train needs it"),
    (["~tracking"], "~tracking: gru-bench train needs it"),
    (["~trainer"], "trainer"),
    (["~model"], "model"),
    (["trainer=3"], "trainer=3: must be a node; set the keys in it, trainer.NAME=VALUE"),
    (["data=3"], "data=3: must be a node"),
    (["tuning=3"], "tuning=3: must be a node"),
    (["hydra.launcher=3"], "hydra.launcher=3: must be a node"),
    (["hydra.job=3"], ""),
    (["~hydra.sweeper"], ""),
    (["cell._target_=null"], "cell._target_=null: must name a class"),
    (["cell._target_=os.getcwd"], "cell.init: no such key; getcwd takes no keys"),
    (["cell._target_=os.sep"], "cell._target_=os.sep: cannot be imported"),
    (["backend._target_=gru_bench.cells.gru.GRU"], "must be a gru_bench.backends.base.Backend"),
    (["tracking._target_=os.getcwd"], "tracking.uri: no such key; getcwd takes no keys"),
    (["tracking.uri=3"], "tracking.uri=3: must be a valid string"),
    (["~trainer.schedule"], "~trainer.schedule: a run needs it; valid: schedule=NAME"),
    (["hydra.verbose=3"], "hydra.verbose=3: must be true, false"),
    (["+cell._args_=[1]"], "cell._args_: no such key"),
    (["+cell._partial_=3"], "cell._partial_=3: must be true or false"),
    (["-m", "cell=gru,lstm", "trainer=3"], "trainer=3: must be a node"),
    (["-m", "cell=[gru],[lstm]"], "cell: choose one by its name"),
]
NAMES = [
    (["cell=../cell/gru"], "cell=../cell/gru: must be a name; valid: gru, "),
    (["cell=gru.yaml"], "cell=gru.yaml: must be a name"),
    (["-m", "cell=lstm,./gru"], "cell=lstm,./gru: must be a name"),
    (["probe=[../probe/gates]"], "must be a name; valid: context, "),
    ([f"cell={LONG}"], "no such choice; valid: gru, "),
    (["data.csv"], "data.csv: not a key with a value; valid: KEY=VALUE, such as data.path=data.csv"),
]
FLAGS = [
    (["-m", "--cfg", "job"], "-m --cfg: one of these at a time"),
    (["--resolve"], "--resolve: belongs to --cfg"),
    (["--cfg", "all_of_it"], "--cfg all_of_it: no such choice; valid: job, hydra, all"),
    (["--config-dir", LONG], "no such folder"),
    (["-sc", "install=fish"], "must be one of install=bash"),
]
SWEEPS = [
    (["-m", "seed=range(0)"], "lists no job"),
    (["-m", "seed=range(0,3,0)"], "range() arg 3 must not be zero"),
    (["-m", "tracking.uri=sqlite:///a.db,sqlite:///b.db"], "tracking.uri: one value for the whole sweep"),
    (
        ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
        "hydra.launcher.n_jobs=0: must be a number of workers",
    ),
    (["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=two"], "hydra.launcher.n_jobs"),
    (
        ["-m", "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=0"],
        "hydra.sweeper.max_batch_size=0: must be a number",
    ),
    (["-m", "hydra.sweep.dir=/proc/x"], "hydra.sweep.dir=/proc/x: cannot be written to"),
    (["-m", "experiment=a,b"], "experiment: one at a time"),
    (["-m", "cell=mgu,gru", "cell.leak=0.5,1"], "in this sweep with cell=mgu; for a key that only some have: a yaml"),
    (["-m", "cell=gru,lstm", "task.num_eval=0"], "task.num_eval=0: must be greater than 0"),
    (["-m", "cell=gru,lstm", "task.num_evall=5"], "task.num_evall: no such key (did you mean num_eval?)"),
]
PATHS = [
    (["hydra.run.dir=/proc/x"], "/proc/x: No such file or directory"),
    ([f"tracking.uri=sqlite:///{LONG}.db"], "File name too long"),
    ([*CLASSIFY, f"data.path={LONG}.csv"], "File name too long"),
    ([*CLASSIFY, "data.path=loop.csv"], "loop.csv"),
    ([*CLASSIFY, "data.path=reviews (1).csv"], """'data.path="reviews (1).csv"'"""),
    ([*CLASSIFY, "data.path=été.csv"], """'data.path="été.csv"'"""),
    ([*CLASSIFY, "data.path=x=y.csv"], """'data.path="x=y.csv"'"""),
    ([*CLASSIFY, "data.path=a,b.csv"], """'data.path="a,b.csv"'"""),
]
NUMBERS = [
    (["seed=99999999999999999999"], "seed=99999999999999999999: must be less than 4294967296"),
    (["trainer.learning_rate=inf"], "trainer.learning_rate=inf: must be a finite number"),
    (["trainer.clip_norm=nan"], "trainer.clip_norm=nan: must be a finite number"),
    (["task.batch_size=1000000000000"], "of memory free"),
    (["model.input=tokens"], "model.input=tokens: not what this task gives"),
]


@pytest.fixture
def only_line(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``only_line(verb, ...)``: what a refused command prints, which is one line and leaves nothing in the store."""

    def refused(verb: str, *arguments: str) -> str:
        assert gru_bench(verb, *arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith(f"gru-bench {verb}: ")
        assert len(line) < 1000
        with pytest.raises(UserError):
            stored()
        return line

    return refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [*NODES, *NAMES, *FLAGS, *SWEEPS, *PATHS, *NUMBERS],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_training_refuses_it_in_a_line(only_line: Callable[..., str], arguments: list[str], message: str) -> None:
    Path("loop.csv").symlink_to("loop.csv")
    # flags whose values follow stand where they were given
    small = [] if CLASSIFY[0] in arguments or "~model" in arguments else TINY
    before = [*small, *STEPS] if "-sc" not in arguments and "~trainer" not in arguments else []
    assert message in only_line("train", *before, *arguments)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["report", "~sections"], "~sections: gru-bench report needs it"),
        (["report", "sections=3"], "sections=3: must be a node"),
        (["report", "sections.summary=3"], "sections.summary=3: must be a node; ~sections.summary leaves it out"),
        (["report", "select=3"], "select=3: must be a node"),
        (["doctor", "~tracking"], "~tracking: gru-bench doctor needs it"),
        (["time", "~select"], "~select: gru-bench time needs it"),
        (["probe", "tracking=3"], "tracking=3: must be a name"),
        (["doctor", "hydra.run.dir=/proc/x"], "/proc/x: No such file"),
    ],
)
def test_other_commands_refuse_it_in_a_line(only_line: Callable[..., str], command: list[str], message: str) -> None:
    assert message in only_line(*command)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("experiment/binary", bytes(range(256)), "experiment/binary.yaml: no text: byte 128 is not UTF-8"),
        ("cell/number", b"_target_: gru_bench.cells.gru.GRU\n3: 4\n", "cell.3: no such key; keys are names"),
        ("cell/marked", b"\xff\xfe_\x00t\x00", "cell/marked.yaml: no text: byte 0 is not UTF-8"),
        (
            "experiment/itself",
            b"# @package _global_\ndefaults:\n  - /experiment/itself\n  - _self_\n",
            "the yaml files lead back to themselves",
        ),
    ],
)
def test_a_yaml_of_ones_own_that_cannot_be_read_is_named(
    only_line: Callable[..., str], name: str, content: bytes, message: str
) -> None:
    path = Path("own", f"{name}.yaml")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    line = only_line("train", "--config-dir", "own", name.replace("/", "="), *TINY, *STEPS)
    assert message in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_yaml_that_may_not_be_read_is_named(only_line: Callable[..., str]) -> None:
    Path("own/cell").mkdir(parents=True)
    Path("own/cell/secret.yaml").write_text("_target_: gru_bench.cells.gru.GRU\n")
    Path("own/cell/secret.yaml").chmod(0)
    line = only_line("train", "--config-dir", "own", "cell=secret", *TINY, *STEPS)
    assert "cell/secret.yaml: Permission denied" in line


@pytest.mark.parametrize(
    "value",
    [
        "reviews (1).csv",
        "été.csv",
        "x=y.csv",
        "it's.csv",
        'say "so".csv',
        "a\\",
        'b\\"',
        "[1].csv",
        "{a}.csv",
        "a,b",
        "",
    ],
)
def test_the_quoted_override_is_read_as_the_text(value: str) -> None:
    """By bash, and then by Hydra's parser."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    script = f"printf %s {quoted('data.path', value)}"
    given = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    (override,) = OverridesParser.create().parse_overrides([given])
    assert override.key_or_group == "data.path"
    assert override.value() == value


def test_a_key_of_the_swept_tasks_reaches_each_of_them(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The default task, of which the sweep's own config is composed, has no such key."""
    sweep = ["-m", "task=adding,copy_memory", "task.lengths=[5]", "task.beyond=[]", "hidden_size=4", "threads=1"]
    assert gru_bench("train", *sweep, "task.num_eval=9", "trainer.max_steps=1") == 0
    assert sorted(stored().runs["task"]) == ["adding", "copy_memory"]
    planned = json.loads(next(Path("mlartifacts").rglob("planned.json")).read_text())
    assert {job["task.num_eval"] for job in planned} == {"9"}
    capsys.readouterr()
    assert gru_bench("train", *sweep, "task.num_eval=none", "trainer.max_steps=1") == 2
    assert "task.num_eval='none': must be a valid integer; in this sweep with task=adding" in capsys.readouterr().err


def test_hydras_own_flags_are_passed_on(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", *TINY, "--info", "defaults") == 0
    assert "cell" in capsys.readouterr().out
    assert gru_bench("train", "--cfg=job", "--resolve", *TINY) == 0
    assert "hidden_size: 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gru-bench ", {"train", "report", "doctor"}),
        ("gru-bench re", {"report"}),
        ("gru-bench train cell=gru_", {"cell=gru_article", "cell=gru_chrono"}),
        ("gru-bench train task=adding hidden_", {"hidden_size="}),
        ("gru-bench doctor dev", {"device="}),
    ],
)
def test_a_shell_completes_verbs_keys_and_choices(
    gru_bench: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    offered: set[str],
) -> None:
    monkeypatch.setenv("COMP_LINE", typed)
    assert gru_bench("-sc", "query=bash") == 0
    found = set(capsys.readouterr().out.split())
    assert offered <= found
    assert all(word.startswith(typed.rpartition(" ")[2]) for word in found)


def test_the_script_that_installs_completion_names_the_command(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["-sc", "install=bash"], ["train", "-sc", "install=bash"]):
        assert gru_bench(*arguments) == 0
        assert capsys.readouterr().out.splitlines()[-1].endswith("-F hydra_bash_completion gru-bench")


def test_output_that_nobody_reads_is_no_traceback(empty_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    for verb in ("train --help", "--help"):
        script = f"{sys.executable} -m gru_bench {verb} 2>err | true; cat err"
        shown = subprocess.run(
            ["bash", "-c", script], cwd=empty_folder, env=environment, capture_output=True, text=True
        )
        assert shown.stdout == ""
        assert not re.search("Error|Traceback", shown.stderr)


@pytest.mark.parametrize("how", ["describe", "data"])
def test_a_pipe_that_nobody_reads_is_no_error_of_hydra(
    how: str, gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(f"gru_bench.commands.data.{how}", closed)
    with pytest.raises(BrokenPipeError):
        gru_bench("data", "task=adding")
    assert capsys.readouterr().err == ""


def test_a_task_s_data_that_was_replaced(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("data", "task=text_classification", "data=null") == 2
    assert capsys.readouterr().err.startswith("gru-bench data: data=null: must be a node")


def test_a_number_of_thousands_of_digits(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], empty_folder: Path
) -> None:
    (empty_folder / "rows.jsonl").write_text('{"text": "a", "label": ' + "9" * 5000 + "}\n")
    keys = ["task=text_classification", "data.path=rows.jsonl", "data.text=text", "data.label=label"]
    assert gru_bench("data", *keys) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "rows.jsonl, line 1" in line
