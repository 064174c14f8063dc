"""The folder of a kept model: what is read from it is what was written, and nothing else is read as a model."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import torch
import yaml
from backend_pairs import runs as claims
from conftest import REPOSITORY, composed, yaml_names
from made_cells import CELLS
from omegaconf import OmegaConf
from safetensors import safe_open
from torch import nn

import gru_bench
from gru_bench.config.check import Node, check, construct
from gru_bench.errors import UserError
from gru_bench.kept.folder import CONFIG_FILE, FACTS_FILE, READER_FILE, WEIGHTS_FILE
from gru_bench.kept.load import load_folder
from gru_bench.kept.weights import read_weights, save_weights
from gru_bench.kept.write import write_kept
from gru_bench.models.language_model import LanguageModel
from gru_bench.run.build import ModelBuilder, Place, make_cell
from gru_bench.tasks.reader import Reader

CPU = Place(torch.device("cpu"), torch.float32)
SIZES = {"input_size": 2, "num_outputs": 1}

pytestmark = pytest.mark.usefixtures("hydra_conf")


@pytest.fixture(scope="module")
def node(hydra_conf: None) -> Node:  # noqa: ARG001  # of the same scope, unlike the mark
    return check(composed("task=adding", "cell=lstm", "hidden_size=5", "num_layers=2"))[1]


def made(node: Node, sizes: dict[str, int] | None = None, hidden_size: int = 5) -> nn.Module:
    """A model all of whose numbers differ from those that any seed draws."""
    builder = ModelBuilder(node, sizes or SIZES, CPU)
    model = builder.build(make_cell(node), construct(node["backend"]), hidden_size, seed=1)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def facts(hidden_size: int = 5, **more: Any) -> dict[str, Any]:
    return {"hidden_size": hidden_size, "sizes": SIZES, "run_id": "a"} | more


def assert_same(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture
def kept(node: Node, tmp_path: Path) -> Path:
    write_kept(tmp_path / "kept", made(node), node, facts(), None)
    return tmp_path / "kept"


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_of_any_cell_and_backend_comes_back_bitwise(cell: str, node: Node, tmp_path: Path) -> None:
    folder, x = tmp_path / "kept", torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    for backend in yaml_names("backend"):
        if backend != "loop" and not claims(cell, backend):
            continue
        parts = {
            group: OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / group / f"{name}.yaml"))
            for group, name in (("cell", cell), ("backend", backend))
        }
        model = made(node | parts).eval()
        write_kept(folder, model, node | parts, facts(), None)
        loaded = load_folder(folder)
        assert_same(loaded.module, model)
        assert not loaded.module.training
        if backend == "loop":
            with torch.no_grad():
                assert torch.equal(loaded.module(x), model(x))


def test_what_a_model_of_each_type_and_task_keeps(node: Node, tmp_path: Path) -> None:
    double = node | {"dtype": "float64"}
    model = made(double).double()
    write_kept(tmp_path / "kept", model, double, facts(), None)
    assert_same(load_folder(tmp_path / "kept").module, model)


def test_a_tied_embedding_is_kept_once_and_is_tied_again(tmp_path: Path) -> None:
    tied = ["task=language_modeling", "model.tied=true", "model.embedding_size=5", "data.path=x", "cell=gru"]
    _, node = check(composed(*tied))
    sizes = {"vocab_size": 1000}
    model = made(node, sizes)
    assert isinstance(model, LanguageModel)
    write_kept(tmp_path / "kept", model, node, facts(sizes=sizes), None)
    with safe_open(tmp_path / "kept" / WEIGHTS_FILE, "pt") as file:
        assert len({"embedding.weight", "output.weight"} & set(file.keys())) == 1
        assert len(file.metadata()) == 2
    loaded = load_folder(tmp_path / "kept").module
    assert_same(loaded, model)
    assert isinstance(loaded, LanguageModel)
    assert loaded.embedding.weight is loaded.output.weight


def test_a_view_brings_only_what_it_shows(tmp_path: Path) -> None:
    large = torch.arange(100_000.0)
    state = {"a": large[:3], "b": large[1:4], "c": large[:3], "none": torch.empty(0), "mask": torch.tensor(True)}
    save_weights(tmp_path / "w", state)
    assert (tmp_path / "w").stat().st_size < 1000
    found = read_weights(tmp_path / "w")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_the_files_are_as_readable_as_any_others(kept: Path) -> None:
    (kept.parent / "usual").touch()
    usual = (kept.parent / "usual").stat().st_mode
    assert {file.stat().st_mode for file in kept.iterdir()} == {usual}
    (kept.parent / "folder").mkdir()
    assert kept.stat().st_mode == (kept.parent / "folder").stat().st_mode


def test_loading_draws_nothing_and_says_what_it_is(kept: Path, node: Node) -> None:
    before = torch.get_rng_state()
    loaded = gru_bench.load(str(kept))
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.facts == facts()
    assert loaded.config["cell"] == node["cell"]
    with pytest.raises(UserError, match=r"a generator drew its data"):
        loaded.predict([{"text": "a"}])


def test_a_folder_may_be_moved_and_written_again(kept: Path, node: Node) -> None:
    moved = kept.rename(kept.parent / "elsewhere")
    assert load_folder(moved).facts["run_id"] == "a"
    write_kept(moved, made(node), node, facts(run_id="b"), None)
    assert load_folder(moved).facts["run_id"] == "b"
    assert sorted(path.name for path in moved.parent.iterdir()) == ["elsewhere"]


class Unwritable(Reader):
    """A reader that nothing can write down."""

    kind, roles = "unwritable", ("text",)

    def as_json(self) -> dict[str, Any]:
        raise KeyboardInterrupt

    @classmethod
    def from_json(cls, known: Mapping[str, Any], /) -> Self:
        raise NotImplementedError

    def sizes(self) -> dict[str, int]:
        return SIZES

    def predict(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return []


def test_what_ends_the_writing_leaves_the_old_folder_or_none(kept: Path, node: Node) -> None:
    old = {file.name: file.read_bytes() for file in kept.iterdir()}
    for folder in (kept, kept.parent / "new"):
        with pytest.raises(KeyboardInterrupt):
            write_kept(folder, made(node), node, facts(run_id="b"), Unwritable())
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == old


def test_the_config_has_no_secret_and_no_private_folder(node: Node, tmp_path: Path) -> None:
    told = node | {"data": {"_target_": "x", "path": os.path.expanduser("~/secret/a.csv")}, "tracking": {"uri": "x"}}
    write_kept(tmp_path / "kept", made(node), told, facts(), None)
    config = yaml.safe_load((tmp_path / "kept" / CONFIG_FILE).read_text())
    assert config["data"]["path"] == "~/secret/a.csv"
    assert "tracking" not in config


# what is no kept model


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_cut_file_is_a_line(kept: Path, cut: int) -> None:
    for name in (WEIGHTS_FILE, CONFIG_FILE, FACTS_FILE):
        whole = (kept / name).read_bytes()
        (kept / name).write_bytes(whole[:cut] if name != CONFIG_FILE else b"{a: [")
        if (kept / name).read_bytes().strip() != whole.strip():
            with pytest.raises(UserError, match=rf"^{name}: [^\n]*; valid: the whole file as its run kept it$"):
                load_folder(kept)
        (kept / name).write_bytes(whole)
    load_folder(kept)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE, FACTS_FILE])
def test_a_missing_file_is_a_line(kept: Path, name: str) -> None:
    (kept / name).unlink()
    with pytest.raises(UserError, match=rf"^[^\n]*: has no {name}; valid: the folder of a kept model$"):
        load_folder(kept)


def test_a_pickle_is_not_read(kept: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), kept / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"^model.safetensors: cannot be read as weights"):
        load_folder(kept)


@pytest.mark.parametrize("other", [{"hidden_size": 6}, {"cell": "gru"}, {"num_layers": 1}])
def test_another_models_weights_are_a_line(kept: Path, node: Node, other: dict[str, Any]) -> None:
    if "cell" in other:
        other = {"cell": OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "cell" / "gru.yaml"))}
    save_weights(kept / WEIGHTS_FILE, made(node | other, hidden_size=other.get("hidden_size", 5)).state_dict())
    with pytest.raises(UserError, match=r"^model.safetensors: does not fit the model of config.yaml [^\n]*$"):
        load_folder(kept)


@pytest.mark.parametrize("part", ["cell", "backend", "budget", "model"])
@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "pathlib.Path"])
def test_a_config_runs_nothing_of_its_own(kept: Path, part: str, target: str) -> None:
    config = yaml.safe_load((kept / CONFIG_FILE).read_text())
    config[part] = {"_target_": target}
    (kept / CONFIG_FILE).write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=rf"^config.yaml.{part}._target_={target}: no part of an experiment"):
        load_folder(kept)


def test_other_sizes_and_another_reader_are_a_line(kept: Path) -> None:
    known = json.loads((kept / FACTS_FILE).read_text())
    (kept / FACTS_FILE).write_text(json.dumps(known | {"sizes": {"input_size": 2}}))
    with pytest.raises(UserError, match=r"^facts.json: its sizes lack 'num_outputs'"):
        load_folder(kept)
    (kept / FACTS_FILE).write_text(json.dumps(known | {"sizes": None}))
    with pytest.raises(UserError, match=r"^facts.json: lacks sizes or hidden_size"):
        load_folder(kept)
    (kept / FACTS_FILE).write_text(json.dumps(known))
    for reader, message in (
        ({"kind": "fortune"}, "kind='fortune': no such reader"),
        (
            {"kind": "text_classification", "tokens": ["<pad>", "<unk>"], "classes": ["a"], "tokenizer": "words",
             "lowercase": False, "max_length": None},
            "belongs to another model",
        ),
    ):  # fmt: skip
        (kept / READER_FILE).write_text(json.dumps(reader))
        with pytest.raises(UserError, match=rf"^reader.json: {message}"):
            load_folder(kept)


def test_no_such_folder_or_device_is_a_line(kept: Path) -> None:
    with pytest.raises(UserError, match=r"^absent: neither a folder nor the id of a run"):
        gru_bench.load("absent")
    with pytest.raises(UserError, match=r"^device=tpu: no such device"):
        gru_bench.load(kept, device="tpu")
    (kept / CONFIG_FILE).write_text((kept / CONFIG_FILE).read_text().replace("float32", "float3"))
    with pytest.raises(UserError, match=r"^dtype=float3: no such type"):
        gru_bench.load(kept)
