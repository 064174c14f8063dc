"""A kept model's folder that anybody may have written: one line; nothing of it is run or takes memory."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import composed
from made_kept import keep

from gru_bench.commands.export import default_folder
from gru_bench.config.check import check
from gru_bench.errors import UserError
from gru_bench.kept.folder import CONFIG_FILE, FACTS_FILE
from gru_bench.kept.load import load_folder
from gru_bench.run.rebuild import refuse_foreign

pytestmark = pytest.mark.usefixtures("hydra_conf")
Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def kept(hydra_conf: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001  # of the same scope
    folder = tmp_path_factory.mktemp("kept") / "model"
    keep(folder, "task=adding")
    return folder


def config(**keys: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / CONFIG_FILE
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))

    return change


def facts(**keys: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / FACTS_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(facts(hidden_size=size) for size in (0, -3, True, 10**7, 10**12, 10**30)),
        facts(sizes={"input_size": -1, "num_outputs": 1}),
        *(config(num_layers=number) for number in (0, -1, True, 10**9, 10**30)),
        config(backend={"_target_": "gru_bench.store.write.Store", "uri": None}),
        config(cell={"_target_": "gru_bench.commands.cli.main"}),
        config(model={"_target_": "gru_bench.models.attention.LuongAttention"}),
        config(budget={"_target_": "gru_bench.backends.loop.Loop"}),
        lambda folder: (folder / CONFIG_FILE).write_text("[" * 100_000),
        lambda folder: (folder / FACTS_FILE).write_text("[" * 100_000),
    ],
)
def test_it_is_refused(change: Change, kept: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "model"))
    load_folder(folder)
    change(folder)
    with pytest.raises(UserError) as raised:
        load_folder(folder)
    assert len(str(raised.value).splitlines()) == 1


def test_a_function_is_no_part_of_an_experiment() -> None:
    with pytest.raises(UserError, match="no part of an experiment"):
        refuse_foreign({"_target_": "gru_bench.commands.cli.main"})
    refuse_foreign(check(composed("task=adding"))[1]["cell"])


def test_its_facts_choose_no_other_folder_for_an_export() -> None:
    folder = default_folder({"cell": "../../x", "task": "/etc"}, "onnx")
    assert folder.parent == Path("exports")
    assert ".." not in folder.name
