"""The kernel that is named is the one that ran, and an audit's shares are those of the time."""

import contextlib
import re

import pytest
import torch
from made_cells import CPU, maker
from torch import Tensor

from gru_bench.backends.base import Backend, Mark, Stack, State
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.compiled import Compiled
from gru_bench.backends.cudnn import cudnn_name
from gru_bench.backends.loop import Loop
from gru_bench.backends.native.layer import native_name
from gru_bench.backends.vendor import Vendor
from gru_bench.measure import kernel
from gru_bench.measure.kernel import audit, kernel_name, kernel_of_call, name_of
from gru_bench.measure.trace import Audit, Event, Operator, operators, own_times
from gru_bench.models.encoder import Encoder
from gru_bench.models.streams import Streams


def encoder(
    name: str, runner: Backend, dtype: torch.dtype, *, bidirectional: bool, dropout: float = 0, num_layers: int = 2
) -> Encoder:
    return Encoder(
        3,
        maker(name),
        runner,
        Streams(0),
        hidden_size=4,
        num_layers=num_layers,
        device=CPU,
        dtype=dtype,
        bidirectional=bidirectional,
        dropout=dropout,
    ).to(dtype)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("name", "runner", "expected"),
    [
        ("gru", Loop(), "Python loop"),
        ("lstm", Loop(), "Python loop"),
        ("rnn", Loop(), "Python loop"),
        ("gru", Vendor(), "ATen loop"),
        ("rnn", Vendor(), "ATen loop"),
        ("lstm", Vendor(onednn=False), "ATen loop"),
        ("gru", Vendor(onednn=False), "ATen loop"),
    ],
)
def test_the_kernel_is_what_ran(name: str, runner: Backend, expected: str, bidirectional: bool) -> None:
    module = encoder(name, runner, torch.float32, bidirectional=bidirectional)
    assert kernel_name(module, runner, 3, CPU, torch.float32) == expected
    assert kernel_name(module, runner, 3, CPU, torch.float32, num_steps=7, batch_size=1) == expected
    assert kernel_name(module.stacks[0], runner, 3, CPU, torch.float32) == expected


needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


@needs_onednn
def test_one_backend_runs_different_kernels() -> None:
    module = encoder("lstm", Vendor(), torch.float32, bidirectional=False)
    assert kernel_name(module, Vendor(), 3, CPU, torch.float32) == "oneDNN"
    torch._C._set_mkldnn_enabled(False)  # the public context manager warns of TF32
    try:
        assert kernel_name(module, Vendor(), 3, CPU, torch.float32) == "ATen loop"
    finally:
        torch._C._set_mkldnn_enabled(True)
    module = encoder("lstm", Vendor(), torch.float64, bidirectional=True)
    assert kernel_name(module, Vendor(), 3, CPU, torch.float64) == "ATen loop"


class Mixed(Backend):
    """Its first stack runs on one backend, all later ones on another."""

    name = "mixed"
    marks = (*Vendor.marks, *Loop.marks)

    def __init__(self, *runners: Backend) -> None:
        self.runners = list(runners)

    def refusal(self, cell: object, device: object, dtype: object) -> None:
        return None

    def _stack(self, cells: object, dropout: float) -> Stack:
        runner = self.runners.pop(0) if len(self.runners) > 1 else self.runners[0]
        return runner._stack(cells, dropout)  # type: ignore[arg-type]


@needs_onednn
@pytest.mark.parametrize(
    ("runners", "expected"),
    [
        ([Vendor(), Vendor(onednn=False)], "oneDNN + ATen loop"),
        ([Vendor(onednn=False), Vendor()], "oneDNN + ATen loop"),
        ([Vendor(), Loop()], "oneDNN + Python loop"),
        ([Loop(), Vendor(onednn=False)], "ATen loop + Python loop"),
    ],
)
def test_a_mixed_path_is_named_as_such(runners: list[Backend], expected: str) -> None:
    runner = Mixed(*runners)
    module = encoder("lstm", runner, torch.float32, bidirectional=True)
    assert kernel_name(module, runner, 3, CPU, torch.float32) == expected


