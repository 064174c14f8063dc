"""Exports to ONNX: every cell and model is the source, and what is not is found and leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import yaml_names
from exported_models import folder_of, model_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from gru_bench.backends.loop import run_layer
from gru_bench.cells.base import Cell, State
from gru_bench.cells.gru import GRU
from gru_bench.commands.export import deployment_values
from gru_bench.errors import UserError
from gru_bench.export import layers, proof, write
from gru_bench.export.equations import Translated
from gru_bench.export.graph import Graph
from gru_bench.export.int8 import quantize
from gru_bench.export.layers import Layer
from gru_bench.export.models import graphs_of
from gru_bench.export.runtime import onnx_program, onnx_session
from gru_bench.export.write import NotTheSame, export


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs of fewer steps; their batches are still unequal, and of other sizes than any that was traced."""
    monkeypatch.setattr(proof, "STEPS", 30)
    monkeypatch.setattr(proof, "RAGGED", ((1,), (3, 1, 2), (2, 2), (17, 5, 1, 9, 17)))
    monkeypatch.setattr("gru_bench.export.latency.CALLS", {"stream": 3, "sequence": 3})


def layer_program(cell: Cell, *, operators: bool, backward: bool = False) -> Any:
    """One layer from ``x`` (T, B, D) and ``lengths`` to ``h`` and its states."""
    graph = Graph()
    x, lengths = (
        graph.input("x", "float", ["time", "batch", cell.input_size]),
        graph.input("lengths", "int64", ["batch"]),
    )
    h, states = Layer(graph, cell, "layer", operators=operators).sequence(x, lengths, None, backward=backward)
    graph.output("h", h, "float", ["time", "batch", cell.hidden_size])
    for name, state in zip(cell.states, states, strict=True):
        graph.output(f"last_{name}", state, "float", ["batch", cell.hidden_size])
    return onnx_program(onnx_session(graph.model("layer", {}), 1))


def gru(hidden_size: int = 5) -> GRU:
    cell = GRU(3, hidden_size, torch.Generator().manual_seed(0)).requires_grad_(False)
    for parameter in cell.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return cell


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_the_three_families_are_proved_by_default(cell: str, tmp_path: Path) -> None:
    done = export(model_of("tagger", cell, num_layers=2), tmp_path / "out", kind="onnx", int8=False, operators=True)
    assert done.proof.holds
    assert done.proof.absolute < 1e-5
    known = json.loads((tmp_path / "out" / "export.json").read_text())
    assert known["graphs"]["sequence"]["recurrent_layers"] == [cell.upper()] * 2
    assert known["graphs"]["sequence"]["inputs"]["tokens"]["shape"] == ["time", "batch"]
    assert known["proof"]["stream"]["values_compared"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"export.json", "sequence.onnx", "stream.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize("cell", yaml_names("cell"))
def test_every_cell_is_its_graph(cell: str, tmp_path: Path) -> None:
    one = model_of("classifier", cell, input="features", embedding_size=None, num_layers=1)
    assert export(one, tmp_path / "out", kind="onnx", int8=False, operators=True).proof.holds


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "gru_reset_before", "lstm", "lstm_peephole", "rnn", "rnn_article", "rnn_relu"])
def test_a_cell_with_an_operator_is_its_equations_too(cell: str, tmp_path: Path) -> None:
    done = export(model_of("language_model", cell), tmp_path / "out", kind="onnx", int8=False, operators=False)
    assert done.known["graphs"]["sequence"]["recurrent_layers"][0].startswith("Scan of")
    assert done.proof.holds


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("classifier", {"pooling": "last", "dense": [5], "bidirectional": True}),
        ("classifier", {"pooling": "mean"}),
        ("classifier", {"pooling": "max", "bidirectional": True}),
        ("classifier", {"pooling": "max"}),
        ("classifier", {"pooling": "attention"}),
        ("classifier", {"pooling": "attention", "bidirectional": True}),
        ("tagger", {"embedding_size": None, "bidirectional": True, "num_layers": 2}),
        ("language_model", {"tied": False, "scale_embedding": False, "num_layers": 2}),
        ("language_model", {}),
        ("seq2seq", {"attention": "none"}),
        ("seq2seq", {"attention": "luong", "bidirectional": True, "num_layers": 2}),
        ("seq2seq", {"attention": "bahdanau", "num_layers": 2}),
    ],
)
def test_every_model_is_its_graphs(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    done = export(model_of(kind, "lstm", **options), tmp_path / "out", kind="onnx", int8=False, operators=True)
    assert done.proof.holds
    backward = options.get("bidirectional") and kind != "seq2seq"
    assert any("stream: bidirectional=true" in line for line in done.lines) == bool(backward)


def test_the_reset_gate_is_where_our_gru_has_it() -> None:
    """An exporter has placed it before the product without a word (pytorch#189225)."""
    cell, x_TBD, lengths = gru(), torch.randn(9, 2, 3), torch.tensor([9, 4])
    h_TBH, _ = run_layer(cell, x_TBD, cell.initial_state(2), lengths)
    right = layer_program(cell, operators=True)({"x": x_TBD, "lengths": lengths})["h"]
    torch.testing.assert_close(right, h_TBH, rtol=0, atol=1e-5)
    operator = layers.operator_of(cell)
    assert operator is not None
    operator.attributes["linear_before_reset"] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "operator_of", lambda _: operator)
        before = layer_program(cell, operators=True)({"x": x_TBD, "lengths": lengths})["h"]
    assert float((before - h_TBH).abs().max()) > 1e-2


