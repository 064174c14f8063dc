"""gru_bench.nn under what torch does to modules: second derivatives, function transforms, graphs, copies."""

import copy
import io
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from nn_modules import KINDS, B, D, H, T, assert_same, flat, gradients, made_input, made_state, needs_native, pair
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

import gru_bench.nn as ours
from gru_bench.errors import UserError

# torch's own forward-mode derivatives are written in it
scripted = pytest.mark.filterwarnings("ignore:`torch.jit.script` is:DeprecationWarning")


class Tagger(nn.Module):
    """A module that holds one of ours."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        _, self.recurrent = pair(kind, num_layers=2)
        self.head = nn.Linear(H, 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0])


@contextmanager
def without_deprecations() -> Iterator[None]:
    """torch warns of its own old tools, and of its own modules in its new ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def as_function(module: nn.Module, packed: PackedSequence | None = None) -> tuple[Any, list[Tensor]]:
    """The module as a function of input, states and parameters, and such tensors."""
    names = [name for name, _ in module.named_parameters()]
    hx = made_state(module, "batch")
    num_states = len(flat(hx))

    def function(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given = x if packed is None else PackedSequence(x, *packed[1:])
        state = rest[:num_states] if num_states > 1 else rest[0]
        return tuple(flat(functional_call(module, dict(zip(names, rest[num_states:], strict=True)), (given, state))))

    x = made_input("batch") if packed is None else packed.data
    return function, [t.detach().clone().requires_grad_() for t in (x, *flat(hx), *module.parameters())]


@needs_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["batch", "packed"])
def test_first_and_second_derivatives(kind: str, form: str) -> None:
    _, module = pair(kind, bidirectional=form == "packed", hidden_size=2)
    function, inputs = as_function(module, made_input("packed") if form == "packed" else None)
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)
    assert module.kernel().startswith("native ")


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_differentiated_again_is_the_same_gradient(kind: str) -> None:
    _, module = pair(kind, num_layers=2)
    x = made_input("batch").requires_grad_()
    once = torch.autograd.grad(module(x)[0].square().sum(), [x, *module.parameters()])
    again = torch.autograd.grad(module(x)[0].square().sum(), [x, *module.parameters()], create_graph=True)
    assert again[0].requires_grad
    assert_same(list(again), list(once))


@needs_native
def test_a_second_derivative_under_autocast_is_refused() -> None:
    module = ours.GRU(D, H)
    x = torch.randn(T, B, D, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)[0]
    with pytest.raises(UserError, match=r"^gru_bench\.nn has no second derivative under autocast"):
        torch.autograd.grad(out.float().sum(), x, create_graph=True)


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_seeds(kind: str) -> None:
    name, more = KINDS[kind]
    torch.manual_seed(1)
    models = [getattr(ours, name)(D, H, 2, bidirectional=True, dtype=torch.float64, **more) for _ in range(3)]
    stacked, _ = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")
    x = made_input("batch")

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(base, parameters, (x,))[0].square().sum()

    found = vmap(grad(loss), in_dims=(0, None))(stacked, x)
    assert base.kernel() == "steps in torch: torch.func"
    values = vmap(loss, in_dims=(0, None))(stacked, x)
    for number, model in enumerate(models):
        expected = model(x)[0].square().sum()
        assert_same([values[number]], [expected])
        assert_same([found[key][number] for key in found], list(torch.autograd.grad(expected, model.parameters())))
    assert copy.deepcopy(models[0])(x)[0].shape == (T, B, 2 * H)


