"""One export: the files, the proof, and ``export.json`` beside them; all of it, or nothing."""

import copy
import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gru_bench.errors import UserError
from gru_bench.export.deployed import Deployed
from gru_bench.export.proof import Proof, Prover
from gru_bench.export.states import DECODER, SEQUENCE, STREAM, Program, States, states_of

Format = Literal["onnx", "torch"]
FACTS_FILE = "export.json"
NEEDS = ("onnx", "onnxruntime")
"""Packages of the extra ``export`` that format=onnx needs; format=torch needs none."""


class NotTheSame(Exception):
    """The export is not the model that it was made of, so nothing is left of it."""


@dataclass(frozen=True)
class Model:
    """What is exported.

    Attributes:
        module: The trained model, on the CPU, with the backend of its run.
        twin: The same weights in plain torch, in float32.
        facts: What is known of it; kept in ``export.json``.
        score: Scores a model on the test split; None where its data is not here.
        unscored: Why there is none.
    """

    module: nn.Module
    twin: nn.Module
    facts: dict[str, Any]
    score: Callable[[nn.Module], float] | None
    unscored: str = ""


@dataclass
class Exported:
    """What became of it.

    Attributes:
        folder: Where the files are.
        proof: That they are the model.
        known: All of ``export.json``.
        lines: What a user should read.
    """

    folder: Path
    proof: Proof
    known: dict[str, Any]
    lines: list[str] = field(default_factory=list)


