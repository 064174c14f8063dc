"""Memory that is used again."""

import gc
from collections.abc import Iterator

import pytest
import torch
from bptt_cells import needs_native
from made_cells import CPU, seeded

from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import workspace
from gru_bench.cells.lstm import LSTM


class TestWorkspace:
    @pytest.fixture(autouse=True)
    def empty_shelf(self) -> Iterator[None]:
        workspace.clear()
        yield
        workspace.clear()

    def test_a_piece_comes_back_when_its_last_tensor_goes(self) -> None:
        tensor = workspace.empty((1000, 1000), torch.float32)
        at, part = tensor.data_ptr(), tensor[3:, 5]
        assert tensor.shape == (1000, 1000)
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        del tensor
        assert workspace.held_bytes() == 0  # a part of it is still in use
        del part
        assert workspace.held_bytes() >= 4_000_000
        again = workspace.empty((990_000,), torch.float32)
        assert again.data_ptr() == at
        assert workspace.held_bytes() == 0

    def test_two_tensors_never_share(self) -> None:
        tensors = [workspace.empty((2**17,), torch.float32).fill_(i) for i in range(5)]
        del tensors[::2]
        tensors += [workspace.empty((2**17 - i,), torch.float32).fill_(9 + i) for i in range(4)]
        assert [set(tensor.tolist()) for tensor in tensors] == [{1}, {3}, {9}, {10}, {11}, {12}]

    def test_small_ones_and_much_larger_pieces_are_left_alone(self) -> None:
        workspace.empty((10,), torch.float64)
        assert workspace.held_bytes() == 0
        large = workspace.empty((2**22,), torch.float32)
        at = large.data_ptr()
        del large
        assert workspace.empty((2**18,), torch.float32).data_ptr() != at

    def test_the_shelf_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workspace, "LARGEST_SHELF", 3 * 2**20)
        tensors = [workspace.empty((2**20,), torch.uint8) for _ in range(5)]
        del tensors
        assert 2 * 2**20 <= workspace.held_bytes() <= 3 * 2**20

    @needs_native
    def test_training_takes_the_same_pieces_again(self) -> None:
        stack = BPTT(native="required").stack([LSTM(64, 64, seeded())], CPU, torch.float32)
        x = torch.ones(64, 32, 64, requires_grad=True)
        held = []
        for _ in range(4):
            stack(x)[0].sum().backward()
            x.grad = None
            gc.collect()
            held.append(workspace.held_bytes())
        assert held[0] > 0
        assert len(set(held)) == 1
