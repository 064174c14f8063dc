"""A bare install: what it brings, and what the command says there. ``.ci/bare`` looks at a real one."""

import re
import tomllib
from importlib.util import find_spec

import pytest
from conftest import REPOSITORY

from gru_bench.commands import cli


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("arguments", [["train", "cell=gru"], ["report", "--help"], ["ui"], ["doctor"]])
def test_a_verb_says_in_a_line_how_to_install_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name in ("hydra", "mlflow") else find_spec(name))
    assert cli.run(arguments) == 2
    said = capsys.readouterr()
    how = "pip install 'gru-bench[bench]'"
    assert said.err == f"gru-bench {arguments[0]}: the harness is not installed here (no hydra, mlflow): {how}\n"
    assert said.out == ""


def test_help_and_version_need_no_harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    assert cli.run(["--help"]) == 0
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().err == ""


def test_the_harness_is_an_extra_that_every_other_extra_brings() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert names(project["dependencies"]) == {"filelock", "numpy", "torch"}
    extras = project["optional-dependencies"]
    assert {"hydra-core", "mlflow", "datasets", "pandas"} <= names(extras["bench"])
    assert all(extra == "bench" or any("[bench" in line for line in lines) for extra, lines in extras.items())
