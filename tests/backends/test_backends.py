"""What every backend promises: the same outputs, gradients and training as the readable loop."""

import copy

import pytest
import torch
from backend_pairs import A_CELL_OF, AGAINST_LOOP, EQUATIONS, PAIRS, backend, draw
from conftest import yaml_names
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import CPU, maker, seeded
from torch import Tensor, nn

from gru_bench.backends.base import State, check_input, zero_padding
from gru_bench.cells.base import Cell
from gru_bench.errors import UserError
from gru_bench.models.encoder import Encoder, flip, last_output, num_parameters
from gru_bench.models.streams import Streams


def encoder(
    cell: str, runner: str, *, num_layers: int = 1, bidirectional: bool = False, dtype: torch.dtype = torch.float64
) -> Encoder:
    """An encoder of 3 features and 5 units a direction whose biases are not zero."""

    def make(input_size: int, hidden_size: int, generator: torch.Generator) -> Cell:
        made = maker(cell)(input_size, hidden_size, generator)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
        return made

    return Encoder(
        3,
        make,
        backend(runner),
        Streams(0),
        hidden_size=5,
        num_layers=num_layers,
        device=CPU,
        dtype=dtype,
        bidirectional=bidirectional,
    ).to(dtype)


def tensors(module: Encoder, *, grad: bool = False) -> list[Tensor]:
    """All trained values or gradients, in one order for all backends."""
    layers = [layer for stack in module.stacks for layer in stack.cell_tensors(grad=grad)]  # type: ignore[operator]
    return [layer[name] for layer in layers for name in sorted(layer)]


def test_there_is_something_to_compare() -> None:
    assert {"rnn", "irnn", "lstm", "gru"} == {cell for cell, runner in AGAINST_LOOP if runner == "vendor"}
    assert {cell for cell, runner in PAIRS if runner == "loop"} == set(EQUATIONS)
    assert {"mingru", "minlstm"} == {cell for cell, runner in AGAINST_LOOP if runner == "scan"}


@pytest.mark.parametrize(
    ("T", "ragged", "num_layers", "bidirectional", "given_state"),
    [
        (1, False, 1, False, True),
        (1, False, 2, True, False),
        (21, False, 1, False, False),
        (21, False, 3, False, True),
        (21, True, 2, False, True),
        (21, True, 1, True, True),
        (20, True, 2, True, False),
    ],
)
@pytest.mark.parametrize(("cell", "runner"), AGAINST_LOOP)
def test_outputs_and_all_gradients_equal_the_loops(
    cell: str, runner: str, T: int, ragged: bool, num_layers: int, bidirectional: bool, given_state: bool
) -> None:
    B = 4
    lengths = torch.tensor([T, 1, 7, 7]) if ragged else None
    found: list[list[Tensor]] = []
    for name in ("loop", runner):
        module = encoder(cell, name, num_layers=num_layers, bidirectional=bidirectional)
        x = draw(T, B, 3).requires_grad_()
        depth = num_layers * (2 if bidirectional else 1)
        count = len(maker(cell)(1, 1, seeded()).states)
        state: State | None = (
            tuple(draw(depth, B, 5, seed=k).requires_grad_() for k in range(count)) if given_state else None
        )
        h, final = module(x, state, lengths)
        loss = (h * draw(*h.shape, seed=20)).sum()
        for k, s in enumerate(final):
            loss = loss + (s * draw(*s.shape, seed=30 + k)).sum()
        loss.backward()
        leaves = [leaf.grad for leaf in (x, *(state or ())) if leaf.grad is not None]
        found.append([h, *final, *leaves, *tensors(module), *tensors(module, grad=True)])
    assert len(found[0]) == len(found[1])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("cell", "runner"), AGAINST_LOOP)
