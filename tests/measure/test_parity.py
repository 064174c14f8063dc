"""Parity finds rounding where there is rounding, and errors where there are errors."""

import functools
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from backend_pairs import AGAINST_LOOP, PAIRS, backend
from bptt_cells import COMPILED, MISSING
from conftest import REPOSITORY, yaml_names
from made_cells import CPU, maker
from torch import Tensor

from gru_bench.backends.base import Stack, State
from gru_bench.backends.loop import Loop, LoopStack
from gru_bench.backends.vendor import Vendor, onednn_off
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.gru_article import GRUArticle
from gru_bench.cells.lstm import LSTM
from gru_bench.errors import Unsupported
from gru_bench.measure import parity, parity_store

REFERENCES = ("rnn", "lstm", "gru")
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder for the answers, which no test shares with another or with the user."""
    monkeypatch.setattr(parity, "_checked", {})
    monkeypatch.setattr(parity_store, "folder", lambda: tmp_path / "kept")
    return tmp_path / "kept"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_every_backend_passes_for_every_cell_that_it_claims(cell: str, runner: str, dtype: torch.dtype) -> None:
    mixed = dtype is torch.bfloat16
    if mixed and runner == "bptt" and (MISSING is not None or cell not in COMPILED or cell == "irnn"):
        with pytest.raises(Unsupported, match="mixed precision"):
            parity.check(maker(cell), backend(runner), CPU, dtype, quick=True, autocast=True)
        return
    quick = dtype is not torch.float32 or cell not in REFERENCES  # others differ in their equations, not in shapes
    found = parity.check(maker(cell), backend(runner), CPU, dtype, quick=quick, autocast=mixed)
    assert found.passed
    assert found.tolerance == parity.TOLERANCES[dtype]
    assert max(found.output_error, found.gradient_error) <= found.tolerance
    if dtype is not torch.float64:  # in float64 it may compute the very bits of the reference
        assert min(found.output_error, found.gradient_error) > 0


@pytest.mark.parametrize(("cell", "runner"), [pair for pair in PAIRS if pair[0] in (*REFERENCES, "irnn", "mingru")])
def test_a_longer_sequence_and_a_wider_layer_are_within_the_same_limit(cell: str, runner: str) -> None:
    case = parity.Case(T=80, B=24, input_size=33, hidden_size=72, num_layers=2, given_state=True)
    found = parity.check_shape(case, maker(cell), backend(runner), CPU, torch.float32)
    assert 0 < max(found.output_error, found.gradient_error) < found.tolerance / 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cell", "runner"), PAIRS)
def test_on_cuda_too(cell: str, runner: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as in every run
    cuda, mixed = torch.device("cuda"), dtype is torch.bfloat16
    quick = dtype is not torch.float32 or cell not in REFERENCES
    try:
        found = parity.check(maker(cell), backend(runner), cuda, dtype, quick=quick, autocast=mixed)
    except Unsupported:  # of those that run on CUDA, only cuDNN in mixed precision
        if runner in ("bptt", "vendor_aten") or (mixed and runner == "vendor"):
            return
        raise
    assert found.passed, found
    assert found.tolerance == parity.TOLERANCES[dtype]


class SlightlyOff(LoopStack):
    """A loop that is wrong in one place."""

    def __init__(self, cells: Sequence[Cell], fault: str) -> None:
        super().__init__(cells, 0.0)
        self.fault = fault

    def forward(self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        if self.fault == "ignores the state":
            state = None
        if self.fault == "ignores lengths":
            lengths = None
        h_TBH, final = super().forward(x_TBD, state, lengths)
        if self.fault == "output":
            h_TBH = h_TBH * 1.001
        if self.fault == "late output":
            h_TBH = torch.cat([h_TBH[:-1], h_TBH[-1:] * 1.001]) if len(h_TBH) > 60 else h_TBH
        if self.fault == "gradient":
            h_TBH = h_TBH + 1e-3 * (h_TBH - h_TBH.detach())  # the same values
        if self.fault == "nan gradient" and h_TBH.requires_grad:
            h_TBH.register_hook(lambda grad: grad * float("nan"))
        if self.fault == "final state":
            final = (final[0] + 1e-3, *final[1:])
        if self.fault == "detached state":
            final = tuple(s_LBH.detach() for s_LBH in final)
        return h_TBH, final


class Faulty(Loop):
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return SlightlyOff(cells, self.fault)


@pytest.mark.parametrize(
    "fault",
    [
        "output",
        "late output",
        "gradient",
        "nan gradient",
        "final state",
        "detached state",
        "ignores the state",
        "ignores lengths",
    ],
)
@pytest.mark.parametrize("quick", [True, False])
def test_a_fault_is_red(fault: str, quick: bool) -> None:
    found = parity.check(GRU, Faulty(fault), CPU, torch.float32, quick=quick)
    assert not found.passed
    if "gradient" in fault:
        assert found.output_error < found.tolerance < found.gradient_error
    assert parity.check(GRU, Faulty("none"), CPU, torch.float32, quick=quick).passed


class ForgetsB(GRU):
    """Its bias does nothing; the vendor's kernel, which takes it for a GRU, uses it."""

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        return x_TBD @ self.W.T + self.b - self.b.detach()  # the gradient is right where b is zero


