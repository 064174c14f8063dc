"""Compiled code that a wheel carries: which library is taken, and what is never taken."""

import importlib.util
import json
import shutil
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
from gru_bench.backends.native import compiling, prebuilt
from gru_bench.backends.native import layer as native
from gru_bench.backends.native.build import CannotBuild
from gru_bench.backends.native.prebuilt import NEEDS, NotPrebuilt, level_for
from gru_bench.cells.gru import GRU
from gru_bench.commands import doctor
from gru_bench.errors import UserError
from gru_bench.measure import parity
from gru_bench.measure.kernel import kernel_name
from gru_bench.timing import instrument

V4, V3 = NEEDS["avx512"], NEEDS["avx2"]


def forget() -> None:
    cached: tuple[Any, ...] = (native_build.from_wheel, native_build.library, native_build.build_id, native.kernel)
    for function in (*cached, bptt.warn_once):
        function.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, flags: frozenset[str]) -> None:
    """A processor of these flags, as Linux tells of it; two cores."""
    told = folder / "cpuinfo"
    core = f"model name\t: made up\nflags\t\t: {' '.join(sorted(flags))}\nbugs\t\t: avx512f\n\n"
    told.write_text(core * 2)
    monkeypatch.setattr(prebuilt, "CPUINFO", told)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of libraries as in a wheel, an empty cache, no compiler, and a processor that can do all.

    Both libraries are the code of this very machine, so that they can be loaded; their ends tell them apart.
    """
    forget()
    code = Path(native_build.library()._name).read_bytes()  # the session's own
    folder = tmp_path / "libraries"
    folder.mkdir()
    libraries = {}
    for level in NEEDS:
        path = folder / f"layer-{level}.so"
        path.write_bytes(code + level.encode())
        libraries[level] = {"file": path.name, "seal": compiling.seal(path), "flags": "-O3 -march=x -fPIC"}
    facts = {"sources": compiling.source_digest(), "compiler": "made 1.0", "libraries": libraries}
    (folder / compiling.MANIFEST).write_text(json.dumps(facts))
    monkeypatch.setattr(prebuilt, "FOLDER", folder)
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.delenv(prebuilt.VARIABLE, raising=False)
    pretend(monkeypatch, tmp_path, V4)
    forget()
    yield folder
    forget()


def test_the_flags_of_a_processor_are_those_that_all_its_cores_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuilt, "CPUINFO", tmp_path / "cpuinfo")
    assert prebuilt.processor_flags() == frozenset()
    prebuilt.CPUINFO.write_text("flags\t: fpu avx2 avx512f\nvmx flags\t: ept\n\nflags\t: fpu avx2\n")
    assert prebuilt.processor_flags() == {"fpu", "avx2"}
    prebuilt.CPUINFO.write_text("Features\t: fp asimd\n")
    assert prebuilt.processor_flags() == frozenset()


@pytest.mark.parametrize("missing", sorted(V4))
def test_a_level_is_taken_only_with_all_that_it_consists_of(missing: str) -> None:
    flags = V4 - {missing}
    if missing in V3:
        with pytest.raises(NotPrebuilt, match=f"for avx2 needs a processor with {missing}$"):
            level_for("auto", flags)
    else:
        assert level_for("auto", flags) == "avx2"
        with pytest.raises(NotPrebuilt, match=f"for avx512 needs a processor with {missing}$"):
            level_for("avx512", flags)


def test_the_best_level_is_taken_and_can_be_capped() -> None:
    assert [level_for(choice, V4) for choice in ("auto", "prebuilt", "avx512", "avx2")] == [
        "avx512",
        "avx512",
        "avx512",
        "avx2",
    ]
    with pytest.raises(NotPrebuilt, match="for avx2 needs a processor with"):
        level_for("auto", frozenset())


@needs_native
@pytest.mark.parametrize(
    ("flags", "choice", "level"),
    [(V4, None, "avx512"), (V4, "avx2", "avx2"), (V3, None, "avx2"), (V3, "prebuilt", "avx2"), (V4, "", "avx512")],
)
def test_a_wheel_needs_neither_compiler_nor_cache(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: frozenset[str], choice: str | None, level: str
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    pretend(monkeypatch, tmp_path, flags)
    if choice is not None:
        monkeypatch.setenv(prebuilt.VARIABLE, choice)
    path = wheel / f"layer-{level}.so"
    digest = compiling.seal(path).split()[1]
    assert native_build.library()._name == str(path)
    assert native_build.build_id() == BPTT().build == digest[:20]
    assert native_build.native_code() == f"prebuilt for {level} by made 1.0, build {digest[:10]}"
    assert doctor.native_line() == (native_build.native_code(), "green")
    assert instrument.compiled_by() == "prebuilt by made 1.0 -O3 -march=x"
    runner = BPTT(native="required")
    stack = runner.stack([GRU(3, 5, seeded())], CPU, torch.float32)
    assert kernel_name(stack, runner, 3, CPU, torch.float32).startswith("native ")


def edited(manifest: Path, **facts: Any) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | facts))


WRONG = {
    "cut": "layer-avx512.so is damaged",
    "changed": "layer-avx512.so is damaged",
    "empty": "layer-avx512.so is damaged",
    "gone": "layer-avx512.so cannot be loaded",
    "no library": "layer-avx512.so cannot be loaded",
    "other sources": "made from other sources",
    "cut manifest": "manifest.json is damaged",
    "no such level": "manifest.json is damaged",
    "a list": "manifest.json is damaged",
    "no manifest": "carries no prebuilt library",
}


def spoil(wheel: Path, wrong: str) -> None:
    manifest, library = wheel / compiling.MANIFEST, wheel / "layer-avx512.so"
    code = library.read_bytes()
    match wrong:
        case "cut" | "changed" | "empty":
            library.write_bytes({"cut": code[:-5000], "changed": b"x" + code[1:], "empty": b""}[wrong])
        case "gone":
            library.unlink()
        case "no library":
            library.write_bytes(b"text")
            edited(manifest, libraries={"avx512": {"file": library.name, "seal": compiling.seal(library), "flags": ""}})
        case "other sources":
            edited(manifest, sources="0")
        case "no such level":
            edited(manifest, libraries={})
        case "cut manifest" | "a list":
            manifest.write_text({"cut manifest": "{", "a list": "[]"}[wrong])
        case "no manifest":
            manifest.unlink()


@needs_native
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_as_it_was_made_is_not_taken(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    code = (wheel / "layer-avx2.so").read_bytes()
    said = WRONG[wrong]
    spoil(wheel, wrong)
    with pytest.raises(CannotBuild, match=said) as caught:
        native_build.library()
    assert "\n" not in str(caught.value)
    assert doctor.native_line() == (f"none, so that backend=bptt runs in plain torch: {caught.value}", "yellow")
    damaged = wrong not in ("other sources", "no manifest")
    assert capfd.readouterr().err.count("installing gru-bench again mends it") == damaged  # once, however often asked
    # where there is a compiler, it makes up for it
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(native_build, "_compile", lambda path: made(path, code))
    forget()
    assert Path(native_build.library()._name).parent == native_build.cache_dir() / "native"
    assert native_build.native_code().startswith("compiled for this processor, build ")
    assert said in doctor.native_line()[0]


def made(path: Path, code: bytes) -> None:
    path.write_bytes(code)
    native_build.sealed(path).write_text(compiling.seal(path))


@needs_native
@pytest.mark.parametrize(
    ("choice", "flags", "said"),
    [
        ("compile", V4, "no C++ compiler found (looked for no-such-compiler); GRU_BENCH_NATIVE=compile"),
        (
            "prebuilt",
            V3 - {"fma"},
            "GRU_BENCH_NATIVE=prebuilt: the prebuilt library for avx2 needs a processor with fma",
        ),
        ("avx512", V3, "GRU_BENCH_NATIVE=avx512: the prebuilt library for avx512 needs a processor with avx512bw, "),
    ],
)
@pytest.mark.usefixtures("wheel")
def test_what_is_asked_for_is_taken_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, flags: frozenset[str], said: str
) -> None:
    monkeypatch.setenv(prebuilt.VARIABLE, choice)
    if choice != "compile":  # a compiler would not help
        monkeypatch.delenv("CXX")
    pretend(monkeypatch, tmp_path, flags)
    with pytest.raises(CannotBuild) as caught:
        native_build.library()
    assert str(caught.value).startswith(said)


@needs_native
def test_a_processor_without_avx2_compiles(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (wheel / "layer-avx2.so").read_bytes()
    pretend(monkeypatch, tmp_path, V3 - {"avx2"})
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(native_build, "_compile", lambda path: made(path, code))
    assert native_build.library()._name.endswith(f"layer-{native_build.build_id()}.so")


def test_another_value_of_the_variable_is_named_with_those_that_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prebuilt.VARIABLE, "sse")
    forget()
    with pytest.raises(UserError, match=r"^GRU_BENCH_NATIVE=sse: valid: auto, prebuilt, avx512, avx2, compile$"):
        BPTT()
    forget()


# what goes into a wheel


@pytest.fixture(scope="module")
def hook() -> Any:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_native
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("readelf") is None, reason="needs Linux and readelf")
def test_a_library_that_asks_for_more_than_the_tag_promises_is_refused(
    hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    path = Path(native_build.library()._name)
    monkeypatch.setattr(hook, "NEWEST", {"GLIBC": (9,), "GLIBCXX": (9,), "CXXABI": (9,), "GCC": (99,)})
    hook.check_needs(path)
    monkeypatch.setattr(hook, "NEWEST", hook.NEWEST | {"GLIBC": (2, 0)})
    with pytest.raises(RuntimeError, match=r"is not for py3-none-manylinux.*: it asks for GLIBC_2\.\d"):
        hook.check_needs(path)
    monkeypatch.setattr(hook, "NEWEST", hook.NEWEST | {"GLIBC": (9,)})
    monkeypatch.setattr(hook, "LIBRARIES", hook.LIBRARIES - {"libc.so.6"})
    with pytest.raises(RuntimeError, match=r"it asks for libc\.so\.6$"):
        hook.check_needs(path)


@pytest.mark.parametrize(
    ("target", "version", "asked"), [("wheel", "standard", ""), ("wheel", "editable", "1"), ("sdist", "standard", "1")]
)
def test_other_builds_carry_no_library(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, version: str, asked: str
) -> None:
    monkeypatch.setenv("GRU_BENCH_PREBUILT", asked)
    data: dict[str, Any] = {"force_include": {}, "pure_python": True}
    one = hook.PrebuiltLibraries(str(tmp_path), {}, None, None, str(tmp_path), target)
    one.initialize(version, data)
    one.finalize(version, data, "")
    assert data == {"force_include": {}, "pure_python": True}


@pytest.fixture(scope="module")
def made_for_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    try:
        compiling.compile_for_wheel(folder)
    except CannotBuild as error:
        pytest.skip(f"no x86-64, or an old compiler: {error}")
    return folder


@needs_native
@pytest.mark.slow
@pytest.mark.parametrize("level", NEEDS)
def test_both_libraries_of_a_wheel_agree_with_the_loop(
    hook: Any, made_for_wheel: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    if sys.platform == "linux":
        hook.check_needs(made_for_wheel / f"layer-{level}.so")
    monkeypatch.setattr(prebuilt, "FOLDER", made_for_wheel)
    monkeypatch.setenv(prebuilt.VARIABLE, level)
    forget()
    try:
        path = native_build.library()._name
    except CannotBuild as error:
        pytest.skip(str(error))
    assert path == str(made_for_wheel / f"layer-{level}.so")
    try:
        for name in COMPILED:
            for dtype in (torch.float32, torch.float64):
                runner = BPTT(native="required")
                errors = [parity.compare(case, maker(name), runner, CPU, dtype) for case in parity.FULL]
                assert max(map(max, errors)) <= parity.TOLERANCES[dtype]
        assert native.instruction_set() == level
    finally:
        forget()


@needs_native
@pytest.mark.slow
def test_processes_that_start_at_once_load_the_same_library(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gru_bench.backends.native import build, prebuilt\n"
        "prebuilt.FOLDER, prebuilt.CPUINFO = map(Path, sys.argv[1:]); print(build.library()._name)"
    )
    command = [sys.executable, "-c", code, str(wheel), str(tmp_path / "cpuinfo")]
    environment = {"PATH": "", "GRU_BENCH_CACHE": str(tmp_path / "cache")}
    started = [
        subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [one.communicate() for one in started] == [(f"{wheel / 'layer-avx512.so'}\n".encode(), b"")] * 3
    assert not (tmp_path / "cache").exists()
