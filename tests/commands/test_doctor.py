"""``gru-bench doctor`` and ``gru-bench ui`` as a user meets them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, yaml_names
from rich import get_console

from gru_bench.commands import cell_table, cli, doctor, ui
from gru_bench.commands.doctor import Diagnosis
from gru_bench.errors import UserError
from gru_bench.measure import parity
from gru_bench.store.write import Store

Ask = Callable[..., tuple[int, str, str]]


SLOW = {"compiled"}
"""Backends that compile for a minute before there is anything to tell."""
TRIED = {"rnn", "rnn_article", "lstm", "gru", "gru_article"}
"""Cells that stand for all of them here: the parity of each is tested in ``test_parity.py``."""
BACKENDS = sorted(set(yaml_names("backend")) - SLOW)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built and measured once a machine, here once for all tests of this file."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def ask(
    empty_folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ask]:
    """Run ``gru-bench doctor`` in this process; gives exit code, output and errors."""
    assert Path.cwd() == empty_folder
    monkeypatch.setenv("GRU_BENCH_CACHE", str(kept))
    choices = cell_table.choices
    left_out = SLOW | set(yaml_names("cell")) - TRIED
    monkeypatch.setattr(
        cell_table, "choices", lambda group: (choice for choice in choices(group) if choice[0] not in left_out)
    )
    monkeypatch.setattr(sys, "argv", ["gru-bench"])
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, tried: tuple[str, ...] = ("cells=all", "backends=all")) -> tuple[int, str, str]:
        code = cli.run(["doctor", *tried, *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield run
    signal.signal(signal.SIGTERM, before)


def cell_lines(text: str) -> dict[tuple[str, str], str]:
    """What the table says of each cell on each backend."""
    heading, *rows = text[text.index("\ncell ") :].strip().split("\n\n")[0].splitlines()
    assert heading.split()[:2] == ["cell", "backend"]
    return {(cell, backend): rest for cell, backend, rest in (row.split(None, 2) for row in rows)}


def reasons(text: str) -> dict[str, str]:
    """The lines below the table: what is not offered, and why."""
    lines = text[text.index("not offered here:") :].split("\n\n")[0].splitlines()[1:]
    return dict(line.strip().split(": ", 1) for line in lines)


def test_everything_is_printed_and_nothing_is_made(ask: Ask) -> None:
    code, out, err = ask()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "all fine"
    for word in ("python 3.", "torch 2.", "mlflow 3.", "usable cores", "load average", "cuDNN", "GiB"):
        assert word in out
    assert "mlflow.db: the first run makes it" in out
    assert not list(Path().iterdir())
    lines = cell_lines(out)
    assert set(lines) == {(cell, backend) for cell in TRIED for backend in BACKENDS}
    assert lines["gru", "loop"].startswith("Python loop")
    assert lines["gru", "vendor"].startswith("ATen loop")
    assert lines["gru_article", "vendor"] == "not offered"
    assert reasons(out)["gru_article on vendor"].startswith("backend=vendor does not run GRUArticle")
    for line in lines.values():
        assert line.endswith(" green") or line == "not offered"


def test_a_few_are_tried_unless_more_are_asked_for(ask: Ask) -> None:
    code, out, _ = ask(tried=())
    assert code == 0
    assert set(cell_lines(out)) == {(cell, backend) for cell in ("gru", "lstm") for backend in ("loop", "vendor")}
    assert "tried gru, lstm on loop, vendor; all cells on all backends" in out
    code, out, _ = ask(tried=("cells=[rnn]", "backends=[loop]"))
    assert set(cell_lines(out)) == {("rnn", "loop")}
    for asked, message in (("cells=[rrn]", "cells: rrn: no such cell"), ("backends=[]", "backends=[]: at least one")):
        code, _, err = ask(tried=(asked,))
        assert code == 2
        assert message in err


def test_a_column_for_each_floating_type(ask: Ask) -> None:
    code, out, _ = ask("dtype=all", "shape=3x2x5")
    assert code == 0
    assert re.search(r"^cell +backend +float32 +float64 +bfloat16$", out, re.MULTILINE)
    assert "TxBxH = 3x2x5;" in out
    line = cell_lines(out)["lstm", "vendor_aten"]
    assert re.fullmatch(r"(ATen loop +\S+/\S+ green\s*){3}", line)
    assert cell_lines(out)["rnn_article", "vendor"].split() == ["not", "offered"] * 3
    assert list(reasons(out)).count("rnn_article on vendor") == 1


def test_shapes_that_run_on_different_kernels_are_listed_apart(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_shape(*_: object, num_steps: int, batch_size: int, **__: object) -> str:
        return "short" if num_steps == 1 else f"long {batch_size}"

    monkeypatch.setattr(cell_table, "kernel_name", by_shape)
    code, out, _ = ask("shape=[1x1x3,1x2x3,4x5x3]")
    assert code == 0
    assert cell_lines(out)["gru", "loop"].startswith("short (1x1x3 1x2x3), long 5 (4x5x3) ")


def test_a_deleted_experiment_is_told(ask: Ask) -> None:
    from mlflow import MlflowClient

    Store(uri="sqlite:///there.db").open()
    client = MlflowClient("sqlite:///there.db")
    client.delete_experiment(client.create_experiment("adhoc"))
    code, out, _ = ask("tracking.uri=sqlite:///there.db", tried=("cells=[rnn]", "backends=[loop]"))
    assert code == 0
    assert "experiment adhoc was deleted: runs without experiment= cannot be written" in out


def test_a_store_that_exists_is_tried(ask: Ask) -> None:
    Store(uri="sqlite:///there.db").open()
    code, out, _ = ask("tracking.uri=sqlite:///there.db", "dtype=float64")
    assert code == 0
    assert "there.db: reachable and writable" in out
    assert "cpu, float64" in out


@pytest.mark.parametrize(
    ("overrides", "red"),
    [
        (["tracking.uri=sqlite:///absent/mlflow.db"], "store"),
        (["tracking.uri=ftp://somewhere"], "store"),
        (["tracking.uri=http://127.0.0.1:9"], "store"),
        (["device=cuda:99"], "device"),
        (["device=abacus"], "device"),
    ],
)
def test_what_is_red_is_named_at_the_end(
    ask: Ask, overrides: list[str], red: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "print_cells", lambda *_: [])
    code, out, err = ask(*overrides)
    assert (code, err) == (1, "")
    assert out.splitlines()[-1] == f"red: {red}"
    assert "Traceback" not in out


def test_a_backend_that_computes_something_else_is_red_and_not_offered(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = parity.Parity(output_error=0.25, gradient_error=1e-9, passed=False, tolerance=2e-5)
    monkeypatch.setattr(parity, "check", lambda *_, **__: wrong)
    monkeypatch.setattr(cell_table, "kernel_name", None)  # nothing red is run any further
    code, out, _ = ask()
    assert code == 1
    assert "gru on loop" in out.splitlines()[-1]
    assert cell_lines(out)["gru", "loop"] == "not offered: 2e-01/1e-09 red"
    assert reasons(out)["gru on loop"] == "computes something else (above 2e-05)"
    _, out, _ = ask("dtype=all")
    assert "gru on loop in float64" in out.splitlines()[-1]


def test_cells_of_the_users_own_folder_are_tried_too(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "cell"
    folder.mkdir(parents=True)
    (folder / "forgetful.yaml").write_text("# mine\n_target_: gru_bench.cells.lstm.LSTM\nforget_bias: -3.0\n")
    (folder / "broken.yaml").write_text("# mine\n_target_: gru_bench.cells.lstm.LSTM\nforget_bias: maybe\n")
    (folder / "absent.yaml").write_text("# mine\n_target_: nowhere.Cell\n")
    (folder / "unreadable.yaml").write_text("a: [\n")
    code, out, _ = ask("--config-dir", str(folder.parent))
    lines = cell_lines(out)
    assert code == 1
    assert lines["forgetful", "loop"].endswith("green")
    assert lines["broken", "loop"] == "not offered: UserError"
    assert "cell.forget_bias='maybe': must be a valid number" in reasons(out)["broken on loop"]
    assert "cell._target_=nowhere.Cell: cannot be imported" in reasons(out)["absent on vendor"]
    assert out.splitlines()[-1].startswith("red: ")
    assert "gru on loop" not in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dtype=float8", "dtype='float8': must be 'float32', 'float64', 'bfloat16' or 'all'"),
        ("shape=0x1x8", "shape=0x1x8: must be TxBxH, three whole numbers from 1, such as 100x32x128"),
        ("shape=1x0x8", "shape=1x0x8: must be TxBxH"),
        ("shape=[4x4x4,12]", "shape=12: must be TxBxH"),
        ("shape=[]", "shape=[]: at least one"),
        ("shape=7", "shape=7: must be"),
        ("threads=0", "threads=0: must be"),
        ("threads=100000", "threads=100000: never more than there are cores"),
        ("surprise=1", "surprise: no such key"),
        ("tracking=floppy", "tracking=floppy: no such choice"),
    ],
)
def test_bad_input_is_a_line(ask: Ask, override: str, message: str) -> None:
    code, _, err = ask(override)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) <= 2


def test_a_loud_machine_is_yellow_and_not_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cores_used_by_others", lambda: 1.7)
    found = Diagnosis(get_console())
    doctor.print_machine(
        found, doctor.Asked(cells="all", backends="all", device="cpu", dtype="float32", shape="1x1x1", threads=1)
    )
    assert not found.red


# ui


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_ui_answers_and_leaves_on_ctrl_c(empty_folder: Path) -> None:
    store = Store()
    with store.run("quick", "a run", sweep_id=None, tags={"cell": "gru"}):
        pass
    before = sorted(path.name for path in empty_folder.iterdir())
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gru_bench", "ui", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, process.communicate()
            printed += line
        address = f"http://127.0.0.1:{port}"
        assert f"MLflow UI: {address}\n" in printed
        assert re.search(rf"quick: {re.escape(address)}/#/experiments/\d+/runs\?\S*viewStateShareKey=", printed)
        with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
            assert answer.read() == b"OK"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in out + err
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            ui.check_free("127.0.0.1", port)
            break
        except UserError:
            time.sleep(0.1)
    else:
        pytest.fail("a worker of the server still listens")
    assert sorted(path.name for path in empty_folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.usefixtures("empty_folder")
def test_the_server_of_the_ui_ends_with_it_and_answers_by_name() -> None:
    store = Store()
    with store.run("quick", "a run", sweep_id=None, tags={"cell": "gru"}):
        pass
    port = free_port()
    command = [sys.executable, "-m", "gru_bench", "ui", "--port", str(port), "--host", "0.0.0.0"]
    process = subprocess.Popen(
        [*command, "--allowed-hosts", "node01"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        assert "anyone on the network can read and delete the runs" in process.stderr.readline()
        address = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/search"
        for name, expected in {"node01": 200, socket.gethostname(): 200, "evil.example": 403}.items():
            origin = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}", "Content-Type": "application/json"}
            asked = urllib.request.Request(address, data=b'{"max_results": 1}', headers=origin)
            try:
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
            assert status == expected, name
    finally:
        process.kill()
    process.communicate(timeout=60)  # until all of its children have let go of its output
    ui.check_free("127.0.0.1", port)


def test_a_store_without_runs_is_reported_and_not_made(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ui"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gru-bench ui: tracking.uri=sqlite:///")
    assert "no such file; `gru-bench train` makes it" in line
    assert not list(empty_folder.iterdir())


@pytest.mark.usefixtures("empty_folder")
def test_a_port_in_use_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    Store(uri="sqlite:///x.db").open()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.run(["ui", "tracking.uri=sqlite:///x.db", "--port", str(port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--port {port}: cannot listen there" in line
    assert f"gru-bench ui --port {port % 65535 + 1}" in line


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("tracking.url=sqlite:///x.db", "no such key; valid: tracking.uri=URI, --port, --host, --allowed-hosts"),
        ("x.db", "no such key"),
        ("tracking.uri=ftp://x", "no such kind of store"),
        ("tracking.uri=http://127.0.0.1:9", "is an MLflow server running there?"),
    ],
)
def test_bad_arguments_are_a_line(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ui", argument]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.run(["ui", "--port", port])
    assert left.value.code == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:5000"),
        ("::", "http://[::1]:5000"),
        ("::1", "http://[::1]:5000"),
        ("box.example.org", "http://box.example.org:5000"),
    ],
)
def test_the_address_is_one_that_a_browser_takes(host: str, address: str) -> None:
    assert ui.browser_address(host, 5000) == address
