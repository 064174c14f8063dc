"""What counts of a benchmark's figures in the section on kernels, and what is left out: the cases beside the usual."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import bench_document
import frames
import pandas as pd
import pytest
from bench_document import GRID, geometric_mean
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import render

from gru_bench.report import benchmarks, figures
from gru_bench.store.read import Results


def results(*documents: dict[str, Any], runs: list[dict[str, Any]] | None = None) -> Results:
    """Runs on the machine of the figures, and these figures."""
    usual = [frames.run_row(cell, 0) for cell in ("rnn", "gru")]
    return dataclasses.replace(frames.make_results(runs or usual, []), bench=bench_document.frame(*documents))


def text(found: Results) -> str:
    return render("kernels", found).markdown


def tables(markdown: str) -> list[list[dict[str, str]]]:
    """Every table, a dictionary a row."""
    found: list[list[dict[str, str]]] = []
    header: list[str] = []
    for line in markdown.splitlines():
        parts = [part.strip() for part in line.split("|")[1:-1]] if line.startswith("|") else []
        if parts and not header:
            header = parts
            found.append([])
        elif parts and not set(line) <= set("|-: "):
            found[-1].append(dict(zip(header, parts, strict=True)))
        elif not parts:
            header = []
    return found


def table(markdown: str, *columns: str) -> list[dict[str, str]]:
    """The first table with these columns and a row."""
    return next(rows for rows in tables(markdown) if rows and set(columns) <= set(rows[0]))


def row(rows: list[dict[str, str]], **facts: str) -> dict[str, str]:
    (found,) = [row for row in rows if facts.items() <= row.items()]
    return found


def replaced(rows: list[dict[str, Any]], cell: str, backend: str, **facts: Any) -> list[dict[str, Any]]:
    return [found | facts if (found["cell"], found["backend"]) == (cell, backend) else found for found in rows]


def rows_of(**facts: str) -> list[dict[str, Any]]:
    """The rows of a benchmark that are such."""
    return [found for found in bench_document.document()["rows"] if facts.items() <= found.items()]


# which kernel ran


def test_the_audit_counts_runs_by_kernel() -> None:
    runs = [frames.run_row("gru", seed, backend="vendor", parity="passed") for seed in (0, 1)]
    runs += [frames.run_row("gru", 2, backend="vendor", kernel="oneDNN"), frames.run_row("lstm", 0, kernel="oneDNN")]
    runs += [frames.run_row("gru_article", 0, kernel="Python loop", threads=None)]
    runs += [frames.run_row("rnn", 0, kernel=None, status="failed")]
    found = table(text(results(runs=runs)), "cell", "runs")
    assert [(r["cell"], r["backend"], r["kernel"], r["runs"]) for r in found] == [
        ("lstm", "loop", "oneDNN", "1"),
        ("gru", "vendor", "ATen loop", "2"),
        ("gru", "vendor", "oneDNN", "1"),
        ("gru_article", "loop", "Python loop", "1"),
    ]
    assert row(found, cell="gru", runs="2")["parity"] == "passed"
    assert (found[0]["machine"], found[0]["device"], found[0]["threads"]) == ("ab12cd34", "cpu", "1")


def test_a_backend_that_was_refused_as_red_stands_in_the_audit() -> None:
    runs = [frames.run_row("gru", 0), frames.run_row("rnn", 0, kernel=None, parity="red", status="unsupported")]
    found = table(text(results(runs=runs)), "cell", "runs")
    assert (row(found, cell="rnn")["kernel"], row(found, cell="rnn")["parity"]) == ("–", "red")


# what a comparison on the vendor's is worth


def vendor_runs(**kernels: str) -> Results:
    return results(runs=[frames.run_row(cell, 0, backend="vendor", kernel=name) for cell, name in kernels.items()])


def test_too_little_of_the_vendor_to_compare() -> None:
    assert "only one of the vendor's cells was seen, gru on ATen loop" in text(vendor_runs(gru="ATen loop"))
    none = text(results())  # backend loop
    assert "no run used the vendor's backend and no figures are stored" in none
    assert "vendor ran" not in none
    variants = [frames.run_row(cell, 0, backend="vendor") for cell in ("gru_article", "gru_reset_before")]
    assert "no run used" in text(results(runs=variants))  # no reference cell
    other = [frames.run_row(cell, 0, backend="vendor_aten") for cell in ("lstm", "gru")]
    assert "no run used" in text(results(runs=other))


def test_a_vendor_that_is_alike_misleads_nobody() -> None:
    rows = replaced(rows_of(), "lstm", "vendor", kernel="ATen loop")
    found = text(results(bench_document.document(rows=rows)))
    assert "compares like with like" in found
    assert "gives 0.500" not in found


def test_without_a_like_kernel_the_vendors_quotient_stands_alone() -> None:
    found = text(results(bench_document.document(rows=rows_of(backend="vendor"))))
    assert len(table(found, "lstm on", "gru on")) == 1
    assert "on one and the same kernel" not in found


def test_two_backends_on_two_kernels_are_not_set_side_by_side() -> None:
    rows = [r for r in rows_of() if (r["cell"], r["backend"]) != ("gru", "compiled")]
    found = table(text(results(bench_document.document(rows=rows))), "lstm on")
    assert not [r for r in found if r["lstm on"].startswith("compiled")]


def test_shapes_that_only_one_of_the_two_has_do_not_count() -> None:
    rows = [r for r in rows_of() if (r["cell"], r["shape"]) != ("gru", "400x32x128")]
    assert {r["shapes"] for r in table(text(results(bench_document.document(rows=rows))), "lstm on")} == {"4"}


# how fast the others are


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.05, 20), min_size=len(GRID), max_size=len(GRID)), st.floats(0.05, 20))
def test_the_mean_is_geometric_and_over_the_grid_alone(ratios: list[float], article: float) -> None:
    rows = [bench_document.row("gru", "vendor", sizes) for sizes in [*GRID, None]]
    for sizes, value in zip([*GRID, None], [*ratios, article], strict=True):
        bars = {"ratio_low": value, "ratio_high": value}
        rows.append(bench_document.row("gru", "bptt", sizes, ratio_to_vendor=value, **bars))
    (place,) = benchmarks.places_of(bench_document.frame(bench_document.document(rows=rows)))
    average, counted = benchmarks.average_ratio(place, "gru", "bptt")
    assert average == pytest.approx(geometric_mean(ratios))
    assert counted == len(GRID)


def test_a_mean_over_a_part_of_the_grid_says_so() -> None:
    rows = [r for r in rows_of() if (r["cell"], r["backend"], r["shape"]) != ("gru", "bptt", "400x32x128")]
    found = row(table(text(results(bench_document.document(rows=rows))), "cell", "geometric mean"), cell="gru",
                backend="bptt")  # fmt: skip
    assert found["geometric mean"].endswith(" (4 of 5)")
    assert found["400x32x128"] == "–"


def test_other_cells_than_the_reference_ones_are_left_out() -> None:
    extra = [bench_document.row("gru", "bptt", GRID[0]) | {"cell": "gru_article"}]
    document = bench_document.document(rows=rows_of() + extra)
    assert text(results(document)) == text(results(bench_document.document()))


def test_red_at_one_shape_is_red_at_all() -> None:
    rows = [r for r in rows_of() if (r["cell"], r["backend"], r["shape"]) != ("gru", "bptt", "35x20x200")]
    rows += bench_document.red("gru", "bptt")[:1]
    found = table(text(results(bench_document.document(rows=rows))), "cell", "geometric mean")
    assert not [r for r in found if (r["cell"], r["backend"]) == ("gru", "bptt")]


def test_nothing_is_compared_with_a_red_vendor() -> None:
    rows = [r for r in rows_of() if (r["cell"], r["backend"]) != ("gru", "vendor")]
    section = render("kernels", results(bench_document.document(rows=rows + bench_document.red("gru", "vendor"))))
    found = row(table(section.markdown, "cell", "geometric mean"), cell="gru", backend="bptt")
    assert (found["geometric mean"], found["35x20x200"]) == ("–", "–")
    assert "No ratio for gru: " in section.markdown
    shown = [text.get_text() for text in section.figures["kernels"].legends[0].get_texts()]
    assert shown == ["rnn", "lstm", "vendor"]


def test_all_red_is_no_figure() -> None:
    section = render("kernels", results(bench_document.document(rows=bench_document.red("gru", "bptt"))))
    assert not section.figures
    assert "red there: gru on bptt" in section.markdown


# where the numbers come from


def test_each_machine_and_device_is_asked_for_by_itself() -> None:
    runs = [frames.run_row("gru", 0), frames.run_row("gru", 1, device="cuda:0"), frames.run_row("gru", 2, machine="b")]
    found = text(results(bench_document.document(), runs=runs))
    assert "No figures are stored for the CPU of machine `b` and CUDA device of machine `ab12cd34`: " in found


def test_two_places_are_two_figures_and_never_one_mean() -> None:
    doubled = [r | {"ratio_to_vendor": 4.0} if r["backend"] == "bptt" else r for r in rows_of()]
    section = render("kernels", results(bench_document.document(), bench_document.document(threads=2, rows=doubled)))
    assert set(section.figures) == {"kernels", "kernels_2"}
    assert {part.split(")")[0] for part in section.markdown.split("](figures/")[1:]} == {"kernels.png", "kernels_2.png"}
    means = [
        r["geometric mean"]
        for found in tables(section.markdown)
        for r in found
        if (r.get("cell"), r.get("backend")) == ("gru", "bptt") and "geometric mean" in r
    ]
    assert means == ["2.00", "4.00"]


# pure, and the same bytes


def test_training_throughput_plays_no_part() -> None:
    fast = frames.small()
    fast.values.loc[fast.values["split"] == "speed", "value"] = 1e9
    assert text(fast) == text(frames.small())


def test_order_of_rows_changes_no_byte(tmp_path: Path) -> None:
    found = results(bench_document.document(), bench_document.document(device="cuda"))
    for folder, shown in {"a": found, "b": frames.shuffled(found, random.Random(1).randrange(99))}.items():
        (tmp_path / folder).mkdir()
        section = render("kernels", shown)
        (tmp_path / folder / "text").write_text(section.markdown)
        for name, figure in section.figures.items():
            figures.save(figure, tmp_path / folder, name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["kernels.png", "kernels.svg", "kernels_2.png", "kernels_2.svg", "text"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_figures_are_not_changed() -> None:
    found, before = results(bench_document.document()), results(bench_document.document())
    render("kernels", found)
    pd.testing.assert_frame_equal(found.bench, before.bench)