@scripted
@pytest.mark.parametrize("options", [{"batch_first": True}, {"bias": False}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("form", ["batch", "alone", "packed"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_step_by_step_is_the_same_in_every_form(kind: str, form: str, options: dict[str, Any]) -> None:
    more = {"proj_size": 2} if kind == "lstm" and "bias" in options else {}
    theirs, module = pair(kind, **options, **more)
    x = made_input(form, bool(options.get("batch_first")))
    data = x.data if isinstance(x, PackedSequence) else x
    hx = made_state(theirs, form) if not more else None

    def function(data: Tensor) -> Any:
        return tuple(flat(module(PackedSequence(data, *x[1:]) if isinstance(x, PackedSequence) else data, hx)))

    out, _ = jvp(function, (data,), (torch.ones_like(data),))
    assert module.kernel() == "steps in torch: torch.func"
    assert_same(list(out), flat(theirs(x, hx)))


def test_a_transform_refuses_what_does_not_fit() -> None:
    _, module = pair("gru")
    with pytest.raises(RuntimeError, match=r"input\.size\(-1\) must be equal to input_size"):
        vmap(lambda x: module(x)[0])(torch.randn(2, T, B, D + 1, dtype=torch.float64))


@scripted
@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_derivatives(kind: str) -> None:
    _, module = pair(kind)
    x = made_input("batch")
    direction = torch.randn_like(x)
    with forward_ad.dual_level():
        out = module(forward_ad.make_dual(x, direction))[0]
        found = forward_ad.unpack_dual(out).tangent
    assert module.kernel() == "steps in torch: forward-mode derivatives"
    with torch.no_grad():
        step = 1e-6 * direction
        expected = (module(x + step)[0] - module(x - step)[0]) / 2e-6
    assert_same([found], [expected], within=1e-7)


@pytest.mark.parametrize("kind", ["gru", "lstm", "relu"])
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_has_the_operator_of_torch(kind: str, strict: bool) -> None:
    model, x = Tagger(kind), made_input("batch")
    with without_deprecations():
        program = torch.export.export(model, (x,), strict=strict)
    operator = {"gru": "aten.gru.", "lstm": "aten.lstm.", "relu": "aten.rnn_relu."}[kind]
    assert any(str(node.target).startswith(operator) for node in program.graph.nodes)
    assert_same([program.module()(x)], [model(x)])


@pytest.mark.parametrize("kind", ["gru", "lstm", "relu"])
def test_old_graphs_have_the_twin(kind: str) -> None:
    model, x = Tagger(kind), made_input("batch")
    expected = model(x)
    with without_deprecations():
        assert_same([torch.jit.trace(model, x)(x)], [expected])
    assert_same([torch.fx.symbolic_trace(model)(x)], [expected])
    assert_same([make_fx(model)(x)(x)], [expected])
    with without_deprecations():
        assert_same([torch.jit.script(copy.deepcopy(model))(x)], [expected])


@needs_native
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_dispatch_mode_sees_the_operators_of_torch(kind: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    theirs, module = pair(kind)
    counted = []
    for model in (theirs, module):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(made_input("batch"))
        counted.append(counter.get_total_flops())
    assert counted[0] == counted[1] > 0
    assert module.kernel().startswith("torch.nn: a dispatch mode")


@needs_native
@pytest.mark.parametrize("old", [False, True])
def test_weight_norm(old: bool) -> None:
    theirs, module = pair("gru")
    with without_deprecations():
        for model in (theirs, module):
            (nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm)(model, "weight_hh_l0")
    (_, expected), (_, found) = gradients(theirs, made_input("batch")), gradients(module, made_input("batch"))
    assert module.kernel().startswith("native ")
    assert len(found) == 6
    assert_same(found, expected)
    if not old:
        with pytest.raises(ValueError, match="remove the parametrizations first"):
            module.as_torch()


@needs_native
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_computes_it_again(reentrant: bool) -> None:
    _, module = pair("lstm")
    x = made_input("batch").requires_grad_()
    expected = torch.autograd.grad(module(x)[0].sum(), x)
    checkpoint(module, x, use_reentrant=reentrant)[0].sum().backward()
    assert x.grad is not None
    assert_same([x.grad], list(expected))


def test_hooks_are_called() -> None:
    _, module = pair("gru")
    called: list[str] = []
    module.register_forward_pre_hook(lambda *_: called.append("before"))
    module.register_forward_hook(lambda *_: called.append("after"))
    module.register_full_backward_hook(lambda *_: called.append("back"))
    module(made_input("batch").requires_grad_())[0].sum().backward()
    assert called == ["before", "after", "back"]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_compute_the_same_and_share_nothing(kind: str) -> None:
    _, module = pair(kind, num_layers=2)
    module.use_native = kind != "gru"
    x = made_input("batch")
    expected = flat(module(x))
    saved = io.BytesIO()
    torch.save(module, saved)
    saved.seek(0)
    copies = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(saved, weights_only=False),
    ]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for other in copies:
        assert type(other) is type(module)
        assert_same(flat(other(x)), expected, within=0)
        assert other.kernel() == module.kernel()


def test_on_the_meta_device_it_has_shapes() -> None:
    _, module = pair("lstm", num_layers=2)
    module.to("meta")
    assert [tuple(t.shape) for t in flat(module(made_input("batch").to("meta")))] == [(T, B, H), (2, B, H), (2, B, H)]
    assert module.kernel() == "torch.nn: meta"


@needs_native
def test_what_inference_mode_made_cannot_be_trained_on_as_in_torch() -> None:
    theirs, module = pair("gru")
    with torch.inference_mode():
        x = made_input("batch")
        assert module(x)[0].is_inference()
    for model in (theirs, module):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            model(x)
    assert_same(gradients(module, made_input("batch"))[1], gradients(theirs, made_input("batch"))[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_model_that_holds_it(kind: str, backend: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()  # of all that this process compiled
    model = Tagger(kind)
    compiled = torch.compile(copy.deepcopy(model), backend=backend)
    for steps in (T, T + 1, T + 2):
        x = torch.randn(steps, B, D, dtype=torch.float64)
        (expected, of_expected), (found, of_found) = gradients_of(model, x), gradients_of(compiled, x)
        assert_same([found], [expected], within=1e-9)
        assert_same(of_found, of_expected, within=1e-9)
        with torch.no_grad():
            assert_same([compiled(x)], [expected], within=1e-9)
        assert compiled.recurrent.kernel() == model.recurrent.kernel()
    breaks = torch._dynamo.utils.counters["unimplemented"]
    assert all("Attempted to wrap RNN, GRU, or LSTM" in reason for reason in breaks), breaks  # none within our code


@pytest.mark.slow
def test_a_compiled_graph_without_breaks_has_the_twin() -> None:
    torch._dynamo.reset()
    model, x = Tagger("gru"), made_input("batch")
    with torch._dynamo.config.patch(allow_rnn=True):
        assert_same([torch.compile(model, backend="eager", fullgraph=True)(x)], [model(x)])


def gradients_of(model: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    out = model(x)
    return out, list(torch.autograd.grad(out.square().sum(), list(model.parameters())))
