"""The short table that ``bench/gpu.py`` prints last, from its ``summary.json``: a pure function, with no library."""

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def table(summary: Row) -> str:
    """What was found, in a page of text."""
    steps = {step["name"]: step for step in summary["steps"]}
    found = {name: step.get("figures") for name, step in steps.items()}
    parts = [
        machine(found.get("environment") or {}),
        aligned(
            [["step", "state", "seconds"], *([s["name"], s["state"], f"{s['seconds']:.0f}"] for s in steps.values())]
        ),
        tests(found.get("tests") or {}),
        *(cells(name, figures) for name, figures in found.items() if figures and "peak_gflops" in figures),
        algorithms((found.get("algorithms") or {}).get("rows", [])),
        *(said(step) for name, step in steps.items() if name.startswith("time ") or name == "quick"),
        *(failure(step) for step in steps.values() if step["state"] in ("failed", "too slow")),
    ]
    return "\n\n".join(part for part in parts if part)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other, those of numbers to the right."""
    lines = [""] * len(rows)
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        is_number = all(text.replace(".", "").isdigit() or text in ("-", "") for text in column[1:])
        padded = [text.rjust(width) if is_number else text.ljust(width) for text in column]
        lines = [f"{line}  {text}" for line, text in zip(lines, padded, strict=True)]
    return "\n".join(line[2:].rstrip() for line in lines)


def machine(facts: Row) -> str:
    """One or two lines."""
    if not facts:
        return "machine: not known"
    smi = facts.get("nvidia_smi") or {}
    known = [
        str(facts.get("card", "no card")),
        f"driver {smi['driver_version']}" if "driver_version" in smi else "",
        f"torch {facts.get('torch')}",
        f"cuDNN {facts.get('cudnn')}",
        f"Python {facts.get('python')}",
    ]
    lines = [", ".join(filter(None, known))]
    clocks = facts.get("clocks_at_work") or smi
    if "clocks.sm" in clocks:
        lines.append(f"clock {clocks['clocks.sm']} of at most {clocks.get('clocks.max.sm', '?')}")
    if facts.get("missing"):
        lines.append(f"libraries that are not here: {', '.join(facts['missing'])}")
    return "\n".join(lines)


def tests(figures: Row) -> str:
    """Counts, and the names of those that failed."""
    if not figures:
        return ""
    lines = [f"tests: {figures['passed']} passed, {figures['failed']} failed, {figures['skipped']} left out"]
    return "\n".join([*lines, *(f"  {name}" for name in figures["names_of_failed"][:20])])


def cells(name: str, figures: Row) -> str:
    """Milliseconds by shape and backend, a column a cell, with the vendor's time over it; what was not timed, why."""
    rows = [row for row in figures["rows"] if row.get("ms") is not None]
    names = list(dict.fromkeys(row["cell"] for row in rows))
    by = {(row["shape"], row["backend"], row["cell"]): row for row in rows}
    lines = [["shape", "backend", *(f"{cell} ms" for cell in names), *(f"{cell} ratio" for cell in names)]]
    for shape, backend in dict.fromkeys((row["shape"], row["backend"]) for row in rows):
        here = [by.get((shape, backend, cell), {}) for cell in names]
        lines.append(
            [shape, backend, *(number(row.get("ms"), 3) for row in here)]
            + [number(row.get("ratio_to_vendor"), 2) for row in here]
        )
    missing = [*figures.get("not_run", []), *(row for row in figures["rows"] if row.get("parity") == "red")]
    reasons = dict.fromkeys(f"  {row['cell']} on {row['backend']}: {row['reason']}" for row in missing)
    head = f"{name}: best product {figures['peak_gflops']:.0f} GFLOP/s; ratio: the vendor's time over its own"
    return "\n".join([head, aligned(lines), *reasons])


def number(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def algorithms(rows: Iterable[Row]) -> str:
    """The class of cuDNN's algorithm by cell, type and batch, a column a hidden size."""
    found = list(rows)
    if not found:
        return ""
    sizes = sorted({row["H"] for row in found})
    by = {(row["cell"], row["dtype"], row["B"], row["H"]): row.get("kernel") or row.get("error", "") for row in found}
    lines = [["cell", "type", "batch", *(f"H={size}" for size in sizes)]]
    for cell, dtype, B in dict.fromkeys((row["cell"], row["dtype"], row["B"]) for row in found):
        lines.append([cell, dtype, str(B), *(by.get((cell, dtype, B, H), "-")[:60] for H in sizes)])
    return "algorithms, as the profiler saw them\n" + aligned(lines)


def said(step: Row) -> str:
    """The end of what a command printed."""
    lines = [line for line in step.get("tail", []) if line.strip()][-12:]
    return "\n".join([f"{step['name']}:", *(f"  {line}" for line in lines)]) if lines and step["state"] == "ok" else ""


def failure(step: Row) -> str:
    """Why a step did not do its work, as far as it said so."""
    lines = [line for line in step.get("tail", []) if line.strip()][-6:]
    return "\n".join([f"{step['name']}: {step['state']} (exit {step.get('exit')})", *(f"  {line}" for line in lines)])
