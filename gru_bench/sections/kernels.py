"""Kernels: which one ran, what is a comparison on the vendor's worth here, and how fast are the others?"""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gru_bench.report.benchmarks import (
    MEAN,
    VENDOR,
    Place,
    average_ratio,
    draw,
    is_grid,
    kernels_of,
    mean,
    places_of,
    ratio,
    shape_name,
    where,
)
from gru_bench.report.groups import distinct, family_rank, is_known
from gru_bench.report.markdown import UNKNOWN, Section, known, number, paragraphs, plural, span, table
from gru_bench.report.view import View
from gru_bench.store.read import FAMILIES

COMMAND = "`python bench/cells.py --store`"
TEXT = (
    "The kernel is what the profiler saw at work, not what was asked for. Two cells of one backend may run on kernels "
    "of very different quality, and a comparison of their times is then one of kernels."
)
FIGURES = (
    "A ratio is the vendor's time over the backend's, forward and backward: above 1 is faster than the vendor. Shapes "
    "are T x B x H, such as 35x20x200: 35 time steps of 20 sequences at hidden size 200; one of four numbers has the "
    "inputs of a step before the hidden size. The geometric mean is over these. The article's "
    "step is a whole training step of its model, and is in no mean. These numbers are not in `results.csv`: they are "
    "the table `bench.parquet` of the MLflow run that is named with them."
)
MEANING = {
    "cuDNN": "NVIDIA's library, a whole layer in one call",
    "MIOpen": "AMD's library, a whole layer in one call",
    "oneDNN": "the library of that name, a whole layer in one fused call",
    "ATen loop": "torch's own operator, which loops over the steps",
    "Python loop": "the equations step by step, called from Python",
    "compiled loop": "the equations step by step through torch.compile",
    "hand-derived torch": "our backward pass, derived by hand, in plain torch",
    "native": "our backward pass, derived by hand, in compiled C++",
}
"""By the beginning of a kernel's name."""
PRODUCTS = {"rnn": 1, "lstm": 4, "gru": 3}
"""Matrix products per step: one per gate, at equal sizes all of the same cost."""


def render(view: View, /, *, compared: list[str]) -> Section:
    """Answer: which kernel ran, what is a comparison on the vendor's backend worth here, how fast are the others?

    Args:
        view: All runs.
        compared: The two cells whose times are compared kernel by kernel.
    """
    runs = view.all_runs
    ran = runs[(is_known(runs["kernel"]) | (runs["parity"] == "red")) & is_known(runs["cell"])]
    if ran.empty:
        return Section("Kernels", "")
    places = places_of(view.bench)
    parts = [TEXT, audit(ran), meanings(ran, places), "### What a comparison on the vendor's backend is worth"]
    parts.append("\n".join(f"- {line}" for line in worth(ran, places)))
    parts += [by_kernel(place, compared) for place in places]
    parts.append("### Against the vendor")
    figures: dict[str, Figure] = {}
    if places:
        parts.append(FIGURES)
    for place in places:
        name = "kernels" if not figures else f"kernels_{len(figures) + 1}"
        drawn = draw(place)
        if drawn is not None:
            figures[name] = drawn
        parts.append(against_vendor(place, runs, name if drawn is not None else None))
    parts.append(not_measured(ran, places))
    return Section("Kernels", paragraphs(*parts), figures)


def listed(names: Iterable[str]) -> str:
    """``rnn, lstm and gru``."""
    found = list(names)
    return " and ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))


# which kernel ran


def audit(ran: pd.DataFrame) -> str:
    """A row for each kernel that each cell took on each backend, and for each that was refused as red."""
    columns = ["cell", "backend", "kernel", "device", "dtype", "threads", "machine", "parity"]
    counted: dict[tuple[str, ...], int] = {}
    order: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for run in ran.to_dict("records"):
        key = tuple(plain(run[column]) for column in columns)
        counted[key] = counted.get(key, 0) + 1
        family = str(run["family"]) if known(run["family"]) else key[0].split("_")[0]
        order[key] = (family_rank(family), key[0] != family, key)
    rows = [[*key, str(counted[key])] for key in sorted(counted, key=lambda key: order[key])]
    return table([*columns, "runs"], rows, {"threads", "runs"})


def plain(value: Any) -> str:
    """A fact as text."""
    if not known(value):
        return UNKNOWN
    return f"{value:g}" if isinstance(value, float) else str(value)


def meanings(ran: pd.DataFrame, places: list[Place]) -> str:
    """What the kernels' names stand for."""
    names = {str(kernel) for kernel in distinct(ran["kernel"])}
    names |= {row["kernel"] for place in places for found in place.rows.values() for row in found.values()}
    parts = {part for name in names for part in name.split(" + ")}
    lines = [f"- {name}: {text}." for name, text in MEANING.items() if any(part.startswith(name) for part in parts)]
    return "\n".join(lines)


