"""gru_bench.nn against torch.nn: numbers, gradients, shapes, errors, and which code ran."""

import copy
import itertools
import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_modules import KINDS, B, D, H, T, assert_same, flat, gradients, made_input, made_state, needs_native, pair
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence, pad_sequence

import gru_bench.nn as ours
from gru_bench.nn import modules, native_layer

FORMS = ("batch", "alone", "packed", "equal")
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"batch_first": True},
    {"bias": False},
    {"num_layers": 2, "dropout": 0.5},
    {"bidirectional": True, "bias": False},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "batch_first": True},
)


@needs_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_numbers_gradients_and_random_numbers_are_those_of_torch(kind: str, form: str) -> None:
    for options, with_state in itertools.product(OPTIONS, (False, True)):
        theirs, module = pair(kind, **options)
        given = made_input(form, bool(options.get("batch_first")))
        hx = made_state(theirs, form) if with_state else None
        (expected, of_expected), (found, of_found) = gradients(theirs, given, hx), gradients(module, given, hx)
        assert module.kernel().startswith("native ")
        assert_same(found, expected)
        assert_same(of_found, of_expected)
        with torch.no_grad():
            torch.manual_seed(3)
            assert_same(flat(module(given, hx)), expected)
        assert module.kernel().startswith("native ")