def test_ten_adam_steps_agree(cell: str, runner: str, dtype: torch.dtype, atol: float) -> None:
    trained: list[list[Tensor]] = []
    for name in ("loop", runner):
        module = encoder(cell, name, num_layers=2, dtype=dtype)
        optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.01)
        start = [value.clone() for value in tensors(module)]
        for step in range(10):
            h, _ = module(draw(12, 4, 3, seed=step).to(dtype))
            loss = (h - 0.3).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
        trained.append(tensors(module))
        assert all((a - b).abs().max() > 0.02 for a, b in zip(start, trained[-1], strict=True))
    for expected, got in zip(*trained, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_initial_values_and_counts_are_the_cells_own(cell: str, runner: str) -> None:
    reference, other = encoder(cell, "loop", num_layers=2), encoder(cell, runner, num_layers=2)
    assert all(torch.equal(a, b) for a, b in zip(tensors(reference), tensors(other), strict=True))
    assert num_parameters(other) == num_parameters(reference)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    encoder(cell, runner, num_layers=2)
    assert torch.equal(state, torch.get_rng_state())  # nothing was drawn elsewhere


@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_steps_chained_are_the_whole_sequence(cell: str, runner: str) -> None:
    module, x = encoder(cell, runner, num_layers=2), draw(9, 4, 3)
    whole, final = module(x)
    state: State | None = None
    for t in range(9):
        h, state = module(x[t : t + 1], state)
        torch.testing.assert_close(h[0], whole[t], rtol=0, atol=1e-13)
    first, carried = module(x[:4])
    second, end = module(x[4:], carried)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-13)
    for found in (state, end):
        assert found is not None
        for a, b in zip(found, final, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_padding_changes_nothing_and_gets_no_gradient(cell: str, runner: str, bidirectional: bool) -> None:
    module = encoder(cell, runner, num_layers=2, bidirectional=bidirectional)
    lengths = torch.tensor([6, 2, 1, 4])
    x = draw(6, 4, 3)
    noisy = x.clone()
    for column, length in enumerate(lengths.tolist()):
        noisy[length:, column] = 1e6
    longer = torch.cat([noisy, torch.full((3, 4, 3), float("inf"), dtype=torch.float64)])
    h, final = module(x, None, lengths)
    for padded in (noisy, longer):
        leaf = padded.clone().requires_grad_()
        h_padded, final_padded = module(leaf, None, lengths)
        torch.testing.assert_close(h_padded[:6], h, rtol=0, atol=0)
        assert (h_padded[6:] == 0).all()
        for a, b in zip(final_padded, final, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        if padded is noisy:
            (h_padded.sum() + sum(s.sum() for s in final_padded)).backward()
            for column, length in enumerate(lengths.tolist()):
                assert (leaf.grad[length:, column] == 0).all()
                assert (leaf.grad[:length, column] != 0).any()
    for column, length in enumerate(lengths.tolist()):  # each sequence as if it were alone
        alone, state = module(x[:length, column : column + 1])
        torch.testing.assert_close(h[:length, column], alone[:, 0], rtol=0, atol=1e-13)
        assert (h[length:, column] == 0).all()
        for whole, own in zip(final, state, strict=True):
            torch.testing.assert_close(whole[:, column], own[:, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_the_backward_direction_is_the_forward_one_on_the_reversed_sequence(cell: str, runner: str) -> None:
    module, x = encoder(cell, runner, bidirectional=True), draw(6, 2, 3)
    h, final = module(x)
    assert h.shape == (6, 2, 10)
    backward, state = module.stacks[1](x.flip(0))
    torch.testing.assert_close(h[:, :, 5:], backward.flip(0), rtol=0, atol=0)
    assert all(torch.equal(a[1:], b) for a, b in zip(final, state, strict=True))


@pytest.mark.parametrize("runner", sorted({runner for cell, runner in PAIRS if cell == "gru"}))
@pytest.mark.parametrize(("cell", "module"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_both_directions_and_their_states_are_ordered_as_in_torch(
    cell: str, module: type[nn.RNNBase], runner: str
) -> None:
    ours, x = encoder(cell, runner, num_layers=2, bidirectional=True), draw(6, 2, 3)
    theirs = module(3, 5, num_layers=2, bidirectional=True).double()
    with torch.no_grad():
        for index, stack in enumerate(ours.stacks):
            (values,) = stack.cell_tensors()  # type: ignore[operator]
            suffix = f"l{index // 2}" + ("_reverse" if index % 2 else "")
            getattr(theirs, f"weight_ih_{suffix}").copy_(values["W"])
            getattr(theirs, f"weight_hh_{suffix}").copy_(values["U"])
            getattr(theirs, f"bias_ih_{suffix}").copy_(values["b"])
            getattr(theirs, f"bias_hh_{suffix}").zero_()
            if "b_hn" in values:
                getattr(theirs, f"bias_hh_{suffix}")[10:] = values["b_hn"]
    state = tuple(draw(4, 2, 5, seed=k) for k in range(2 if cell == "lstm" else 1))
    h, final = ours(x, state)
    expected, expected_final = theirs(x, state if cell == "lstm" else state[0])
    torch.testing.assert_close(h, expected, rtol=0, atol=1e-13)
    for a, b in zip(final, expected_final if cell == "lstm" else (expected_final,), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("runner", yaml_names("backend"))
@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((0, 2, 3), None, r"T and B at least 1, got \(0, 2, 3\)"),
        ((2, 0, 3), None, r"T and B at least 1, got \(2, 0, 3\)"),
        ((2, 3), None, r"\(T, B, D\)"),
        ((4, 2, 3), [4, 0], r"lengths must lie in 1\.\.4 \(T\), got 0\.\.4"),
        ((4, 2, 3), [5, 1], r"got 1\.\.5"),
        ((4, 2, 3), [4], r"expected \(2,\), got \(1,\)"),
    ],
)
def test_bad_input_is_named(runner: str, shape: tuple[int, ...], lengths: list[int] | None, message: str) -> None:
    module = encoder(A_CELL_OF[runner], runner).stacks[0]
    with pytest.raises(UserError, match=message):
        module(torch.zeros(shape, dtype=torch.float64), None, None if lengths is None else torch.tensor(lengths))


def test_good_input_passes_the_check() -> None:
    check_input(torch.zeros(4, 2, 3), torch.tensor([4, 1]))


def test_dropout_acts_between_layers_in_training_alone() -> None:
    for runner in yaml_names("backend"):
        make = maker(A_CELL_OF[runner])
        cells = [make(3, 5, seeded()), make(5, 5, seeded(1))]
        stack = backend(runner).stack(cells, CPU, torch.float32, dropout=0.9)
        x = torch.ones(4, 2, 3)
        plain = backend(runner).stack(copy.deepcopy(cells), CPU, torch.float32)(x)[0]
        torch.manual_seed(0)
        assert not torch.allclose(stack(x)[0], plain)
        torch.testing.assert_close(stack.eval()(x)[0], plain)
        single = backend(runner).stack([make(3, 5, seeded())], CPU, torch.float32, dropout=0.9)
        assert torch.equal(single(x)[0], single(x)[0])


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_flip_turns_each_sequence_within_its_length(lengths: list[int]) -> None:
    x = torch.arange(7 * len(lengths), dtype=torch.float64).reshape(7, len(lengths), 1) + 1
    lengths_B = torch.tensor(lengths)
    flipped = flip(x, lengths_B)
    for column, length in enumerate(lengths):
        assert torch.equal(flipped[:length, column], x[:length, column].flip(0))
        assert (flipped[length:, column] == 0).all()
    assert torch.equal(flip(flipped, lengths_B), zero_padding(x, lengths_B))
    last = last_output(x, lengths_B)
    assert [last[k].item() for k in range(len(lengths))] == [x[n - 1, k].item() for k, n in enumerate(lengths)]


def test_flip_and_last_output_of_full_sequences() -> None:
    x = draw(4, 2, 3)
    assert torch.equal(flip(x, None), x.flip(0))
    assert torch.equal(last_output(x, None), x[3])