def library(kernels: Iterable[str]) -> set[str]:
    """The kernels without their class of algorithm."""
    return {next((name for name in MEANING if kernel.startswith(name)), kernel) for kernel in kernels}


# what the vendor is worth


def worth(ran: pd.DataFrame, places: list[Place]) -> list[str]:
    """For each device that runs or figures know: whether the vendor's kernels are alike there."""
    seen: dict[str, dict[str, set[str]]] = {}
    for run in ran.to_dict("records"):
        kernels = seen.setdefault(where(run), {})
        if run["backend"] == VENDOR and run["cell"] in FAMILIES and known(run["kernel"]):
            kernels.setdefault(run["cell"], set()).add(str(run["kernel"]))
    for place in places:
        kernels = seen.setdefault(place.where, {})
        for (cell, backend), found in place.rows.items():
            if backend == VENDOR:
                kernels.setdefault(cell, set()).update(row["kernel"] for row in found.values())
    return [vendor_line(name, seen[name]) for name in sorted(seen)]


def vendor_line(name: str, kernels: dict[str, set[str]]) -> str:
    """What is known of the vendor's kernels on one device, in a sentence or two."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for cell in sorted(kernels, key=family_rank):
        alike.setdefault(tuple(sorted(kernels[cell])), []).append(cell)
    ran = "; ".join(f"{listed(cells)} on {listed(found)}" for found, cells in alike.items())
    if not alike:
        return (
            f"On the {name} no run used the vendor's backend and no figures are stored, so nothing here says which "
            "kernels it would take: `gru-bench doctor` shows them."
        )
    if len(kernels) == 1:
        return f"On the {name} only one of the vendor's cells was seen, {ran}: there is nothing to compare it with."
    if len(alike) == 1:
        return (
            f"On the {name} the vendor ran {ran}: its kernels are alike as far as their names tell, and comparing "
            "cells on the vendor's backend compares like with like."
        )
    if len(library(kernel for found in alike for kernel in found)) == 1:
        return (
            f"On the {name} the vendor ran {ran}: one library, but not one class of algorithm. A comparison of cells "
            "on the vendor's backend there is partly a comparison of kernels."
        )
    return (
        f"On the {name} the vendor ran {ran}. **A comparison of cells on the vendor's backend there compares kernels, "
        "not cells.**"
    )


def by_kernel(place: Place, compared: list[str]) -> str:
    """Time of the first cell over that of the second, on each pair of kernels, and whether they are alike."""
    one, other = compared
    vendor: float | None = None
    alike: list[float] = []
    rows = []
    backends = sorted({backend for cell, backend in place.rows if cell == one}, key=lambda b: (b != VENDOR, b))
    for backend in backends:
        first = place.rows[one, backend]
        partner = backend if (other, backend) in place.rows else VENDOR
        second = place.rows.get((other, partner), {})
        shared = [shape for shape in place.shapes if shape in first and shape in second]
        quotients = {shape: first[shape]["ms"] / second[shape]["ms"] for shape in shared}
        on_grid = [quotient for shape, quotient in quotients.items() if is_grid(shape)]
        average = mean(on_grid)
        same = all(first[shape]["kernel"] == second[shape]["kernel"] for shape in shared)
        if average is None or (partner != backend and not same):
            continue  # nothing in common: neither a shape, nor one backend or one kernel
        if same:
            alike.append(average)
        elif backend == VENDOR:
            vendor = average
        names = [f"{name}: {kernels_of(found)}" for name, found in ((backend, first), (partner, second))]
        whole = [number(quotients.get(shape)) for shape in place.shapes if not is_grid(shape)]
        spread = span(min(on_grid), max(on_grid))
        rows.append([*names, "yes" if same else "no", number(average), spread, str(len(on_grid)), *whole])
    if not rows:
        return ""
    columns = [f"{one} on", f"{other} on", "same kernel", MEAN, "smallest .. largest", "shapes"]
    columns += [shape_name(shape) for shape in place.shapes if not is_grid(shape)]
    return paragraphs(
        f"Time of the {one} over time of the {other} at equal size, {circumstances(place)}. {arithmetic(one, other)}"
        "Quotients of two medians of one process.",
        table(columns, rows, set(columns[3:])),
        misled(vendor, alike),
    )


def arithmetic(one: str, other: str) -> str:
    """What the number of products alone would give."""
    if one not in PRODUCTS or other not in PRODUCTS:
        return ""
    quotient = number(PRODUCTS[one] / PRODUCTS[other])
    return f"Its {PRODUCTS[one]} products per step against {PRODUCTS[other]} alone would give {quotient}. "


def misled(vendor: float | None, alike: list[float]) -> str:
    """By how much the vendor's quotient misleads; given only where its own two kernels differ."""
    if vendor is None or not alike:
        return ""
    low, high = min(alike), max(alike)
    text = f"The vendor's backend gives {number(vendor)}; on one and the same kernel it is {span(low, high)}"
    return text + (", on the other side of 1." if vendor < 1 < low or high < 1 < vendor else ".")


