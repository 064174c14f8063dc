"""What each worker of a sweep gets: its share of the cores, and its GPU where there are several."""

from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from gru_bench.run import workers
from gru_bench.run.workers import THREAD_VARIABLES, environments, gpus

SLICES = ["MIG-1b2c", "MIG-1b2d", "MIG-1b2e"]


def config(device: str = "cuda", *overrides: str, n_jobs: int = 4, params: dict[str, Any] | None = None) -> DictConfig:
    hydra = {"launcher": {"n_jobs": n_jobs}, "sweeper": {"params": params}, "overrides": {"task": list(overrides)}}
    return OmegaConf.create({"device": device, "hydra": hydra})


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and three cards, and nothing said about either."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    for name in (*THREAD_VARIABLES, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("visible", "cards"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        ("2,0,1", ["2", "0", "1"]),
        (" 4 , 5, 6", ["4", "5", "6"]),
        ("-1", []),
        ("NoDevFiles", []),
        ("GPU-8932f937,GPU-d0f7a1b2", ["GPU-8932f937", "GPU-d0f7a1b2"]),
        ("GPU-8932f937,-1,GPU-d0f7a1b2", ["GPU-8932f937"]),
        (",".join(SLICES), SLICES),
    ],
)
def test_the_cards_are_those_that_the_user_lets_be_seen(visible: str | None, cards: list[str]) -> None:
    assert gpus(config(), {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == cards


def test_names_of_cards_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert gpus(config(), {"CUDA_VISIBLE_DEVICES": "0,9"}) == ["0"]


@pytest.mark.parametrize(
    ("given", "num_cards"),
    [
        (config("cpu"), 0),
        (config("cuda:1"), 0),
        (config("cpu", "device=cuda:1"), 0),
        (config("cpu", "device=cuda:0,cuda:1"), 0),
        (config("cpu", "+own.device=cuda"), 0),
        (config("cpu", "device=cuda"), 3),
        (config("cpu", "device=cpu,cuda"), 3),
        (config("cpu", params={"device": "cpu,cuda"}), 3),
        (config("cpu", params={"seed": "0,1"}), 0),
    ],
)
def test_runs_on_the_cpu_or_on_a_card_that_they_name_get_none(given: DictConfig, num_cards: int) -> None:
    assert len(gpus(given, {})) == num_cards
    assert sum("CUDA_VISIBLE_DEVICES" in one for one in environments(given, 4)) == (4 if num_cards else 0)


def test_each_worker_sees_one_card_and_its_share_of_the_cores() -> None:
    found = environments(config(), num_jobs=100)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "1", "2", "0"]
    assert {one[name] for one in found for name in THREAD_VARIABLES} == {"2"}
    assert len(environments(config(), num_jobs=3)) == 3
    assert len(environments(config(n_jobs=100), num_jobs=100)) == 8


def test_one_card_is_left_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937")
    assert not any("CUDA_VISIBLE_DEVICES" in one for one in environments(config(), num_jobs=4))