def test_a_wrong_bias_is_red_although_biases_start_at_zero() -> None:
    found = parity.check(ForgetsB, Vendor(), CPU, torch.float64, quick=True)
    assert not found.passed


def test_what_is_not_supported_is_refused_and_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(Unsupported, match="GRUArticle"):
            parity.check(GRUArticle, Vendor(), CPU, torch.float32)


Ask = Callable[..., int]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """``parity.check``, counting how many cases were measured for it."""
    asked: list[parity.Case] = []
    compare = parity.compare

    def count(case: parity.Case, *rest: object) -> tuple[float, float]:
        asked.append(case)
        return compare(case, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(parity, "compare", count)

    def run(make: object, *, dtype: torch.dtype = torch.float64, runner: object = None, quick: bool = True) -> int:
        before = len(asked)
        parity.check(make, runner or Loop(), CPU, dtype, quick=quick)  # type: ignore[arg-type]
        return len(asked) - before

    return run


def new_process() -> None:
    """Forget what only this process keeps."""
    parity._checked.clear()


def test_an_answer_is_kept_for_the_same_question_alone(ask: Ask) -> None:
    assert ask(functools.partial(LSTM, forget_bias=1.0)) == len(parity.QUICK)
    assert ask(functools.partial(LSTM, forget_bias=1.0)) == 0
    assert ask(functools.partial(LSTM, forget_bias=0.0)) == len(parity.QUICK)
    assert ask(functools.partial(GRU, init="keras")) == len(parity.QUICK)
    assert ask(GRU) == len(parity.QUICK)
    assert ask(GRU) == 0
    assert ask(GRU, dtype=torch.float32) == len(parity.QUICK)
    assert ask(GRU, runner=Vendor()) == len(parity.QUICK)
    assert ask(GRU, runner=Faulty("none")) == len(parity.QUICK)
    assert ask(GRU, runner=Faulty("output")) == len(parity.QUICK)
    assert ask(GRU, quick=False) == len(parity.FULL)


def test_green_and_red_answers_outlast_the_process(ask: Ask, kept: Path) -> None:
    makers: list[object] = [GRU, functools.partial(LSTM, forget_bias=0.0), functools.partial(LSTM, forget_bias=1.0)]
    runners = [Loop(), Faulty("output"), Faulty("nan gradient")]
    first = {}
    for index, make in enumerate(makers):
        for runner in runners:
            assert ask(make, runner=runner) == len(parity.QUICK)
            first[index, runner.__dict__.get("fault")] = parity.check(make, runner, CPU, torch.float64, quick=True)  # type: ignore[arg-type]
    assert {answer.passed for answer in first.values()} == {True, False}
    assert len(list(kept.iterdir())) == len(first)
    new_process()
    for index, make in enumerate(makers):
        for runner in runners:
            assert ask(make, runner=runner) == 0
            again = parity.check(make, runner, CPU, torch.float64, quick=True)  # type: ignore[arg-type]
            assert again == first[index, runner.__dict__.get("fault")]
    assert ask(GRU, quick=False) == len(parity.FULL)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (torch, "__version__", "3.0.0"),
        (parity_store, "machine_id", lambda: "another"),
        (parity_store, "package_source", lambda: "edited"),
        (torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT"),
    ],
)
def test_another_torch_machine_or_source_is_another_question(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: object
) -> None:
    assert ask(GRU) == len(parity.QUICK)
    monkeypatch.setattr(module, name, value)
    assert ask(GRU) == len(parity.QUICK)
    monkeypatch.undo()


