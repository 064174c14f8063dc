"""Small models of every kind, with weights that a wrong graph could not get right by chance."""

from pathlib import Path
from typing import Any

import torch
from conftest import REPOSITORY
from omegaconf import OmegaConf
from torch import nn

from gru_bench.config.check import construct
from gru_bench.export.write import Model
from gru_bench.run import build

SIZES = {"vocab_size": 11, "num_classes": 3, "input_size": 2, "source_vocab_size": 11, "target_vocab_size": 9}
PLAIN = {"embedding_size": 4, "dropout": 0.0, "init": "uniform"}
KINDS: dict[str, dict[str, Any]] = {
    "classifier": {"_target_": "gru_bench.models.classifier.Classifier", **PLAIN, "input": "tokens", "pooling": "last",
                   "dense": [], "bidirectional": False},
    "tagger": {"_target_": "gru_bench.models.tagger.Tagger", **PLAIN, "bidirectional": False},
    "language_model": {"_target_": "gru_bench.models.language_model.LanguageModel", **PLAIN, "tied": True,
                       "scale_embedding": True, "init_range": None},
    "seq2seq": {"_target_": "gru_bench.models.seq2seq.Seq2Seq", **PLAIN, "attention": "luong", "bidirectional": False},
}  # fmt: skip


def yaml_of(path: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / f"{path}.yaml"))


def config_of(kind: str, cell: str, *, num_layers: int = 1, backend: str = "loop", **options: Any) -> dict[str, Any]:
    """What a model is built of."""
    return {
        "cell": yaml_of(f"cell/{cell}"),
        "backend": yaml_of(f"backend/{backend}"),
        "budget": yaml_of("budget/hidden"),
        "num_layers": num_layers,
        "dtype": "float32",
        "model": KINDS[kind] | options,
    }


def built(node: dict[str, Any], hidden_size: int = 6) -> nn.Module:
    """The model, with every parameter moved: biases that are zero would hide that they were lost or misplaced."""
    place = build.Place(torch.device("cpu"), torch.float32)
    model = build.ModelBuilder(node, SIZES, place).build(
        build.make_cell(node), construct(node["backend"]), hidden_size, 0
    )
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.2 * noise)
    return model.eval()


def model_of(kind: str, cell: str, hidden_size: int = 6, **options: Any) -> Model:
    """What :func:`gru_bench.export.write.export` takes; its source is a loop, and so its own twin."""
    module = built(config_of(kind, cell, **options), hidden_size)
    return Model(module, module, {"cell": cell, "sizes": SIZES}, None, "a test")


def folder_of(path: Path, cell: str = "gru") -> Path:
    """A kept model's folder."""
    from gru_bench.kept.write import write_kept

    node = config_of("classifier", cell)
    facts = {"run_id": "0" * 32, "cell": cell, "task": "made", "sizes": SIZES, "hidden_size": 6, "seed": 0}
    write_kept(path, built(node), node, facts, None)
    return path
