"""A report of timings without runs: its pages, their wording, and that nothing of them depends on the order of rows."""

from pathlib import Path

import frames
import made_timings
import pytest
from conftest import REPOSITORY
from made_timings import PAIRS, timing
from rendering import NAMES, SELECT, node, render

from gru_bench.report.files import write
from gru_bench.report.header import Made, footer, header
from gru_bench.report.markdown import Section
from gru_bench.report.pages import DETAILS, PAGES, pages
from gru_bench.report.view import View
from gru_bench.store.read import Results

GOLDEN = REPOSITORY / "tests" / "golden" / "timed.md"


def grid() -> Results:
    """A small grid in all situations, one pair inside the noise, one that could not be timed."""
    rows = []
    for first, second in PAIRS:
        rows += [timing(first, second, steps=steps, batch=batch) for steps in (1, 20, 200) for batch in (1, 8)]
        rows += [timing(first, second, situation="sequence", steps=steps, batch=1) for steps in (1, 20, 200)]
        rows += [timing(first, second, situation="stream", steps=1, batch=batch) for batch in (1, 8)]
        rows.append(timing(first, second, situation="batch"))
    rows[2] = timing(ratio=1.004, steps=20, batch=1)
    rows.append(timing(budget="parameters", second_hidden_size=55, ratio=1.1))
    rows.append(timing(device="cuda") | {"status": "failed", "error": "no CUDA device", "ratio": None, "finding": ""})
    return made_timings.alone(rows)


def pages_of(results: Results, names: list[str] = NAMES) -> dict[str, str]:
    """The pages of a report with some sections, by file; no figure is saved."""
    placed: dict[str, list[Section]] = {page: [] for page in PAGES}
    for name in sorted(names, key=lambda name: node(name)["order"]):
        placed[node(name).get("page", DETAILS)].append(render(name, results))
    return pages(View(results), Made(SELECT), placed).markdown()


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages_of(grid())


def test_golden_pages(made: dict[str, str]) -> None:
    """To accept a change of wording: ``python tests/sections/test_timed_pages.py``, then read the difference."""
    assert "\n".join(made.values()) == GOLDEN.read_text(encoding="utf-8")


def test_the_first_page_has_the_regimes_and_no_section_of_runs(made: dict[str, str]) -> None:
    first, details = made["report.md"], made["details.md"]
    assert [line for line in first.splitlines() if line.startswith("## ")] == [
        "## Verdict", "## How to choose", "## Regimes"]  # fmt: skip
    titles = [line for line in details.splitlines() if line.startswith("## ")]
    assert titles == ["## Matched views", "## Regimes in full", "## Cost",
                      "## What these timings show and do not show", "## Environment"]  # fmt: skip
    assert "(figures/backends_train.png)" in details
    assert "regimes_sequence.png" not in first
    assert "(figures/regimes_train.png)" in first
    assert "(timings.csv)" in first


def test_with_runs_the_regimes_are_among_the_details() -> None:
    results = made_timings.with_timings(frames.small(), [timing(steps=steps) for steps in (1, 20)])
    found = pages_of(results, ["regimes", "choose"])
    assert "## Regimes" not in found["report.md"]
    assert "## Regimes" in found["details.md"]


def test_every_pair_is_a_line_of_a_file_that_goes_with_the_timings(tmp_path: Path) -> None:
    for results in (grid(), made_timings.alone([])):
        write(tmp_path, results, View(results), Made(SELECT), {"report": [Section("A", "text")], "details": []})
        assert (tmp_path / "timings.csv").exists() == (len(results.timings) > 0)
        if len(results.timings):
            lines = (tmp_path / "timings.csv").read_text(encoding="utf-8").splitlines()
            assert len(lines) == 1 + len(results.timings)


def test_order_of_timings_changes_no_byte() -> None:
    results = made_timings.with_timings(frames.small(), made_timings.of_tasks(("adding",)))
    mixed = frames.shuffled(results, 1)
    for name in ("verdict", "cost", "matched"):
        assert render(name, mixed).markdown == render(name, results).markdown
    assert render("regimes", frames.shuffled(grid(), 1)).markdown == render("regimes", grid()).markdown


def test_the_head_says_what_was_timed_and_where() -> None:
    text = header(View(grid()), Made({"experiment": "regimes", "sweep": None}))
    assert text.startswith("# Report: regimes\n\nWhich is faster, GRU or LSTM, where and by how much?")
    assert "training step, batch inference, streaming, whole sequence by length; layers alone" in text
    assert "CPU of machine `ab12cd34`, float32, 1 thread" in text
    assert "1 pair could not be timed" in text
    assert "`gru-bench report experiment=regimes`" in footer(
        View(grid()), Made({"experiment": "regimes", "sweep": None})
    )
    failed = made_timings.alone([timing() | {"status": "failed", "ratio": None}])
    assert "No pair was timed" in header(View(failed), Made({"experiment": "regimes", "sweep": None}))


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(pages_of(grid()).values()), encoding="utf-8")
    print(f"wrote {GOLDEN}; read the difference before you commit it")