class Everything(Loop):
    """A backend that knows all our own marks."""

    name = "everything"
    marks = (*BPTT.marks, *Compiled.marks, *Loop.marks)


class Marked(Stack):
    """A stack that marks what runs, as the bptt backend does."""

    def __init__(self, *marks: str, around: str = "nothing") -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(()))
        self.marks, self.around = marks, around

    def forward(self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        with torch.profiler.record_function(self.around):
            for mark in self.marks:
                with torch.profiler.record_function(mark):
                    x_TBD = x_TBD + 1
        return x_TBD * self.w, ()

    def cell_tensors(self, *, grad: bool = False) -> list[dict[str, Tensor]]:
        return []


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        (["gru_bench::native avx512"], "native AVX-512"),
        (["gru_bench::native avx2"], "native AVX2"),
        (["gru_bench::native"], "native"),
        (["gru_bench::native neon"], "native NEON"),
        (["gru_bench::native avx512 oneDNN products"], "native AVX-512 oneDNN products"),
        (["gru_bench::bptt"], "hand-derived torch"),
        (["gru_bench::bptt", "gru_bench::native avx2"], "native AVX2 + hand-derived torch"),
        (["## Call CompiledFxGraph fzghyb4gc7 ##"], "compiled loop"),
        (["gru_bench::loop"], "Python loop"),
        ([], "not known (backend everything)"),
        (["gru_bench::natively"], "not known (backend everything)"),
    ],
)
def test_our_own_marks_are_names(marks: list[str], expected: str) -> None:
    assert kernel_name(Marked(*marks), Everything(), 3, CPU, torch.float32) == expected


class Own(Backend):
    """A user's own backend, with a kernel that no one here knows of."""

    name = "own"

    def refusal(self, cell: object, device: object, dtype: object) -> None:
        return None

    def _stack(self, cells: object, dropout: float) -> Stack:
        return Marked("own::fused 4 steps")


class OwnWithMarks(Own):
    marks = (Mark("own::fused", "my kernel"), Mark("own::unused", "another"))


class OwnLoop(Own):
    """It declares the loop's mark, but its steps run inside something that it also knows."""

    marks = (Mark("gru_bench::loop", "Python loop"), Mark("own::fused", lambda event, _: f"kernel of {event[11:]}"))

    def _stack(self, cells: object, dropout: float) -> Stack:
        return Marked("own::fused 4 steps", around="gru_bench::loop")


@pytest.mark.parametrize(
    ("runner", "expected"),
    [(Own(), "not known (backend own)"), (OwnWithMarks(), "my kernel"), (OwnLoop(), "kernel of 4 steps")],
)
def test_a_users_own_backend_is_named_by_what_it_declares(runner: Backend, expected: str) -> None:
    module = encoder("gru", runner, torch.float32, bidirectional=False, num_layers=1)
    found = audit(module, runner, (5, 2, 3), CPU, torch.float32)
    assert found.kernel == expected
    assert found.text().startswith(f"kernel: {expected}\n")


def test_each_backend_of_ours_declares_marks_of_its_own() -> None:
    marks = [mark.event for runner in (Vendor, BPTT, Compiled) for mark in runner.marks]
    assert len(marks) == len(set(marks)) >= 10
    assert set(Loop.marks) < set(BPTT.marks)  # which runs the loop's code where no gradient is asked for


def test_what_only_the_first_call_does_is_not_the_kernel() -> None:
    class Warming(Marked):
        def forward(self, *given: object) -> tuple[Tensor, State]:
            found = super().forward(*given)  # type: ignore[arg-type]
            self.marks = ("gru_bench::native avx2",)
            return found

    assert kernel_name(Warming("gru_bench::bptt"), BPTT(native="never"), 3, CPU, torch.float32) == "native AVX2"


def test_a_stack_without_a_mark_beside_one_with_it_is_not_known() -> None:
    stacks = torch.nn.Module()
    stacks.parts = torch.nn.ModuleList([Marked("gru_bench::bptt"), Marked()])

    def forward(x_TBD: Tensor, *_: object) -> tuple[Tensor, State]:
        for part in stacks.parts:
            x_TBD, _ = part(x_TBD)
        return x_TBD, ()

    stacks.forward = forward
    assert (
        kernel_name(stacks, Everything(), 3, CPU, torch.float32)
        == "hand-derived torch + not known (backend everything)"
    )
    assert native_name("gru_bench::native AVX512") == "native AVX-512"