def require(kind: Format) -> None:
    """Refuse a format whose packages are not here.

    Raises:
        UserError: How they are installed.
    """
    missing = [name for name in NEEDS if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise UserError(f"format=onnx: needs {' and '.join(missing)}: pip install 'gru-bench[export]'")


def require_free(folder: Path) -> None:
    """Refuse to replace what is no export.

    Raises:
        UserError: There is something else.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / FACTS_FILE).is_file() or not any(folder.iterdir()))):
        raise UserError(
            f"output={folder}: exists and is no export; valid: a new folder, or that of an earlier export, which is "
            "then replaced"
        )


def export(model: Model, folder: Path, *, kind: Format, int8: bool, operators: bool) -> Exported:
    """Write a model's graphs, compare them with it, and only then put them where they belong.

    Args:
        model: It.
        folder: Where; an earlier export is replaced as a whole.
        kind: ``onnx`` or ``torch``.
        int8: Also with weights in 8 bits; ONNX alone.
        operators: Whether ONNX's own recurrent operators may be used.

    Raises:
        UserError: The model or its cell cannot be exported so, or the folder is something else.
        NotTheSame: The comparison failed; no file is left.
    """
    require(kind)
    if int8 and kind != "onnx":
        raise UserError("int8=true: only with format=onnx: it is ONNX Runtime that has the kernels")
    require_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}"))
    try:
        new = beside / "new"
        new.mkdir()
        exported = write(model, new, kind, int8, operators)
        if not exported.proof.holds:
            raise NotTheSame(f"the export is not the same model, so nothing is left of it: {exported.proof.line()}")
        text = json.dumps(finite(exported.known), indent=1, ensure_ascii=False)
        (new / FACTS_FILE).write_text(f"{text}\n", encoding="utf-8")
        if folder.exists():
            folder.rename(beside / "old")
        new.rename(folder)
        exported.folder = folder
        return exported
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write(model: Model, folder: Path, kind: Format, int8: bool, operators: bool) -> Exported:
    """The files and what was found, in a folder that may still be thrown away."""
    states, refused = states_of(model.twin)
    files: dict[str, Any] = {}
    if kind == "onnx":
        programs, files = onnx_files(model, folder, operators)
    else:
        programs, files = torch_files(model, folder)
    exact = copy.deepcopy(model.twin).double()
    proof = Prover(model.module, model.twin, exact).prove(programs, states)
    for name, one in states.items():
        files[name]["states"] = {key: {"shape": list(value.shape), "start": value.start} for key, value in one.items()}
    known: dict[str, Any] = {
        "format": kind,
        **model.facts,
        "graphs": files,
        "refused": refused,
        "proof": proof.as_json(),
        "versions": versions(kind),
    }
    lines = [f"proof: {proof.line()}", *(f"refused: {line}" for line in refused)]
    exported = Exported(folder, proof, known, lines)
    if proof.holds:
        measure(exported, model, programs, states, kind, int8)
    return exported


def onnx_files(model: Model, folder: Path, operators: bool) -> tuple[dict[str, Program], dict[str, Any]]:
    """Write the graphs of ONNX and open what was written."""
    from gru_bench.export.models import graphs_of
    from gru_bench.export.runtime import onnx_program, onnx_session

    programs: dict[str, Program] = {}
    files: dict[str, Any] = {}
    for name, drawn in graphs_of(model.twin, operators=operators).items():
        path = folder / f"{name}.onnx"
        path.write_bytes(drawn.graph.model(name, {"run_id": str(model.facts.get("run_id"))}).SerializeToString())
        session = onnx_session(path, 1)
        programs[name] = onnx_program(session)
        files[name] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "recurrent_layers": drawn.layers,
            "inputs": {one.name: {"type": one.type, "shape": one.shape} for one in session.get_inputs()},
            "outputs": {one.name: {"type": one.type, "shape": one.shape} for one in session.get_outputs()},
        }
    return programs, files


def torch_files(model: Model, folder: Path) -> tuple[dict[str, Program], dict[str, Any]]:
    """Write the programs of torch.export and read again what was written."""
    from gru_bench.export.torch_program import Traced, program_of, trace

    programs: dict[str, Program] = {}
    files: dict[str, Any] = {}
    for name, traced in trace(model.twin).items():
        path = folder / f"{name}.pt2"
        torch.export.save(traced.program, path)
        programs[name] = program_of(Traced(torch.export.load(path), traced.inputs, traced.outputs))
        files[name] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "recurrent_layers": ["one step" if name in (STREAM, DECODER) else "steps under torch's scan"],
            "inputs": list(traced.inputs),
            "outputs": list(traced.outputs),
        }
    return programs, files


def measure(
    exported: Exported,
    model: Model,
    programs: dict[str, Program],
    states: dict[str, States],
    kind: Format,
    int8: bool,
) -> None:
    """Score, latency, and the same in 8 bits."""
    known, lines = exported.known, exported.lines
    score = model.score if SEQUENCE in programs else None
    if score is not None:
        known["score"] = {
            "source": score(model.module),
            "exported": score(Deployed(programs[SEQUENCE], states[SEQUENCE], model.twin)),
        }
    else:
        known["not_scored"] = model.unscored or "translations are not scored through exported graphs"
    if kind != "onnx":
        return
    known["latency"] = latencies(exported.folder, model, states, "")
    if not int8:
        return
    from gru_bench.export.int8 import quantize
    from gru_bench.export.runtime import onnx_program, onnx_session

    known["int8"] = {}
    for name, facts in known["graphs"].items():
        path = exported.folder / f"{name}.int8.onnx"
        made = quantize(exported.folder / facts["file"], path)
        known["int8"][name] = {"file": path.name, **made.as_json(), "in_words": made.words()}
        lines.append(f"int8 {name}: {made.words()}")
    reduced = {name: onnx_program(onnx_session(exported.folder / f"{name}.int8.onnx", 1)) for name in programs}
    errors = Prover(model.module, model.twin, copy.deepcopy(model.twin).double()).prove(reduced, states)
    known["int8_error"] = errors.as_json()
    known["int8_latency"] = latencies(exported.folder, model, states, ".int8")
    if score is not None:
        known["score"]["int8"] = score(Deployed(reduced[SEQUENCE], states[SEQUENCE], model.twin))
        lines.append(
            f"int8 score on the test split: {known['score']['int8']:.4g}, {known['score']['source']:.4g} before"
        )
    else:
        lines.append(f"int8 on the check's random inputs: {errors.line()}")


def latencies(folder: Path, model: Model, states: dict[str, States], suffix: str) -> dict[str, Any]:
    """Of the graphs that can be called by themselves."""
    from gru_bench.export.latency import CALLS, SEQUENCE_STEPS, caller, latency
    from gru_bench.export.runtime import onnx_session

    found = {}
    for name in (STREAM, SEQUENCE):
        if name in states:
            session = onnx_session(folder / f"{name}{suffix}.onnx", 1)
            steps = SEQUENCE_STEPS if name == SEQUENCE else None
            call = caller(session, states[name], steps, model.facts.get("sizes", {}).get("vocab_size", 1))
            found[name] = latency(call, CALLS[name]).as_json() | {"steps": steps or 1, "batch": 1, "threads": 1}
    return found


def versions(kind: Format) -> dict[str, str]:
    """Of what made and ran it."""
    names = ("torch", *(NEEDS if kind == "onnx" else ()))
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def finite(known: Any) -> Any:
    """The same with infinities as texts, which JSON does not have as numbers."""
    if isinstance(known, dict):
        return {key: finite(value) for key, value in known.items()}
    if isinstance(known, list | tuple):
        return [finite(value) for value in known]
    return str(known) if isinstance(known, float) and not abs(known) < float("inf") else known