# how fast the other backends are


def circumstances(place: Place) -> str:
    """``CPU of machine `ab12`, float32, 2 threads``."""
    return f"{place.where}, {place.facts['dtype']}, {plural(int(place.facts['threads']), 'thread')}"


def against_vendor(place: Place, runs: pd.DataFrame, figure: str | None) -> str:
    """The ratios and the milliseconds of one benchmark, and all that a reader must know of it."""
    grid = [shape for shape in place.shapes if is_grid(shape)]
    rest = [shape for shape in place.shapes if not is_grid(shape)]
    ratios, times = [], []
    for (cell, backend), found in place.rows.items():
        name = [cell, backend, kernels_of(found)]
        average, counted = average_ratio(place, cell, backend)
        partly = f" ({counted} of {len(grid)})" if counted and counted < len(grid) else ""
        by_shape = [number(ratio(place, cell, backend, shape)) for shape in [*grid, *rest]]
        ratios.append([*name, number(average) + partly, *by_shape])
        peaks = [float(found[s]["percent_of_peak"]) for s in grid if s in found and known(found[s]["percent_of_peak"])]
        ms = [number(found.get(shape, {}).get("ms")) for shape in [*grid, *rest]]
        times.append([*name, *ms, span(min(peaks), max(peaks), 2) if peaks else UNKNOWN])
    shapes = [shape_name(shape) for shape in [*grid, *rest]]
    head = ["cell", "backend", "kernel"]
    picture = ""
    if figure is not None:
        picture = (
            f"![Speed of each backend against the vendor's](figures/{figure}.png)\n\n"
            "*Dashed: the vendor. A mark is the geometric mean over the shapes of the table, its bar from the shape "
            "where the backend does worst to the one where it does best. On the logarithmic axis half as fast lies as "
            "far from 1 as twice as fast.*"
        )
    return paragraphs(
        f"#### {circumstances(place)}",
        provenance(place),
        "\n".join(f"- {line}" for line in cautions(place, runs)),
        picture,
        table([*head, MEAN, *shapes], ratios, {MEAN, *shapes}) if ratios else "",
        "Milliseconds, and per cent of the machine's best rate of matrix products over the grid:" if times else "",
        table([*head, *shapes, "% of peak"], times, {*shapes, "% of peak"}) if times else "",
    )


def provenance(place: Place) -> str:
    """Where the numbers come from."""
    facts = place.facts
    commit = f", commit {str(facts['git_commit'])[:12]}" if known(facts["git_commit"]) else ""
    rounds = plural(int(facts["rounds"]), "interleaved round") if known(facts["rounds"]) else "interleaved rounds"
    return (
        f"Measured by `bench/cells.py`, medians of {rounds} in one process: MLflow run `{facts['run_id']}`, "
        f"torch {facts['torch']}{commit}."
    )


def cautions(place: Place, runs: pd.DataFrame) -> list[str]:
    """What was left out, and how the benchmark differs from the report's runs on the same device."""
    lines = []
    if place.red:
        names = listed(f"{cell} on {backend}" for cell, backend in place.red)
        lines.append(f"Left out, since parity with the reference is red there: {names}.")
    lone = [cell for cell in FAMILIES if (cell, VENDOR) not in place.rows and any(c == cell for c, _ in place.rows)]
    if lone:
        lines.append(f"No ratio for {listed(lone)}: the vendor has no time here to compare with.")
    here = runs[[where(run) == place.where for run in runs.to_dict("records")]]
    for name, column in {"torch": "env_torch", "threads": "threads", "dtype": "dtype"}.items():
        used = [plain(value) for value in distinct(here[column])] if column in here else []
        measured = plain(place.facts[name])
        if used and used != [measured]:
            lines.append(f"Different from this report's runs: {name} {measured} here, {listed(used)} there.")
    return lines


def not_measured(ran: pd.DataFrame, places: list[Place]) -> str:
    """The runs' devices without figures, and how to get those."""
    have = {place.where for place in places}
    missing = sorted({where(run) for run in ran.to_dict("records")} - have)
    if not missing:
        return ""
    return f"No figures are stored for the {listed(missing)}: {COMMAND} there measures and stores them."
