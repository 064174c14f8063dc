"""The life of the compiled code: made once, found again, and missed with a message of one line."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bptt_cells import COMPILED, needs_native
from conftest import REPOSITORY
from made_cells import CPU, maker, seeded

from gru_bench.backends import bptt
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import layer as native
from gru_bench.backends.native.build import CannotBuild
from gru_bench.cells.gru import GRU
from gru_bench.errors import Unsupported
from gru_bench.measure import parity
from gru_bench.measure.kernel import kernel_name


@needs_native
def test_required_is_refused_where_there_is_no_compiled_code() -> None:
    required = BPTT(native="required")
    with pytest.raises(Unsupported, match="JANET in float32 by native code; native=auto"):
        required.stack([maker("janet")(2, 3, seeded())], CPU, torch.float32)
    with pytest.raises(Unsupported, match="GRU in bfloat16 by native code; native=auto"):
        required.stack([GRU(2, 3, seeded())], CPU, torch.bfloat16)


@pytest.fixture
def fresh_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing remembered of the code that this process has loaded."""
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    ours = (native_build.from_wheel, native_build.library, native_build.build_id)
    cached: tuple[Any, ...] = (*ours, native.kernel, bptt.warn_once)
    for function in cached:
        function.cache_clear()
    yield tmp_path / "cache"
    for function in cached:
        function.cache_clear()


@pytest.fixture
def there() -> str:
    """The session's own library; asked for before ``fresh_build``, it is the one in the session's cache."""
    return native_build.library()._name


def kernel_of(runner: BPTT) -> str:
    return kernel_name(runner.stack([GRU(3, 5, seeded())], CPU, torch.float32), runner, 3, CPU, torch.float32)


@pytest.mark.usefixtures("fresh_build")
def test_without_a_compiler_it_is_plain_torch_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert kernel_of(BPTT(native="never")) == "hand-derived torch"  # asked for: nothing to say
    assert not caplog.messages
    for _ in range(2):
        assert kernel_of(BPTT()) == "hand-derived torch"
    (message,) = caplog.messages
    assert re.fullmatch(
        r"backend=bptt runs in plain torch, since native code was not built: .*no-such-compiler.", message
    )
    with pytest.raises(Unsupported, match=r"native=required: no C\+\+ compiler found .*native=auto"):
        BPTT(native="required").stack([GRU(3, 5, seeded())], CPU, torch.float32)


@pytest.mark.usefixtures("fresh_build")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "failed"),
        ("case $* in *-dM*) echo '#define X';; *) echo 'layer.cpp:1: error: bad' >&2; exit 1;; esac", "error: bad"),
        ("case $* in *-dM*) echo '#define Y';; *) while [ $1 != -o ]; do shift; done; echo x > $2;; esac", "OSError"),
    ],
    ids=["says nothing", "fails", "makes nonsense"],
)
def test_a_compiler_that_fails_is_a_message_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    compiler = tmp_path / "cxx"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CannotBuild, match=message) as caught:
        native_build.library()
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_named(fresh_build: Path) -> None:
    fresh_build.write_text("a file where the folder should be")
    with pytest.raises(CannotBuild, match="cache"):
        native_build.library()


@needs_native
def test_the_second_start_compiles_nothing(there: str, fresh_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the code that is there already, as another process would have left it
    made = fresh_build / "native" / f"layer-{native_build.build_id()}.so"
    made.parent.mkdir(parents=True)
    made.write_bytes(Path(there).read_bytes())
    native_build.sealed(made).write_text(native_build.seal(made))
    monkeypatch.setattr(native_build, "_compile", lambda _: pytest.fail("compiled again"))
    assert native_build.library()._name == str(made)


@needs_native
@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "unsealed"])
def test_a_damaged_library_is_made_anew(
    there: str, fresh_build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    whole = Path(there).read_bytes()
    made = fresh_build / "native" / f"layer-{native_build.build_id()}.so"
    made.parent.mkdir(parents=True)
    made.write_bytes(whole)
    if damage != "unsealed":
        native_build.sealed(made).write_text(native_build.seal(made))
    made.write_bytes({"cut": whole[:-5000], "changed": whole[:-1] + b"x", "empty": b""}.get(damage, whole))

    def compiled(path: Path) -> None:
        path.write_bytes(whole)
        native_build.sealed(path).write_text(native_build.seal(path))

    monkeypatch.setattr(native_build, "_compile", compiled)
    assert native_build.library()._name == str(made)
    assert made.read_bytes() == whole
    assert ("is damaged: compiled anew" in capsys.readouterr().err) == (damage != "unsealed")


@needs_native
@pytest.mark.usefixtures("fresh_build")
def test_a_change_of_sources_or_flags_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = native_build.build_id()
    monkeypatch.setattr(native_build, "FLAGS", (*native_build.FLAGS, "-g"))
    native_build.build_id.cache_clear()
    second = native_build.build_id()
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "layer.cpp").write_text("")
    monkeypatch.setattr(native_build, "SOURCE", folder)
    native_build.build_id.cache_clear()
    assert len({first, second, native_build.build_id()}) == 3


@needs_native
@pytest.mark.slow
@pytest.mark.usefixtures("fresh_build")
def test_the_narrowest_vectors_agree_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text for SSE2; ``test_native_prebuilt.py`` has AVX2 and AVX-512."""
    flags = tuple(flag.replace("native", "x86-64") if "march" in flag else flag for flag in native_build.FLAGS)
    monkeypatch.setattr(native_build, "FLAGS", flags)
    try:
        native_build.library()
    except CannotBuild as error:
        pytest.skip(f"x86-64: {error}")
    for name in COMPILED:
        for dtype in (torch.float32, torch.float64):
            errors = [parity.compare(case, maker(name), BPTT(native="required"), CPU, dtype) for case in parity.FULL]
            assert max(map(max, errors)) <= parity.TOLERANCES[dtype]


@needs_native
@pytest.mark.slow
def test_processes_that_start_at_once_compile_once(fresh_build: Path, tmp_path: Path) -> None:
    log, compiler = tmp_path / "calls", tmp_path / "cxx"
    compiler.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {native_build.compiler()} "$@"\n')
    compiler.chmod(0o755)
    code = "from gru_bench.backends.native.build import library; library()"
    environment = {"CXX": str(compiler), "GRU_BENCH_CACHE": str(fresh_build), "PATH": "/usr/bin:/bin"}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 3
    assert sum("-shared" in call for call in log.read_text().splitlines()) == 1