# cuDNN: names of CUDA kernels as profiles of others show them (see the comment in backends/cudnn.py)

STATIC = ["void RNN_blockPersist_fp_LSTM<float, float, float, 128>(...)", "RNN_blockPersist_bp_LSTM_HMMA<__half>"]
STANDARD = ["void elemWiseRNNcell<float, float, float, (cudnnRNNMode_t)2>(...)", "void GRU_elementWise_bp1<float>(...)"]
NEUTRAL = [
    "void cutlass::Kernel2<cutlass_80_simt_sgemm_256x128_8x4_tn_align1>(...)",
    "void GENERIC_elementWise_bp2<float, float, float, 4, (cudnnRNNBiasMode_t)2>(...)",
    "persistRNN_addBias<float, float>",
    "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(...)",
]


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        (STATIC, "cuDNN persistent static"),
        (STANDARD, "cuDNN standard"),
        ([STATIC[0], STANDARD[1]], "cuDNN persistent static, backward standard"),
        ([STANDARD[0], STATIC[1]], "cuDNN standard, backward persistent static"),
        ([*STATIC, STANDARD[0]], "cuDNN persistent static + standard, backward persistent static"),
        (STATIC[:1], "cuDNN persistent static"),
        (STANDARD[1:], "cuDNN standard"),
        (["void LSTM_elementWise_fp<float>(...)", "void LSTM_elementWise_bp1<float>(...)"], "cuDNN standard"),
        (["void RNN_persist_fp<__half, float, 4>(...)"], "cuDNN persistent static"),
        (["RNN_persist_fprop", "RNN_persist_bprop"], "cuDNN persistent dynamic"),
        ([], "cuDNN"),
    ],
)
def test_the_class_of_cudnns_algorithm(kernels: list[str], expected: str) -> None:
    assert cudnn_name(kernels) == expected
    assert cudnn_name([*NEUTRAL, *kernels, *NEUTRAL]) == expected


