"""The program for a machine with a CUDA card, without one: its steps as processes that do nothing, and its table."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import cells
import gpu
import gpu_steps
import gpu_wheels
from gpu_table import aligned, table


def made(name: str, code: str, limit_s: float = 20.0, figures: str | None = None) -> gpu.Step:
    return gpu.Step(name, ("-c", code), limit_s, figures)


def run_all(steps: list[gpu.Step], folder: Path, seconds: float = 60.0) -> gpu.Report:
    """Run steps in a working folder beside the output."""
    work = folder / "work"
    work.mkdir()
    report = gpu.Report(folder / "out", {"device": "cpu"})
    report.output.mkdir()
    gpu.run_all(steps, report, work, gpu.environment_of(work, None), seconds, lambda _: None)
    return report


LEAVES_FIGURES = "open('found.json', 'w').write('{\"rows\": []}')"


def test_a_step_that_fails_or_hangs_is_a_row_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "GRACE_S", 0.2)
    hangs = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(60)"
    )
    report = run_all(
        [
            made("first", "print('did', 'something')"),
            made("second", "raise SystemExit('no card')"),
            made("third", hangs, 1.0),
            made("fourth", LEAVES_FIGURES, figures="found.json"),
            made("fifth", "pass", figures="found.json"),
            made("sixth", "open('mlflow.db', 'w').write('store')"),
        ],
        tmp_path,
    )
    assert [step["state"] for step in report.steps] == ["ok", "failed", "too slow", "ok", "ok", "ok"]
    assert [step["tail"] for step in report.steps[:3]] == [["did something"], ["no card"], ["begun"]]
    assert [step["exit"] for step in report.steps[:3]] == [0, 1, None]
    # what an earlier step has left is not taken for a later one's
    assert [step["figures"] for step in report.steps[3:5]] == [{"rows": []}, None]
    summary = json.loads((report.output / "summary.json").read_text())
    assert summary["steps"] == report.steps
    assert "no card" in (report.output / "table.txt").read_text()
    assert "== third: " in (report.output / "log.txt").read_text()
    with tarfile.open(report.output / "store.tar.gz") as archive:
        assert archive.getnames() == ["mlflow.db"]


def test_what_there_is_no_time_for_is_not_begun(tmp_path: Path) -> None:
    report = run_all([made("first", "pass"), made("second", "pass")], tmp_path, seconds=gpu.RESERVE_S + 1)
    assert [step["state"] for step in report.steps] == ["no time left", "no time left"]


DRIVER = """
import sys, gpu
from pathlib import Path
sys.path.insert(0, {bench!r})
gpu.steps_of = lambda device, dry: [
    gpu.Step("first", ("-c", "pass"), 20.0),
    gpu.Step("second", ("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"), 50.0),
    gpu.Step("third", ("-c", "pass"), 20.0),
]
sys.exit(gpu.main(["--device", "cpu", "--output", {output!r}]))
"""


def test_told_to_end_it_ends_the_step_and_leaves_what_it_has(tmp_path: Path) -> None:
    bench, output = str(REPOSITORY / "bench"), tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(bench=bench, output=str(output))],
        env=os.environ | {"PYTHONPATH": bench},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    while not (lines := (output / "log.txt").read_text().split() if output.exists() else []) or not lines[-1].isdigit():
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(signal.SIGTERM)
    printed = driver.communicate(timeout=20)[0]
    assert driver.returncode == gpu.KILLED
    with pytest.raises(ProcessLookupError):
        os.kill(int(lines[-1]), 0)
    steps = json.loads((output / "summary.json").read_text())["steps"]
    assert [(step["name"], step["state"]) for step in steps] == [("first", "ok"), ("second", "told to end")]
    assert "told to end" in printed.splitlines()[-2] + printed.splitlines()[-1]


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_step_asks_for_what_there_is(device: str, dry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    steps = gpu.steps_of(device, dry=dry)
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        program = Path(step.arguments[0])
        if program.name == "cells.py":
            options = cells.parsed(step.arguments[1:])
            assert options.device == device
            assert str(options.json) == step.figures
            assert max(shape.T for shape in options.shapes) <= (3 if dry else 512)
        elif step.arguments[0] != "-m":
            assert program == REPOSITORY / "bench" / "gpu_steps.py"
    (tests,) = [step for step in steps if step.name == "tests"]
    assert str(REPOSITORY / "tests" / "measure" / "test_parity.py") in tests.arguments


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.usefixtures("hydra_conf")
def test_the_commands_take_the_keys_that_they_are_given(dry: bool) -> None:
    from hydra import compose

    asked = [step.arguments[2:] for step in gpu.steps_of("cpu", dry=dry) if step.arguments[1] == "gru_bench"]
    assert [verb for verb, *_ in asked] == ["time", "time", "time", "train"]
    for verb, *keys in asked:
        # the sweeper's own are read by the plugin alone; compose refuses a key that is not there
        config = compose(verb, overrides=[key for key in keys if key != "-m" and not key.startswith("hydra.")])
        assert config.device == "cpu"
        if verb == "time":
            assert (list(config.cells), config.resident, config.force, config.wait) == (["gru", "lstm"], False, True, 0)
        else:
            assert config.until is None


def test_the_steps_of_its_own_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert gpu_steps.main(["environment", "--device", "cpu"]) == 0
    facts = json.loads(Path("environment.json").read_text())
    assert facts["missing"] == []
    assert facts["torch"] == torch.__version__
    assert gpu_steps.main(["algorithms", "--device", "cpu", "--dry"]) == 0
    rows = json.loads(Path("algorithms.json").read_text())["rows"]
    assert [row["kernel"] for row in rows if row["cell"] == "gru"] == ["ATen loop"]


def test_without_a_card_it_says_so_and_ends(tmp_path: Path) -> None:
    found = made(
        "environment", "open('e.json', 'w').write('{\"usable\": false, \"why\": \"no card here\"}')", figures="e.json"
    )
    with pytest.raises(SystemExit, match=r"^gpu: no card here$"):
        run_all([found, made("second", "pass")], tmp_path)


def test_the_missing_are_those_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpu_steps.importlib.util.find_spec
    gone = {"hydra", "vaderSentiment", "annotated_types"}
    monkeypatch.setattr(gpu_steps.importlib.util, "find_spec", lambda name: None if name in gone else found(name))
    assert gpu_steps.missing() == ["annotated-types", "hydra-core", "vaderSentiment"]


def test_tests_are_counted_from_pytests_file(tmp_path: Path) -> None:
    file = tmp_path / "tests.xml"
    cases = '<testcase classname="a" name="one"/><testcase classname="a" name="two"><failure/></testcase>'
    cases += '<testcase name="three"><skipped/></testcase><testcase classname="b" name="four"><error/></testcase>'
    file.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert gpu_steps.test_figures(file) == {
        "passed": 1, "failed": 2, "skipped": 1, "names_of_failed": ["a::two", "b::four"],
    }  # fmt: skip
    file.write_text("<testsuites><testsuite><testcase")
    assert gpu.figures(file) is None


def test_the_table_has_what_was_found() -> None:
    rows = [
        {"cell": "gru", "backend": "vendor", "shape": "3x2x4", "ms": 2.0, "ratio_to_vendor": 1.0, "parity": "green"},
        {"cell": "gru", "backend": "loop", "shape": "3x2x4", "ms": 8.0, "ratio_to_vendor": 0.25, "parity": "green"},
    ]
    not_run = [{"cell": "gru", "backend": "compiled", "shape": "3x2x4", "parity": None, "reason": "needs Triton"}]
    kernels = [
        {"cell": "gru", "dtype": "float16", "B": 8, "H": 128, "kernel": "cuDNN standard"},
        {"cell": "gru", "dtype": "float16", "B": 8, "H": 256, "error": "RuntimeError: no"},
    ]
    text = table(
        {
            "steps": [
                {"name": "environment", "state": "ok", "seconds": 1, "figures": {"card": "A card", "torch": "2.11.0"}},
                {"name": "tests", "state": "failed", "seconds": 2, "exit": 1, "tail": ["1 failed"],
                 "figures": {"passed": 3, "failed": 1, "skipped": 0, "names_of_failed": ["a::b"]}},
                {"name": "cells float32", "state": "ok", "seconds": 3,
                 "figures": {"peak_gflops": 100.0, "rows": rows, "not_run": not_run}},
                {"name": "algorithms", "state": "ok", "seconds": 4, "figures": {"rows": kernels}},
                {"name": "time train", "state": "ok", "seconds": 5, "tail": ["", "gru 1.20 times as fast"]},
                {"name": "quick", "state": "no time left", "seconds": 0.0},
            ]
        }
    )  # fmt: skip
    assert "A card, torch 2.11.0" in text
    assert "3 passed, 1 failed, 0 left out\n  a::b" in text
    assert (
        "3x2x4  vendor    2.000       1.00\n3x2x4  loop      8.000       0.25\n  gru on compiled: needs Triton" in text
    )
    assert "gru   float16      8  cuDNN standard  RuntimeError: no" in text
    assert "gru 1.20 times as fast" in text
    assert "tests: failed (exit 1)\n  1 failed" in text
    assert "no time left" in text
    assert aligned([["a", "b"], ["cc", "1.0"]]) == "a     b\ncc  1.0"
    assert table({"steps": []}).startswith("machine: not known")


def test_the_wheels_are_what_is_locked_less_what_is_there() -> None:
    names = [line.partition("==")[0] for line in gpu_wheels.wanted({})]
    assert {"hydra_core", "omegaconf", "mlflow", "datasets", "pydantic_core", "rich", "numpy"} <= set(names)
    assert not {"torch", "ruff", "mypy", "playwright", "sympy"} & set(names)
    has = gpu_wheels.names_of("NumPy==99.1+cu130, rich hydra_core==0.9")
    assert has == {"numpy": "99.1", "rich": "", "hydra_core": "0.9"}
    left = [line.partition("==")[0] for line in gpu_wheels.wanted(has)]
    assert set(names) - set(left) == {"numpy", "rich"}  # hydra is too old there


def test_a_list_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "has.txt"
    file.write_text("absl-py==2.1\nzipp\n")
    assert gpu_wheels.names_of(str(file)) == {"absl_py": "2.1", "zipp": ""}
    assert gpu_wheels.names_of("") == {}


@pytest.mark.slow
def test_the_whole_flow_at_tiny_sizes_on_a_cpu(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert gpu.main(["--device", "cpu", "--dry", "--output", str(output)]) == 0
    states = {step["name"]: step["state"] for step in json.loads((output / "summary.json").read_text())["steps"]}
    assert set(states.values()) == {"ok"}
    assert (output / "store.tar.gz").is_file()