def test_switches_that_change_numbers_are_part_of_the_question(ask: Ask) -> None:
    assert ask(GRU) == len(parity.QUICK)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = not before
    try:
        assert ask(GRU) == len(parity.QUICK)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    with onednn_off():
        assert ask(GRU) == len(parity.QUICK) * torch.backends.mkldnn.is_available()
    assert ask(GRU) == 0


def test_the_source_of_a_users_own_cell_is_part_of_the_question(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from gru_bench.cells.gru import GRU\n\n\nclass Own(GRU):\n    scale = 1\n"
    monkeypatch.syspath_prepend(tmp_path)

    def edited(text: str) -> type[Cell]:
        (tmp_path / "own_cell.py").write_text(text)
        for name in ("own_cell",):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("own_cell").Own  # type: ignore[no-any-return]

    assert ask(edited(source)) == len(parity.QUICK)
    new_process()
    assert ask(edited(source)) == 0
    new_process()
    assert ask(edited(source.replace("scale = 1", "scale = 1000"))) == len(parity.QUICK)
    sys.modules.pop("own_cell")


def test_what_has_no_lasting_name_is_kept_for_the_process_alone(ask: Ask, kept: Path) -> None:
    class Inside(GRU):
        pass

    for make in (Inside, lambda *sizes: GRU(*sizes), made_by_hand, functools.partial(GRU, init=Unnamed("uniform"))):
        assert ask(make) == len(parity.QUICK)
        assert ask(make) == 0
    assert not kept.exists()
    first = Inside

    class Inside(GRU):  # type: ignore[no-redef]
        pass

    assert ask(first) == 0
    assert ask(Inside) == len(parity.QUICK)


def made_by_hand(input_size: int, hidden_size: int, generator: torch.Generator) -> Cell:
    """A function: what it calls does not show in its own file."""
    return GRU(input_size, hidden_size, generator)


class Unnamed(str):
    """A value whose text is its address."""

    __slots__ = ()

    def __repr__(self) -> str:
        return object.__repr__(self)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{}"),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text(path.read_text().replace('"gradient_error"', '"something"')),
        lambda path: path.write_text(path.read_text().replace('"torch": "', '"torch": "0.')),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "output_error": "large"})),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_answer_is_measured_again(ask: Ask, kept: Path, damage: Callable[[Path], object]) -> None:
    assert ask(GRU) == len(parity.QUICK)
    (file,) = kept.iterdir()
    damage(file)
    new_process()
    assert ask(GRU) == len(parity.QUICK)