def test_cudnn_is_named_from_both_time_lines() -> None:
    host = [
        Event("gru_bench::stack", 0, 100),
        Event("aten::lstm", 10, 90),
        Event("aten::_cudnn_rnn", 20, 80),
        Event("aten::_cudnn_rnn_backward", 120, 180, thread=2),
    ]
    device = [Event(name, 500, 600, on_device=True) for name in [*NEUTRAL, *STATIC]]
    assert name_of(host + device, Vendor()) == "cuDNN persistent static"
    assert name_of(host, Vendor()) == "cuDNN"
    # cuDNN off: the same operators of torch.nn, with nothing fused inside
    assert name_of([event for event in host if "cudnn" not in event.name], Vendor()) == "ATen loop"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_gpus_kernels_are_recorded_by_name(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(kernel.profile):
        def __init__(self, **options: object) -> None:
            asked.append(torch.autograd.profiler.profile(**options))
            super().__init__(use_cpu=True)

    asked: list[torch.autograd.profiler.profile] = []
    monkeypatch.setattr(kernel, "profile", Noted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(
        torch.autograd.profiler, "_supported_activities", lambda: {torch.profiler.ProfilerActivity.CUDA}
    )
    module = encoder("gru", Loop(), torch.float32, bidirectional=False)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)
    monkeypatch.setattr(torch.random, "fork_rng", lambda **_: contextlib.nullcontext())
    kernel.recorded(module, (2, 2, 3), torch.device(device), torch.float32, None, None)
    (found,) = asked
    assert found.profiler_kind == torch.autograd.ProfilerState.KINETO  # not the fallback, which knows no kernel
    assert (torch.profiler.ProfilerActivity.CUDA in found.kineto_activities) == (device == "cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_kernels_on_cuda(name: str) -> None:
    cuda = torch.device("cuda")
    module = encoder(name, Vendor(), torch.float32, bidirectional=False).to(cuda)
    known = r"cuDNN (persistent static|persistent dynamic|standard)(, backward (persistent static|standard))?"
    for num_steps, batch_size in ((1, 1), (100, 32)):
        found = audit(module, Vendor(), (num_steps, batch_size, 3), cuda, torch.float32)
        assert re.fullmatch(known, found.kernel), found.text()
        assert not any(op.name.startswith("aten::") for op in found.operators)
    module = encoder(name, Loop(), torch.float32, bidirectional=False).to(cuda)
    assert kernel_name(module, Loop(), 3, cuda, torch.float32) == "Python loop"


# the audit


def test_own_time_is_without_what_ran_inside() -> None:
    outer, first, second = Event("outer", 0, 100), Event("in", 10, 30), Event("in", 40, 50)
    deep, other, later = Event("deep", 12, 20), Event("other", 5, 55, thread=1), Event("outer", 100, 110)
    times = dict(own_times([deep, later, second, outer, other, first]))
    assert times == {outer: 70, first: 12, second: 10, deep: 8, other: 50, later: 10}
    assert [op.name for op in operators(times)] == ["outer", "other", "in", "deep"]
    assert {op.name: op.calls for op in operators(times)} == {"outer": 2, "other": 1, "in": 2, "deep": 1}
    assert {op.name: op.share for op in operators(times)} == {
        "outer": 0.5, "other": 50 / 160, "in": 22 / 160, "deep": 0.05,
    }  # fmt: skip


def test_on_a_gpu_its_kernels_count_and_lie_beside_each_other() -> None:
    events = [Event("aten::mm", 0, 1000), Event("one", 10, 40, on_device=True), Event("two", 20, 30, on_device=True)]
    assert operators(events) == (Operator("one", 1, 0.75), Operator("two", 1, 0.25))
    assert operators([]) == ()


def test_an_audit_counts_the_steps_of_the_shape_that_was_asked() -> None:
    module = encoder("gru", Loop(), torch.float64, bidirectional=False, num_layers=1)
    found = audit(module, Loop(), (9, 5, 3), CPU, torch.float64)
    calls = {op.name: op.calls for op in found.operators}
    assert found.kernel == "Python loop"
    assert calls["aten::tanh"] == 9
    assert sum(op.share for op in found.operators) == pytest.approx(1)
    assert [op.share for op in found.operators] == sorted((op.share for op in found.operators), reverse=True)
    assert "T=9 B=5 D=3, float64 on cpu" in found.text()
    ragged = audit(module, Loop(), (9, 5, 3), CPU, torch.float64, lengths=torch.tensor([9, 1, 1, 2, 3]))
    assert "D=3, sequences of unequal length, float64 on cpu" in ragged.text()


def test_what_an_audit_leaves_out_is_counted() -> None:
    listed = tuple(Operator(f"op {n}", n, (20 - n) / 190) for n in range(20))
    *_, last = Audit("a", (1, 2, 3), "float32", "cpu", False, listed).text().splitlines()
    assert last == "        7.9 %     85  5 others"


@pytest.mark.parametrize("name", ["bptt", "loop"])
def test_without_gradients_the_generic_code_is_the_loops(name: str) -> None:
    runner = BPTT(native="never") if name == "bptt" else Loop()
    module = encoder("gru", runner, torch.float32, bidirectional=False)
    with torch.no_grad():
        found = kernel_of_call(lambda: module(torch.zeros(4, 2, 3)), module, runner, CPU)
    assert found == "Python loop"


def test_asking_for_the_kernel_leaves_no_trace() -> None:
    for runner in (Loop(), Vendor(), Vendor(onednn=False)):
        module = encoder("gru", runner, torch.float32, bidirectional=False, dropout=0.5).train()
        before = torch.get_rng_state()
        with torch.no_grad():
            kernel_name(module, runner, 3, CPU, torch.float32)
            audit(module, runner, (4, 2, 3), CPU, torch.float32)
        assert torch.equal(before, torch.get_rng_state())
        assert all(parameter.grad is None for parameter in module.parameters())
        assert module.training
        assert not any(stack._forward_hooks or stack._forward_pre_hooks for stack in module.stacks)
