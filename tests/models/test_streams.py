"""Random streams: what equal seeds share, and that no two parts share anything."""

from typing import Any

import pytest
import torch
from conftest import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gru_bench.backends.loop import Loop
from gru_bench.config.check import check
from gru_bench.errors import UserError
from gru_bench.models.streams import Streams, stream_seed
from gru_bench.run.build import ModelBuilder, Place, data_seed, dropout_seed, make_cell

SIZES = {
    "vocab_size": 30, "input_size": 4, "num_classes": 3, "num_outputs": 1, "source_vocab_size": 20,
    "target_vocab_size": 21,
}  # fmt: skip
MODELS = [
    ["task=imdb", "model.pooling=attention", "model.dense=[5,4]"],
    ["task=adding"],
    ["task=ud_pos"],
    ["task=wikitext2", "model.embedding_size=7"],
    ["task=wikitext2", "model.tied=false", "model.init_range=0.1"],
    ["task=multi30k_de", "model.attention=luong", "model.bidirectional=true"],
    ["task=multi30k_de", "model.attention=bahdanau", "model.bidirectional=true"],
]


def build(overrides: list[str], cell: str, seed: int = 0) -> nn.Module:
    _, node = check(composed(*overrides, f"cell={cell}", "num_layers=2"))
    place = Place(torch.device("cpu"), torch.float32)
    return ModelBuilder(node, SIZES, place).build(make_cell(node), Loop(), 6, seed)


def outside_cells(model: nn.Module) -> dict[str, Tensor]:
    return {name: values for name, values in model.state_dict().items() if ".cells." not in name}


@pytest.fixture(params=MODELS, ids=lambda overrides: " ".join(overrides).replace("task=", "").replace("model.", ""))
def overrides(request: pytest.FixtureRequest) -> list[str]:
    chosen: list[str] = request.param
    return chosen


def test_known_seed() -> None:
    # printf 7/model.embedding | sha256sum | cut -c -16, shifted right by one bit
    assert stream_seed(7, "model.embedding") == 0xE4DB7FE6C3A27ED3 >> 1
    assert Streams(7).part("model")("embedding").initial_seed() == stream_seed(7, "model.embedding")


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.text())
def test_a_seed_is_a_seed_of_torchs(seed: int, name: str) -> None:
    assert 0 <= stream_seed(seed, name) < 2**63


def test_no_two_seeds_or_names_draw_alike() -> None:
    """Torch's generator keeps 32 bits of a seed: seeds that were 2 ** 31 apart gave equal scores."""
    seeds = [0, 1, 2, 2**30, 2**31, 2**31 + 1, 2**32 - 1]
    names = ["data", "dropout", "model.embedding", "model.output", "model.encoder.layer0.forward"]
    drawn = {tuple(torch.rand(3, generator=Streams(s)(name)).tolist()) for s in seeds for name in names}
    assert len(drawn) == len(seeds) * len(names)
    used = [data_seed, dropout_seed]
    assert len({f(s) % 2**32 for f in used for s in seeds}) == len(used) * len(seeds)


@pytest.mark.usefixtures("hydra_conf")
def test_a_seed_above_32_bits_is_refused() -> None:
    with pytest.raises(UserError, match="seed=4294967296: must be less than 4294967296"):
        check(composed("seed=4294967296"))
    assert check(composed("seed=4294967295"))[0].seed == 2**32 - 1


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "lstm_chrono"])  # the last draws more
def test_equal_seeds_put_every_cell_into_the_same_network(cell: str, overrides: list[str]) -> None:
    one, other = outside_cells(build(overrides, "gru")), outside_cells(build(overrides, cell))
    shared = set(one) & set(other)  # an LSTM has a bridge more, for its second state
    assert shared == {name for name in one if name in shared or "bridges" in name}
    assert any("output" in name or "head" in name for name in shared)
    for name in shared:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.usefixtures("hydra_conf")
def test_equal_seeds_give_equal_models_and_others_differ(overrides: list[str]) -> None:
    first, same, other = (build(overrides, "lstm", seed).state_dict() for seed in (0, 0, 2**31))
    for name, values in first.items():
        assert torch.equal(values, same[name]), name
        if not name.endswith(".b"):  # a cell's biases are not drawn
            assert not torch.equal(values, other[name]), name


class Noting(Streams):
    """Streams that keep the names asked for."""

    asked: list[str]

    def __call__(self, name: str) -> torch.Generator:
        self.asked.append(self.prefix + name)
        return super().__call__(name)


@pytest.mark.usefixtures("hydra_conf")
def test_no_two_parts_have_one_stream(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noting, "asked", [], raising=False)
    monkeypatch.setattr("gru_bench.run.build.Streams", Noting)
    model = build(overrides, "lstm")
    names = Noting.asked
    if "model.init_range=0.1" in overrides:  # drawn anew, each from its own stream
        names = list(dict.fromkeys(names))
    assert len(names) == len(set(names)) > 2
    assert all(name.startswith("model.") for name in names)
    weights = [v.flatten()[:4] for n, v in model.named_parameters() if not n.endswith(("bias", ".b"))]
    for i, one in enumerate(weights):
        scaled = one / one.norm()
        for other in weights[i + 1 :]:  # the same draws within other bounds would differ by a factor alone
            assert not torch.allclose(scaled, other / other.norm(), atol=1e-3)


def test_the_order_of_building_changes_nothing() -> None:
    streams: Any = Streams(3)
    first = [torch.rand(2, generator=streams(name)) for name in ("a", "b")]
    second = [torch.rand(2, generator=streams(name)) for name in ("b", "a")]
    assert torch.equal(first[0], second[1])
    assert torch.equal(first[1], second[0])
    assert not torch.equal(first[0], first[1])