def test_a_wrong_graph_is_found_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.operator_of

    def wrong(cell: Cell) -> Any:
        found = right(cell)
        assert found is not None
        return layers.Operator(found.name, found.tensors, None, found.attributes | {"linear_before_reset": 0})

    monkeypatch.setattr(layers, "operator_of", wrong)
    with pytest.raises(NotTheSame, match="not the same model, so nothing is left of it: worst error"):
        export(model_of("tagger", "gru"), tmp_path / "out", kind="onnx", int8=False, operators=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("operators", [True, False])
def test_neither_time_nor_batch_is_frozen_and_the_loop_is_not_unrolled(operators: bool) -> None:
    """Known of exporters: nn.RNN unrolled to the length that was traced, and a batch that stays what it was."""
    cell = model_of("tagger", "rnn").twin
    drawn = graphs_of(cell, operators=operators)["sequence"]
    model = drawn.graph.model("sequence", {})
    assert sum(node.op_type in ("RNN", "Scan") for node in model.graph.node) == 1
    assert len(model.graph.node) < 30
    program = onnx_program(onnx_session(model, 1))
    for T, B in ((1, 1), (3, 7), (70, 2)):
        tokens = torch.randint(11, (T, B))
        with torch.no_grad():
            expected = cell(tokens)
        found = program({"tokens": tokens, "lengths": torch.full((B,), T)})["scores"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("operators", [True, False])
def test_padding_changes_nothing_in_the_backward_direction(operators: bool) -> None:
    cell, x_TBD = gru(), torch.randn(9, 2, 3)
    program = layer_program(cell, operators=operators, backward=True)
    padded = program({"x": x_TBD, "lengths": torch.tensor([9, 4])})
    alone = program({"x": x_TBD[:4, 1:], "lengths": torch.tensor([4])})
    torch.testing.assert_close(padded["h"][:4, 1:], alone["h"], rtol=0, atol=1e-6)
    torch.testing.assert_close(padded["last_h"][1:], alone["last_h"], rtol=0, atol=1e-6)
    assert not padded["h"][4:, 1].any()


def test_int8_shrinks_an_lstm_and_says_that_it_leaves_a_gru(tmp_path: Path) -> None:
    """microsoft/onnxruntime#9796. Should a later runtime take the GRU, the words would say that too."""
    found = {}
    for cell in ("lstm", "gru"):
        for operators in (True, False):
            one = model_of("tagger", cell, hidden_size=64, embedding_size=32).twin
            path = tmp_path / f"{cell}.onnx"
            path.write_bytes(graphs_of(one, operators=operators)["stream"].graph.model(cell, {}).SerializeToString())
            found[cell, operators] = quantize(path, tmp_path / f"{cell}.int8.onnx")
    assert found["lstm", True].left == ()
    assert found["lstm", True].bytes_after < 0.35 * found["lstm", True].bytes_before
    assert found["gru", True].left in (("GRU",), ())
    assert ("leaves GRU in float32" in found["gru", True].words()) == (found["gru", True].left == ("GRU",))
    assert found["gru", True].weights_left > 0 or found["gru", True].left == ()
    assert found["gru", False].bytes_after < 0.4 * found["gru", False].bytes_before


def test_an_operator_without_a_translation_is_named() -> None:
    class Odd(Cell):
        family, gates = "gru", ("n",)

        def step(self, gx_BG: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
            h_BH = torch.erfinv(gx_BG)
            return h_BH, (h_BH,)

    graph = Graph()
    with pytest.raises(UserError, match=r"cell=Odd: cannot be exported to ONNX: its step uses aten\.erfinv\.default"):
        Translated(Odd(2, 3, torch.Generator()), "layer").step(graph, graph.input("gx", "float", None), ["h"])


def test_what_is_no_export_is_not_replaced_and_an_export_is(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists and is no export"):
        export(model_of("tagger", "rnn"), other, kind="onnx", int8=False, operators=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    out = tmp_path / "out"
    for int8 in (True, False):
        export(model_of("tagger", "rnn"), out, kind="onnx", int8=int8, operators=True)
        assert (out / "stream.int8.onnx").exists() == int8
    assert {path.name for path in tmp_path.iterdir()} == {"other", "out"}


def test_bad_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="int8=true: only with format=onnx"):
        export(model_of("tagger", "rnn"), tmp_path / "out", kind="torch", int8=True, operators=True)
    with pytest.raises(UserError, match="model=Linear: cannot be exported"):
        graphs_of(torch.nn.Linear(1, 1), operators=True)
    monkeypatch.setattr(write, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"needs onnx and onnxruntime: pip install 'gru-bench\[export\]'"):
        export(model_of("tagger", "rnn"), tmp_path / "out", kind="onnx", int8=False, operators=True)


def test_the_command_exports_a_kept_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra import compose, initialize_config_dir

    from gru_bench.commands.export import export as command
    from gru_bench.config.check import conf_dir

    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path / "kept")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("export", [f"run={folder}", "int8=true"])
    threads = torch.get_num_threads()
    try:
        assert command(config) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "proof: worst error" in said
    assert "not scored on the test split" in said
    known = json.loads((tmp_path / "exports" / "gru_made_00000000_onnx" / "export.json").read_text())
    values = {value.metric: value.value for value in deployment_values(known)}
    assert values["float32_bytes"] == known["graphs"]["sequence"]["bytes"]
    assert values["int8_stream_p50"] > 0
    assert 0 < values["float32_error"] < 1e-4
