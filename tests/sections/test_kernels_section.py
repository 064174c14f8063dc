"""The section on kernels, and the way of a benchmark's figures from its JSON through the store into a report."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import frames
import pandas as pd
import pytest
from bench_document import GRID, RATIOS, VENDOR_MS, document, frame, geometric_mean, red, row
from rendering import render
from stores import copy_store, one_run

from gru_bench.errors import UserError
from gru_bench.report import benchmarks
from gru_bench.store import read as reader
from gru_bench.store.bench import parse, store_figures
from gru_bench.store.read import Results

CELLS = ("rnn", "lstm", "gru")


def results_on(backend: str = "vendor", bench: pd.DataFrame | None = None, **facts: Any) -> Results:
    """A run of each reference cell on the machine of ``document()``."""
    kernels = {"lstm": "oneDNN"} if backend == "vendor" else {}
    usual = {
        "backend": backend,
        "machine": "ab12cd34",
        "device": "cpu",
        "dtype": "float32",
        "threads": 1,
        "parity": "passed",
    }
    runs = [
        frames.run_row(cell, 0, **(usual | {"kernel": kernels.get(cell, "ATen loop"), "env_torch": "2.13.0"} | facts))
        for cell in CELLS
    ]
    results = frames.make_results(runs, [])
    return results if bench is None else dataclasses.replace(results, bench=bench)


def table_row(markdown: str, *start: str) -> list[str]:
    """The cells of the one table row that begins so."""
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    (found,) = [cells for cells in rows if tuple(cells[: len(start)]) == start]
    return found


# the section


def test_the_audit_says_which_kernel_ran_for_each_cell_and_how_often() -> None:
    markdown = render("kernels", results_on()).markdown
    assert table_row(markdown, "lstm", "vendor")[2:] == ["oneDNN", "cpu", "float32", "1", "ab12cd34", "passed", "1"]
    assert table_row(markdown, "gru", "vendor")[2] == "ATen loop"
    assert "- oneDNN: the library of that name" in markdown


def test_unlike_kernels_make_it_a_comparison_of_kernels() -> None:
    markdown = render("kernels", results_on()).markdown
    assert "the vendor ran rnn and gru on ATen loop; lstm on oneDNN" in markdown
    assert "compares kernels, not cells" in markdown


@pytest.mark.parametrize(
    ("kernels", "sentence"),
    [
        (["cuDNN standard"] * 3, "comparing cells on the vendor's backend compares like with like"),
        (
            ["cuDNN standard", "cuDNN standard", "cuDNN persistent static"],
            "one library, but not one class of algorithm",
        ),
        (["ATen loop", "cuDNN standard", "cuDNN standard"], "compares kernels, not cells"),
    ],
)
def test_the_sentence_follows_from_the_kernels_that_were_seen(kernels: list[str], sentence: str) -> None:
    runs = [
        frames.run_row(cell, 0, backend="vendor", kernel=kernel, device="cuda", machine="ab12cd34")
        for cell, kernel in zip(CELLS, kernels, strict=True)
    ]
    assert sentence in render("kernels", frames.make_results(runs, [])).markdown


def test_without_stored_figures_it_names_the_command_that_gives_them() -> None:
    section = render("kernels", results_on("loop"))
    assert "no run used the vendor's backend and no figures are stored" in section.markdown
    assert "`python bench/cells.py --store` there measures and stores them" in section.markdown
    assert section.figures == {}


def test_ratios_their_geometric_mean_and_milliseconds_are_the_stored_ones() -> None:
    section = render("kernels", results_on(bench=frame(document())))
    stored = [row("gru", "bptt", sizes) for sizes in GRID]
    found = table_row(section.markdown.split("Milliseconds")[0].split("### Against")[1], "gru", "bptt")
    mean = geometric_mean([part["ratio_to_vendor"] for part in stored])
    assert found[2] == "native AVX-512"
    assert float(found[3]) == pytest.approx(mean, rel=0.01)
    ordered = sorted(stored, key=lambda part: (part["T"], part["B"], part["H"]))
    assert [float(value) for value in found[4:9]] == pytest.approx([p["ratio_to_vendor"] for p in ordered], rel=0.01)
    assert float(found[9]) == RATIOS["gru", "bptt"]  # the article's step, in no mean
    times = table_row(section.markdown.split("Milliseconds")[1], "gru", "vendor")
    assert float(times[-2]) == 6 * VENDOR_MS["gru"]
    assert "MLflow run `bench0`, torch 2.13.0, commit fedcba987654" in section.markdown
    assert set(section.figures) == {"kernels"}


def test_the_vendors_quotient_is_set_beside_that_of_one_kernel() -> None:
    markdown = render("kernels", results_on(bench=frame(document()))).markdown
    # the vendor's LSTM takes half of its GRU's time; without oneDNN the LSTM takes 1 / 0.4 of its own
    assert table_row(markdown, "vendor: oneDNN")[2:4] == ["no", "0.500"]
    assert table_row(markdown, "vendor_aten: ATen loop", "vendor: ATen loop")[2:4] == ["yes", "1.25"]
    assert "Its 4 products per step against 3 alone would give 1.33" in markdown
    assert (
        "The vendor's backend gives 0.500; on one and the same kernel it is 1.25 .. 1.38, on the other side of 1."
        in (markdown)
    )


def test_a_red_backend_is_left_out_and_named() -> None:
    rows = [part for part in document()["rows"] if (part["cell"], part["backend"]) != ("gru", "bptt")]
    section = render("kernels", results_on(bench=frame(document(rows=rows + red("gru", "bptt")))))
    assert "Left out, since parity with the reference is red there: gru on bptt." in section.markdown
    assert "| gru  | bptt" not in section.markdown.split("### Against")[1]


def test_what_differs_from_the_reports_runs_is_noted() -> None:
    section = render("kernels", results_on(bench=frame(document(torch="2.14.0", threads=8))))
    assert "Different from this report's runs: torch 2.14.0 here, 2.13.0 there." in section.markdown
    assert "Different from this report's runs: threads 8 here, 1 there." in section.markdown


def test_two_machines_are_two_measurements() -> None:
    section = render("kernels", results_on(bench=frame(document(), document(machine="other"))))
    assert len(section.figures) == 2
    assert section.markdown.count("Measured by `bench/cells.py`") == 2


def test_the_order_of_the_stored_rows_changes_nothing() -> None:
    bench = frame(document())
    one = render("kernels", results_on(bench=bench))
    other = render("kernels", results_on(bench=bench.sample(frac=1.0, random_state=1).reset_index(drop=True)))
    assert one.markdown == other.markdown


def test_the_figure_has_one_mark_for_each_cell_on_each_backend() -> None:
    """And no shape: each has its number in the table."""
    (place,) = benchmarks.places_of(frame(document()))
    figure = benchmarks.draw(place)
    assert figure is not None
    (ax,) = figure.axes
    backends = [label.get_text() for label in ax.get_yticklabels()]
    assert backends == sorted({backend for _, backend in place.rows} - {"vendor"})
    drawn = [key for key in place.rows if key[1] != "vendor" and benchmarks.average_ratio(place, *key)[0]]
    assert len(ax.containers) == len(drawn) <= len(CELLS) * len(backends)
    at = sorted(container.lines[0].get_xdata()[0] for container in ax.containers)  # type: ignore[attr-defined]
    assert at == pytest.approx(sorted(benchmarks.average_ratio(place, *key)[0] or 0 for key in drawn))
    assert ax.get_xscale() == "log"


def test_a_shape_is_explained_where_it_is_first_read() -> None:
    markdown = render("kernels", results_on(bench=frame(document()))).markdown
    first = markdown.index("35x20x200")
    assert markdown[first:].startswith("35x20x200: 35 time steps of 20 sequences at hidden size 200")


# from the JSON through the store


def test_figures_are_found_again_and_never_among_the_runs(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    facts = {"machine": "ab12cd34", "cell": "gru", "backend": "loop"}
    run_id = one_run(store, "key/0", lambda run: run.params(facts), cell="gru", family="gru")
    stored = store_figures(json.dumps(document()), uri=store.uri)
    found = reader.read(store.uri)  # without a name: the latest run's experiment, not the benchmark's
    assert list(found.runs["run_id"]) == [run_id]
    assert set(found.bench["run_id"]) == {stored}
    assert len(found.bench) == len(document()["rows"])
    first = found.bench.iloc[0]
    assert (first["cell"], first["backend"], first["shape"], first["ms"]) == ("rnn", "vendor", "35x20x200", 2.0)
    assert (first["threads"], first["torch"], first["git_commit"]) == (1, "2.13.0", "fedcba9876543210")
    assert stored not in set(found.joined()["run_id"])


def test_the_latest_figures_of_a_place_count_and_other_machines_do_not(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    one_run(store, "key/0", lambda run: run.params({"machine": "ab12cd34"}), cell="gru", family="gru")
    store_figures(json.dumps(document()), uri=store.uri)
    store_figures(json.dumps(document(machine="elsewhere")), uri=store.uri)
    latest = store_figures(json.dumps(document()), uri=store.uri)
    other_threads = store_figures(json.dumps(document(threads=2)), uri=store.uri)
    found = reader.read(store.uri).bench
    assert set(found["run_id"]) == {latest, other_threads}
    assert set(found["machine"]) == {"ab12cd34"}


def test_a_store_with_figures_alone_has_no_runs_to_report(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    store_figures(json.dumps(document()), uri=store.uri)
    with pytest.raises(UserError):
        reader.read(store.uri)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, r"threads=0: input should be greater than 0"),
        ({"rows": []}, r"rows: "),
        ({"rows": [row("gru", "bptt", GRID[0], ms=-1.0)]}, r"rows\[0\].ms=-1.0: input should be greater than 0"),
        ({"rows": [row("gru", "bptt", GRID[0], ms=None)]}, r"rows\[0\]: .*green needs kernel and ms"),
        ({"rows": [row("gru", "bptt", GRID[0], parity="red")]}, r"red must not be timed"),
        ({"rows": [row("gru", "bptt", GRID[0], T=36)]}, r"shape 35x20x200 is not T x B x H of the row"),
        ({"rows": [row("gru", "bptt", GRID[0])] * 2}, r"gru on bptt at 35x20x200 twice"),
        ({"rows": [row("gru", "bptt", GRID[0], ratio_low=9.0)]}, r"ratio_low is above ratio_high"),
        ({"machine": ""}, r"machine=''"),
    ],
)
def test_malformed_figures_are_refused_with_their_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(json.dumps(document(**change)))
    assert str(caught.value).startswith("figures of bench/cells.py: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(UserError, match=r"figures of bench/cells.py: .*JSON"):
        parse("cell backend ms")
