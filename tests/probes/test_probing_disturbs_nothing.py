"""What probing leaves as it was, and the twin that it looks at: the same model as a loop."""

import pytest
import torch
from conftest import composed, yaml_names
from made_cells import maker
from probed import ADDING, TRANSLATION, H, loaded
from torch import Tensor, nn

from gru_bench.backends.base import Backend
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.loop import Loop, LoopStack
from gru_bench.backends.scan import Scan
from gru_bench.backends.vendor import Vendor
from gru_bench.config.check import check
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.run.probing import Probing, make_probes, make_subject, undisturbed

pytestmark = pytest.mark.usefixtures("hydra_conf")

ALL = "probe=[" + ",".join(yaml_names("probe")) + "]"
MODELS = {
    "classifier": ADDING,
    "both ways": (*ADDING, "model.bidirectional=true", "num_layers=2", "model.pooling=mean"),
    "tagger": ("task=parity", "task.levels=[5]", "task.beyond=[]", "task.num_eval=8", "num_layers=2"),
    "translation": (*TRANSLATION, "model.bidirectional=true"),
    "bahdanau": (*TRANSLATION, "model.attention=bahdanau"),
}


def randomized(model: nn.Module, seed: int) -> nn.Module:
    """As if it had been trained: no value is the one that it started with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.eval()


def loss_of(model: nn.Module, overrides: tuple[str, ...]) -> Tensor:
    _, task = loaded(*overrides)
    with torch.no_grad():
        return task.loss(model, next(iter(task.batches("valid"))), None)[0]


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("cell", "backend"), [("lstm", Vendor()), ("gru", BPTT()), ("mingru", Scan())])
def test_a_twin_computes_what_the_model_does(cell: str, backend: Backend, overrides: tuple[str, ...]) -> None:
    builder, _ = loaded(*overrides)
    model = randomized(builder.build(maker(cell), backend, H, 3), 5)
    before = torch.get_rng_state()
    twin = builder.twin(model, maker(cell), H)
    assert torch.equal(before, torch.get_rng_state())
    assert all(isinstance(stack, LoopStack) for module in twin.modules() for stack in getattr(module, "stacks", ()))
    torch.testing.assert_close(loss_of(twin, overrides), loss_of(model, overrides))
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}


def test_each_probe_is_found_under_its_own_name() -> None:
    for name in yaml_names("probe"):
        config = composed(f"probe=[{name}]")
        (probe,) = make_probes(check(config)[1])
        assert (probe.name, list(config.probes)) == (name, [name])
    assert make_probes(check(composed())[1]) == []


class Draws(Probe):
    """Draws from torch's generator, and says in which mode the model came."""

    name = "draws"
    moments: tuple[Moment, ...] = ("middle", "end")

    def refusal(self, subject: Subject, /) -> str | None:
        return None

    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        torch.rand(3)
        assert not subject.model.training
        return Findings([Finding(f"seen_{moment}", 1.0, "1")])


def test_a_probe_is_asked_at_its_moments_alone_and_draws_from_no_stream_of_the_run() -> None:
    builder, task = loaded(*ADDING)
    model = builder.build(maker("gru"), Loop(), H, 0).train()
    kept: list[tuple[str, Findings]] = []
    subject = make_subject(model, task, builder, maker("gru"), H, 0)
    probing = Probing([Draws()], subject, lambda *found: kept.append(found), lambda: undisturbed(model))
    before = torch.get_rng_state()
    for moment in ("start", "middle", "end"):
        probing.at(moment)
    assert [(name, found.values[0].metric) for name, found in kept] == [
        ("draws", "seen_middle"),
        ("draws", "seen_end"),
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


LANGUAGE = ("task=language_modeling", "task.max_train_tokens=2000", "task.max_eval_tokens=2000")
ASKED = {
    "classifier": (ADDING, "lstm", {"gradient_reach", "gates", "jacobian", "measured_horizon"}),
    "tagger": (MODELS["tagger"][:-1], "gru", {"gradient_reach", "gates", "jacobian", "measured_horizon", "occlusion"}),
    "language": (LANGUAGE, "gru", {"gradient_reach", "gates", "jacobian", "context"}),
}


@pytest.mark.usefixtures("own_caches")
@pytest.mark.parametrize(("overrides", "cell", "expected"), ASKED.values(), ids=ASKED)
def test_probing_leaves_weights_and_gradients_bit_for_bit(
    overrides: tuple[str, ...], cell: str, expected: set[str]
) -> None:
    builder, task = loaded(*overrides)
    model = builder.build(maker(cell), Vendor(), H, 0).train()
    task.loss(model, next(iter(task.batches("valid"))), None)[0].backward()
    before = {name: (p.detach().clone(), None if p.grad is None else p.grad.clone()) for name, p in _named(model)}
    subject = make_subject(model, task, builder, maker(cell), H, 0)
    smaller = ("probes.context.full=20", "probes.context.targets=9", "probes.context.tokens=[1,5]")
    probes = [probe for probe in make_probes(check(composed(ALL, *smaller))[1]) if probe.refusal(subject) is None]
    found: dict[str, Findings] = {}
    Probing(probes, subject, found.__setitem__, lambda: undisturbed(model)).at("end")
    assert found.keys() == expected
    for name, parameter in _named(model):
        value, grad = before[name]
        assert torch.equal(parameter, value)
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.equal(parameter.grad, grad)  # type: ignore[arg-type]


def _named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())