@needs_native
@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    sizes=st.tuples(*(st.integers(1, 20) for _ in range(4))),
    layers=st.integers(1, 3),
)
def test_any_size_in_single_precision(kind: str, sizes: tuple[int, int, int, int], layers: int) -> None:
    steps, batch, inputs, hidden = sizes
    options = {"input_size": inputs, "hidden_size": hidden, "num_layers": layers, "dtype": torch.float32}
    theirs, module = pair(kind, **options)
    x = torch.randn(steps, batch, inputs)
    (expected, of_expected), (found, of_found) = gradients(theirs, x), gradients(module, x)
    assert_same(found, expected, within=1e-4)
    assert_same(of_found, of_expected, within=1e-3)
    with torch.no_grad():  # a single step goes another way
        assert_same(flat(module(x)), expected, within=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_trained_by_either_goes_on_in_the_other(kind: str) -> None:
    theirs, module = pair(kind, num_layers=2, bidirectional=True)
    x = made_input("batch")

    def train(model: nn.Module) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            model(x)[0].square().sum().backward()
            optimizer.step()

    train(theirs)
    train(module)
    assert list(module.state_dict()) == list(theirs.state_dict())
    assert_same(list(module.parameters()), list(theirs.parameters()), within=1e-9)
    _, fresh = pair(kind, num_layers=2, bidirectional=True)
    fresh.load_state_dict(theirs.state_dict())
    assert_same(flat(fresh(x)), flat(theirs(x)))
    back, _ = pair(kind, num_layers=2, bidirectional=True)
    back.load_state_dict(module.state_dict())
    assert_same(flat(back(x)), flat(module(x)))


@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_the_same_seed_gives_the_same_module(name: str) -> None:
    torch.manual_seed(5)
    theirs = getattr(nn, name)(D, H, 2)
    torch.manual_seed(5)
    module = getattr(ours, name)(D, H, 2)
    assert isinstance(module, getattr(nn, name))
    assert repr(module) == repr(theirs)
    assert_same(list(module.parameters()), list(theirs.parameters()), within=0)


def bad_calls(kind: str) -> list[tuple[Any, Any]]:
    """Inputs and states of which each is wrong."""
    x = made_input("batch")
    theirs, _ = pair(kind)
    state = made_state(theirs, "batch")
    packed = made_input("packed")

    def like(change: Any) -> Any:
        return tuple(map(change, state)) if isinstance(state, tuple) else change(state)

    return [
        (x[:, :, :2], None),
        (x[0, 0], None),
        (x[None], None),
        (x.float(), None),
        (x[:0], None),
        (x.long(), None),
        (x, like(lambda s: s[:, :2])),
        (x, like(lambda s: s[:, :, :2])),
        (x, like(lambda s: s[0])),
        (x, like(lambda s: s.repeat(2, 1, 1))),
        (x[:, 0], state),
        (packed, like(lambda s: s[:, :2])),
        (packed, like(lambda s: s[:, :, :2])),
        (PackedSequence(packed.data[:, :2], *packed[1:]), None),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_in_the_words_of_torch(kind: str) -> None:
    theirs, module = pair(kind)
    for number, (x, hx) in enumerate(bad_calls(kind)):
        with pytest.raises(Exception) as expected:  # noqa: PT011
            theirs(x, hx)
        with pytest.raises(type(expected.value)) as found:
            module(x, hx)
        assert str(found.value) == str(expected.value), number


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"hidden_size": 0}, ValueError),
        ({"num_layers": 0}, ValueError),
        ({"dropout": 2.0}, ValueError),
        ({"proj_size": 2}, ValueError),
    ],
)
def test_the_constructor_refuses_what_that_of_torch_refuses(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ours.GRU(**({"input_size": D, "hidden_size": H} | options))


def test_dropout_of_one_layer_warns_and_does_nothing() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        module = ours.GRU(D, H, dropout=0.9)
    x = made_input("batch", dtype=torch.float32)
    assert torch.equal(module(x)[0], module(x)[0])


@needs_native
def test_dropout_acts_in_training_only() -> None:
    _, module = pair("gru", num_layers=2, dropout=0.5)
    x = made_input("batch")
    assert not torch.equal(module(x)[0], module(x)[0])
    module.eval()
    assert torch.equal(module(x)[0], module(x)[0])


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_batch_is_its_sequences_one_by_one(kind: str) -> None:
    _, module = pair(kind, num_layers=2, bidirectional=True)
    sequences = [torch.randn(n, D, dtype=torch.float64) for n in (2, 4, 1)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    out, last = module(packed)
    h_TBH, lengths = pad_packed_sequence(out)
    assert lengths.tolist() == [2, 4, 1]
    alone = [module(x) for x in sequences]
    assert_same([h_TBH], [pad_sequence([out for out, _ in alone])])
    for place, states in enumerate(zip(*(flat(last) for _, last in alone), strict=True)):
        assert_same([flat(last)[place]], [torch.stack(states, dim=1)])


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_is_one(kind: str) -> None:
    theirs, module = pair(kind)
    x = made_input("batch")[:, :0]
    assert [tensor.shape for tensor in flat(module(x))] == [tensor.shape for tensor in flat(theirs(x))]


@needs_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_stream_of_single_steps_is_the_sequence(kind: str, layers: int) -> None:
    _, module = pair(kind, num_layers=layers)
    x = made_input("batch")
    expected, last = module(x)
    state, outputs = None, []
    with torch.inference_mode():
        for x_1BD in x.split(1):
            out, state = module(x_1BD, state)
            outputs.append(out)
            assert module.kernel().startswith("native ")
    assert_same([torch.cat(outputs), *flat(state)], [expected, *flat(last)])


@needs_native
def test_a_step_takes_states_and_inputs_that_do_not_lie_together() -> None:
    theirs, module = pair("lstm", num_layers=2, batch_first=True)
    x = torch.randn(1, D, B, dtype=torch.float64).permute(2, 0, 1)
    state = tuple(s.transpose(0, 1).contiguous().transpose(0, 1) for s in made_state(theirs, "batch"))
    with torch.no_grad():
        assert_same(flat(module(x, state)), flat(theirs(x, state)))


@needs_native
@pytest.mark.parametrize("steps", [1, T])
def test_a_call_follows_the_weights_however_they_were_changed(steps: int) -> None:
    theirs, module = pair("gru")
    x = made_input("batch")[:steps]
    other = {name: torch.randn_like(p) for name, p in theirs.named_parameters()}
    with torch.no_grad():
        module(x)
        for name, value in other.items():
            getattr(theirs, name).copy_(value)
        module.weight_ih_l0.copy_(other["weight_ih_l0"])
        module.weight_hh_l0.data.copy_(other["weight_hh_l0"])  # no version of the parameter tells of this
        module.bias_ih_l0.data = other["bias_ih_l0"].clone()
        module.bias_hh_l0.detach().numpy()[:] = other["bias_hh_l0"].numpy()
        assert_same(flat(module(x)), flat(theirs(x)))
        module.bias_hh_l0 = nn.Parameter(other["bias_hh_l0"] + 1)
        theirs.bias_hh_l0.add_(1)
        assert_same(flat(module(x)), flat(theirs(x)))
    assert module.kernel().startswith("native ")


@needs_native
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_weights_that_are_shared_get_the_sum_of_their_gradients(kind: str) -> None:
    theirs, module = pair(kind, input_size=H, num_layers=2)
    for model in (theirs, module):
        for name in ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l"):
            setattr(model, f"{name}1", getattr(model, f"{name}0"))
    x = torch.randn(T, B, H, dtype=torch.float64)
    (_, expected), (_, found) = gradients(theirs, x), gradients(module, x)
    assert len(found) == 5
    assert_same(found, expected)


@needs_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_part_without_gradient_takes_none_from_the_others(kind: str, frozen: str) -> None:
    theirs, module = pair(kind)
    for model in (theirs, module):
        getattr(model, frozen).requires_grad_(False)
    (_, expected), (_, found) = gradients(theirs, made_input("batch")), gradients(module, made_input("batch"))
    assert_same(found, expected)


@needs_native
def test_the_input_alone_may_want_a_gradient() -> None:
    theirs, module = pair("gru")
    for model in (theirs, module):
        model.requires_grad_(False)
    (_, expected), (_, found) = gradients(theirs, made_input("batch")), gradients(module, made_input("batch"))
    assert_same(found, expected)


@needs_native
@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_autocast_returns_the_types_of_torch_and_is_near_single_precision(kind: str) -> None:
    theirs, module = pair(kind, dtype=torch.float32, num_layers=2)
    given = made_input("batch", dtype=torch.float32)
    expected = flat(theirs(given))
    for x in (given, given.bfloat16()):
        with torch.autocast("cpu", torch.bfloat16):
            found, types = flat(module(x)), flat(theirs(x))
        assert module.kernel().endswith("bf16")
        assert [tensor.dtype for tensor in found] == [tensor.dtype for tensor in types]
        assert_same([tensor.float() for tensor in found], expected, within=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        module(given)[0].float().sum().backward()
    assert module.weight_hh_l0.grad.dtype is torch.float32


@pytest.mark.parametrize(
    ("dtype", "says"), [(torch.bfloat16, "torch.nn: bfloat16"), (torch.float16, "torch.nn: float16")]
)
def test_a_module_in_half_precision_is_torchs(dtype: torch.dtype, says: str) -> None:
    theirs, module = pair("gru")
    x = made_input("batch").to(dtype)
    assert_same(flat(module.to(dtype)(x)), flat(theirs.to(dtype)(x)), within=0)
    assert module.kernel() == says


def test_a_projection_is_torchs() -> None:
    theirs, module = pair("lstm", proj_size=2)
    assert_same(flat(module(made_input("batch"))), flat(theirs(made_input("batch"))), within=0)
    assert module.kernel() == "torch.nn: proj_size"


def test_native_code_can_be_left_out() -> None:
    theirs, module = pair("gru")
    assert module.kernel() == "nothing yet"
    module.use_native = False
    assert_same(flat(module(made_input("batch"))), flat(theirs(made_input("batch"))), within=0)
    assert module.kernel() == "torch.nn: use_native=False"


def test_without_native_code_torchs_runs_and_a_warning_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native_layer, "missing", lambda: "no C++ compiler found")
    modules.warn_once.cache_clear()
    theirs, module = pair("gru")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(flat(module(made_input("batch"))), flat(theirs(made_input("batch"))), within=0)
    assert [record.getMessage() for record in caplog.records] == [
        "gru_bench.nn runs torch.nn's own code: no C++ compiler found"
    ]
    assert module.kernel() == "torch.nn: no C++ compiler found"


@needs_native
@pytest.mark.parametrize("steps", [1, T])
def test_a_default_device_moves_nothing(steps: int) -> None:
    theirs, module = pair("lstm")
    x = made_input("batch")[:steps]
    expected = gradients(theirs, x)[1]
    given = x.clone().requires_grad_()
    with torch.device("meta"), torch.no_grad():  # tensors that are made from here on have no memory
        out, _ = module(x)
    assert out.device.type == "cpu"
    with torch.device("meta"):
        out, (h, c) = module(given)
        (of_x,) = torch.autograd.grad((out.sum() + h.sum() + c.sum()), given)
    assert of_x.device.type == "cpu"
    assert of_x.shape == expected[0].shape
    assert module.kernel().startswith("native ")


@needs_native
def test_a_view_that_only_stands_for_negative_numbers_is_read_as_such() -> None:
    theirs, module = pair("gru")
    x = torch.randn(T, B, D, dtype=torch.complex128).conj().imag
    assert x.is_neg()
    assert_same(flat(module(x)), flat(theirs(x)))
    for two in (theirs, module):
        with torch.no_grad():
            two.weight_hh_l0 = nn.Parameter(torch._neg_view(-two.weight_hh_l0))
    x = x.resolve_neg()
    assert_same(flat(module(x)), flat(theirs(x)))


@needs_native
def test_a_default_device_moves_no_packed_sequences() -> None:
    theirs, module = pair("lstm", bidirectional=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(T, 3, D).double(), torch.tensor([T, 2, 1]))
    with torch.device("meta"):
        out, final = module(packed)
    assert module.kernel().startswith("native ")
    expected, last = theirs(packed)
    assert_same([out.data, *final], [expected.data, *last])


def test_the_twin_in_torch_shares_the_parameters() -> None:
    _, module = pair("relu", num_layers=2, bidirectional=True)
    module(made_input("batch"))
    twin = module.as_torch()
    assert type(twin) is nn.RNN
    assert all(mine is his for mine, his in zip(module.parameters(), twin.parameters(), strict=True))
    assert_same(flat(twin(made_input("batch"))), flat(module(made_input("batch"))))
    assert set(vars(twin)) == set(vars(nn.RNN(D, H, nonlinearity="relu")))
    assert repr(copy.deepcopy(twin)) == repr(module)
