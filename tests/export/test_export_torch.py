"""Exports as programs of torch.export: any length and batch, and the source."""

from pathlib import Path

import pytest
import torch
from exported_models import model_of

from gru_bench.errors import UserError
from gru_bench.export import proof, torch_program
from gru_bench.export.write import export

pytestmark = pytest.mark.slow  # torch.export takes seconds


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "STEPS", 30)
    monkeypatch.setattr(proof, "RAGGED", ((1,), (3, 1, 2), (17, 5, 1, 9, 17)))


@pytest.mark.filterwarnings("default")  # torch's own, of its prototypes
@pytest.mark.parametrize(
    ("kind", "cell", "options"),
    [
        ("classifier", "gru", {"pooling": "attention"}),
        ("classifier", "sru", {"pooling": "mean", "bidirectional": True}),
        ("language_model", "lstm_layer_norm", {}),
        ("seq2seq", "lstm", {"attention": "bahdanau", "bidirectional": True}),
    ],
)
def test_a_program_is_its_model(kind: str, cell: str, options: dict[str, object], tmp_path: Path) -> None:
    done = export(model_of(kind, cell, **options), tmp_path / "out", kind="torch", int8=False, operators=True)
    assert done.proof.holds
    names = {path.name for path in (tmp_path / "out").glob("*.pt2")}
    assert names == {f"{name}.pt2" for name in done.known["graphs"]}
    by_step = {name for name, known in done.known["graphs"].items() if known["recurrent_layers"] == ["one step"]}
    assert by_step == set(done.known["graphs"]) & {"stream", "decoder_step"}


def test_what_torch_does_not_export_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("no scan here\nand much more")

    monkeypatch.setattr(torch.export, "export", refuses)
    with pytest.raises(UserError, match=r"does not export the graph sequence .* no scan here\); valid: format=onnx"):
        torch_program.trace(model_of("tagger", "gru").twin)
