"""A report of timings without runs: its pages, their wording, and that nothing of them depends on the order of rows."""

from pathlib import Path

import frames
import made_timings
import pytest
from conftest import REPOSITORY
from made_timings import PAIRS, timing
from rendering import render, write

from gru_bench.report.header import Made, header
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


def pages(folder: Path, results: Results) -> str:
    """Both pages of a whole report."""
    write(folder, results)
    return "\n".join((folder / f"{name}.md").read_text(encoding="utf-8") for name in ("report", "details"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("timed")
    write(made, grid())
    return made


def test_golden_pages(folder: Path) -> None:
    """To accept a change of wording: ``python tests/sections/test_timed_pages.py``, then read the difference."""
    found = "\n".join((folder / f"{name}.md").read_text(encoding="utf-8") for name in ("report", "details"))
    assert found == GOLDEN.read_text(encoding="utf-8")


def test_the_first_page_has_the_regimes_and_no_section_of_runs(folder: Path) -> None:
    first, details = ((folder / f"{name}.md").read_text(encoding="utf-8") for name in ("report", "details"))
    assert [line for line in first.splitlines() if line.startswith("## ")] == [
        "## Verdict", "## How to choose", "## Regimes"]  # fmt: skip
    titles = [line for line in details.splitlines() if line.startswith("## ")]
    assert titles == ["## Matched views", "## Cost", "## What these timings show and do not show", "## Environment"]
    assert "(figures/regimes_train.png)" in first
    assert (folder / "figures" / "regimes_sequence.png").is_file()


def test_every_pair_is_a_line_of_a_file(folder: Path) -> None:
    lines = (folder / "timings.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(grid().timings)
    assert "(timings.csv)" in (folder / "report.md").read_text(encoding="utf-8")


def test_order_of_timings_changes_no_byte() -> None:
    results = made_timings.with_timings(frames.small(), made_timings.of_tasks(("adding",)))
    mixed = frames.shuffled(results, 1)
    for name in ("verdict", "choose", "cost", "matched", "limits"):
        assert render(name, mixed).markdown == render(name, results).markdown
    assert render("regimes", frames.shuffled(grid(), 1)).markdown == render("regimes", grid()).markdown


def test_with_runs_the_regimes_are_among_the_details(tmp_path: Path) -> None:
    rows = [timing(steps=steps) for steps in (1, 20)]
    write(tmp_path, made_timings.with_timings(frames.small(), rows))
    assert "## Regimes" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Regimes" in (tmp_path / "details.md").read_text(encoding="utf-8")


def test_the_head_says_what_was_timed_and_where() -> None:
    text = header(View(grid()), Made({"experiment": "regimes", "sweep": None}))
    assert text.startswith("# Report: regimes\n\nWhich is faster, gru or lstm, where and by how much?")
    assert "training step, batch inference, streaming, whole sequence by length; layers alone" in text
    assert "CPU of machine `ab12cd34`, float32, 1 thread" in text
    assert "1 pair could not be timed" in text
    assert "`gru-bench report experiment=regimes`" in text
    failed = made_timings.alone([timing() | {"status": "failed", "ratio": None}])
    assert "No pair was timed" in header(View(failed), Made({"experiment": "regimes", "sweep": None}))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        GOLDEN.write_text(pages(Path(temporary), grid()), encoding="utf-8")
    print(f"wrote {GOLDEN}; read the difference before you commit it")
