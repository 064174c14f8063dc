"""Write a report: all of it is made beside its place, then swapped: a report that fails leaves the earlier one.

Only files of a report are replaced or deleted: those that bear our mark, or that the earlier report shows.
"""

import os
import re
import tempfile
from pathlib import Path

import pandas as pd

from gru_bench.errors import UserError
from gru_bench.report.figures import save
from gru_bench.report.given import as_cells
from gru_bench.report.header import Made
from gru_bench.report.html import html
from gru_bench.report.pages import FIRST, PAGES, Pages, Placed, pages
from gru_bench.report.parsed import parse
from gru_bench.report.table_files import BOOKTABS, table_files
from gru_bench.report.view import View
from gru_bench.store.read import Results

SORTED_BY = [
    "experiment",
    "task",
    "cell",
    "group_key",
    "seed",
    "job",
    "run_id",
    "split",
    "metric",
    "slice",
    "slice_value",
]
TIMED_BY = ["experiment", "machine", "threads", "situation", "task", "steps", "batch", "hidden_size_asked", "run_id"]
PLAIN = ("report.md", "details.md", "report.html", "results.csv", "timings.csv")
"""Files at the top of a report; figures and tables have folders of their own."""
MARK = "# Report: "
"""How our first page begins."""


def write(folder: Path, results: Results, view: View, made: Made, placed: Placed) -> None:
    """Write all files of a report; those of an earlier one in the same folder that it does not have are deleted.

    Args:
        folder: Made where it is not there. One that holds no report keeps its files.
        results: For ``results.csv``.
        view: The same, as the sections saw it.
        made: What the report was made with.
        placed: The sections of each page.

    Raises:
        UserError: The folder has files that are not of a report, under the names of one.
    """
    refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = pages(view, made, placed)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as temporary:
        new = Path(temporary)
        write_figures(new, found)
        write_pages(new, found)
        write_results(new / "results.csv", results)
        if len(results.timings):
            columns = [column for column in TIMED_BY if column in results.timings]
            write_text(
                new / "timings.csv", as_cells(results.timings).sort_values(columns, kind="stable").to_csv(index=False)
            )
        move(new, folder)


def write_figures(folder: Path, found: Pages) -> None:
    """Each figure as SVG and PNG."""
    (folder / "figures").mkdir()
    for section in found.sections():
        for name, figure in section.figures.items():
            save(figure, folder / "figures", name)


def write_pages(folder: Path, found: Pages) -> None:
    """The pages of markdown, the one of HTML with the figures of the folder, and the tables of both."""
    for name, text in found.markdown().items():
        write_text(folder / name, text)
    parsed = [(section, parse(section.markdown)) for section in found.sections()]
    (folder / "tables").mkdir()
    for name, text in table_files((section.title, tokens) for section, tokens in parsed).items():
        write_text(folder / "tables" / name, text)
    write_text(folder / "report.html", html(found, parsed, folder / "figures"))


def write_text(path: Path, text: str) -> None:
    """A file with the same bytes on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def write_results(path: Path, results: Results) -> None:
    """Every number of a run, one per line: the rows of ``Results.joined()``, sorted.

    But not what probes took apart, by lag or unit: with the facts of its run on each line that would be twenty times
    the file. It is in the store, and whole in the tables that are artifacts of the run.

    Each run is put into words once: writing the joined table takes a large store five times as long, and a gigabyte.
    """
    taken_apart = (results.values["split"] == "probe") & (results.values["slice"] != "")
    runs, values = (
        table.sort_values([column for column in SORTED_BY if column in table], kind="stable")
        for table in map(as_cells, (results.runs, results.values[~taken_apart]))
    )
    run_names, *facts = csv_lines(runs)
    value_names, *numbers = csv_lines(values.drop(columns="run_id"))
    of_run: dict[str, list[str]] = {}
    for run_id, line in zip(values["run_id"], numbers, strict=True):
        of_run.setdefault(run_id, []).append(line)
    nothing = ["," * (values.shape[1] - 2)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{run_names},{value_names}\n")
        for run_id, fact in zip(runs["run_id"], facts, strict=True):
            file.writelines(f"{fact},{line}\n" for line in of_run.get(run_id, nothing))


def csv_lines(table: pd.DataFrame) -> list[str]:
    """A table as CSV, header first; a quoted line break ends no line."""
    end = "\x1e\n"
    return table.to_csv(index=False, lineterminator=end).split(end)[:-1]


def move(new: Path, folder: Path) -> None:
    """Put the files in their places, the first page last: whoever finds it finds all that it names.

    What was there before is kept until all are in place, and put back if one of them cannot be.
    """
    files = sorted((path.relative_to(new) for path in new.rglob("*") if path.is_file()), key=str)
    page = Path(f"{FIRST}.md")
    stale = [file for file in earlier(folder) if file not in files]
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as kept:
        moved: list[Path] = []
        try:
            for file in [*stale, *sorted(files, key=lambda file: file == page)]:
                for parent in (folder, Path(kept)):
                    (parent / file).parent.mkdir(exist_ok=True)
                moved.append(file)
                if (folder / file).exists():
                    os.replace(folder / file, Path(kept) / file)
                if file not in stale:
                    os.replace(new / file, folder / file)
        except BaseException:
            for file in moved:
                if (Path(kept) / file).exists():
                    os.replace(Path(kept) / file, folder / file)
            raise


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder where files would be overwritten that no report wrote.

    Raises:
        UserError: There is one.
    """
    page = folder / f"{FIRST}.md"
    foreign = [name for name in PLAIN if (folder / name).exists()]
    if foreign and not (page.is_file() and page.read_text(encoding="utf-8", errors="replace").startswith(MARK)):
        raise UserError(f"output={folder}: has a {foreign[0]} that is not of a report; choose another folder")


def earlier(folder: Path) -> list[Path]:
    """The figures and tables of an earlier report in that folder, and its timings."""
    texts = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in (folder / f"{page}.md" for page in PAGES)
        if path.is_file()
    ]
    if not texts or not texts[0].startswith(MARK):
        return []
    names = {name for text in texts for name in re.findall(r"\]\(figures/([\w.-]+)\.png\)", text)}
    found = [Path("figures", f"{name}{end}") for name in sorted(names) for end in (".svg", ".png")]
    for path in sorted(folder.glob("tables/*.tex")):
        if BOOKTABS in path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]:
            found += [Path("tables", f"{path.stem}{end}") for end in (".csv", ".tex")]
    found += [Path("timings.csv")] if any("](timings.csv)" in text for text in texts) else []
    return [file for file in found if (folder / file).is_file()]