def test_a_folder_that_cannot_be_made_costs_a_measurement_alone(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(parity_store, "folder", lambda: tmp_path / "file" / "kept")
    assert ask(GRU) == len(parity.QUICK)
    assert ask(GRU) == 0
    new_process()
    assert ask(GRU) == len(parity.QUICK)


def no_home() -> Path:
    raise RuntimeError("no home folder")


def test_a_user_without_a_home_is_no_error(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity_store, "folder", no_home)
    assert ask(GRU) == len(parity.QUICK)


def write_often(folder: str, index: int) -> None:
    parity_store.folder = lambda: Path(folder)  # type: ignore[assignment]
    key = parity_store.question(GRU, Loop(), CPU, torch.float64, "quick")
    for _ in range(50):
        parity_store.keep(key, (index / 8, index / 8))
        found = parity_store.recall(key)
        assert found is not None
        assert found[0] == found[1]


@pytest.mark.slow
def test_processes_that_write_at_once_leave_a_whole_answer(kept: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_often, args=(str(kept), index)) for index in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    (file,) = kept.iterdir()  # no leavings
    assert json.loads(file.read_text())["output_error"] in (0, 1 / 8)


def test_another_process_finds_the_answer(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from gru_bench.measure import parity; from gru_bench.backends.loop import Loop; "
        "from gru_bench.cells.gru import GRU\n"
        "if sys.argv[1] == 'second': parity.compare = None\n"
        "print(parity.check(GRU, Loop(), torch.device('cpu'), torch.float32, quick=True))"
    )
    environment = {**os.environ, "GRU_BENCH_CACHE": str(tmp_path / "own")}
    printed = [
        subprocess.run([sys.executable, "-c", code, turn], env=environment, cwd=REPOSITORY, text=True, check=True,
                       capture_output=True).stdout
        for turn in ("first", "second")
    ]  # fmt: skip
    assert printed[0] == printed[1]
    assert "passed=True" in printed[0]
    assert [path.suffix for path in (tmp_path / "own" / "parity").iterdir()] == [".json"]


def test_red_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"backend=mine is not offered for cell=gru here: .* 2\.5e-01 .* 1\.0e-09"):
        parity.Parity(0.25, 1e-9, False, 2e-5).require("mine", "gru")
    parity.Parity(1e-9, 1e-9, True, 2e-5).require("mine", "gru")


def test_of_two_answers_the_worse_counts() -> None:
    small, large = parity.Parity(1e-7, 3e-7, True, 2e-5), parity.Parity(2e-7, 1e-3, False, 2e-5, "T=9")
    assert small.worse(large) == parity.Parity(2e-7, 1e-3, False, 2e-5, "T=9")
    assert large.worse(small) == parity.Parity(2e-7, 1e-3, False, 2e-5, "T=9")
    with pytest.raises(Unsupported, match=r"Small shapes are green; this was seen at T=9$"):
        large.require("mine", "gru")


def test_a_check_leaves_random_state_and_threads_alone() -> None:
    before = torch.get_rng_state()
    torch.set_num_threads(2)
    parity.check(LSTM, Vendor(), CPU, torch.float32, quick=True)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 2


def test_relative_error_by_hand() -> None:
    wanted = torch.tensor([1.0, -4.0, 0.0], dtype=torch.float64)
    assert parity.relative_error(torch.tensor([1.0, -4.0, 0.5]), wanted) == 0.125
    assert parity.relative_error(torch.tensor([1.0, float("nan"), 0.0]), wanted) == float("inf")
    assert parity.relative_error(torch.tensor([0.25]), torch.zeros(1)) == 0.25
    with pytest.raises(ValueError, match="shape"):
        parity.relative_error(torch.zeros(2), wanted)


def test_the_cases_cover_what_they_should() -> None:
    for cases in (parity.QUICK, parity.FULL):
        assert {1, 63} <= {case.T for case in cases}
        assert any(case.ragged for case in cases)
        assert any(case.bidirectional for case in cases)
        assert any(case.num_layers > 1 for case in cases)
        assert {case.given_state for case in cases} == {True, False}
    assert {1, 33} <= {case.B for case in parity.FULL}


def test_the_yaml_of_every_backend_is_compared_somewhere() -> None:
    assert {runner for _, runner in AGAINST_LOOP} | {"loop"} == set(yaml_names("backend"))
