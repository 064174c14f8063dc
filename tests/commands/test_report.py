"""``gru-bench report``: from a store to files, the same bytes each time."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import frames
import pandas as pd
import pytest
from conftest import REPOSITORY, yaml_names
from rendering import write

from gru_bench.commands import cli
from gru_bench.commands.report import folder_name
from gru_bench.report.header import Made, footer, header
from gru_bench.report.markdown import Section
from gru_bench.report.table_files import BOOKTABS
from gru_bench.report.view import View
from gru_bench.store.schema import CONFIG_KEY, GROUP_KEY, JOB
from gru_bench.store.write import Store

# of MLflow's own queries, under newer releases of SQLAlchemy
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

Command = Callable[..., int]
GOLDEN = REPOSITORY / "tests" / "golden"
PAGES = ("report.md", "details.md")
FOOT = "\n\nEvidence, on a page of its own:"


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def by_section(markdown: str) -> dict[str, str]:
    """The head, under an empty title, and each section's text by its title; without the foot, which lists sections."""
    head, *rest = f"\n{markdown.partition(FOOT)[0]}".split("\n## ")
    return {"": head} | {title: body.rstrip() for title, _, body in (part.partition("\n") for part in rest)}


def test_golden_markdown(tmp_path: Path) -> None:
    """To accept a change of wording: ``python tests/commands/test_report.py``, then read the difference.

    A section that is new in ``conf/section/`` may be added in the same way; until then it is not compared.
    """
    write(tmp_path, frames.small())
    for page, least in zip(PAGES, (1, 8), strict=True):
        found = by_section((tmp_path / page).read_text(encoding="utf-8"))
        golden = by_section((GOLDEN / page).read_text(encoding="utf-8"))
        titles = [title for title in golden if title]  # the head lists sections that are not compared
        assert {title: found.get(title) for title in titles} == {title: golden[title] for title in titles}
        assert found[""].splitlines()[:5] == golden[""].splitlines()[:5] or page == "details.md"
        assert len(golden) >= least


def test_bytes_are_the_same_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import frames, rendering;"
        "rendering.write(Path(sys.argv[1]), frames.shuffled(frames.small(), int(sys.argv[2])))"
    )
    path = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "other"), "1"]
    subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": path}, check=True, cwd=tmp_path)
    write(tmp_path / "here", frames.small())
    first = digests(tmp_path / "here")
    assert first == digests(tmp_path / "other")
    names = [
        f"figures/{name}.{kind}"
        for name in ("learning_curves", "score_by_length", "summary")
        for kind in ("png", "svg")
    ]
    assert {*names, "report.md", "details.md", "report.html", "results.csv", "tables/cost.csv"} <= set(first)


def test_no_file_tells_when_or_where_it_was_made(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "folder", frames.small())
    for path in (tmp_path / "deep").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for word in (b"dc:date", b"Matplotlib", bytes(tmp_path), b"deep/folder"):
                assert word not in content, f"{path.name} holds {word!r}"


def test_csv_has_every_number(tmp_path: Path) -> None:
    write(tmp_path, frames.small())
    table = pd.read_csv(tmp_path / "results.csv")
    assert len(table) == len(frames.small().values) + 2  # two runs without any value are rows too
    found = table.query("metric == 'mse' and slice.isna() and split == 'test'").set_index("run_id")["value"]
    assert found.to_dict() == {"adding-rnn-0": 0.15, "adding-rnn-1": 0.17, "adding-gru-0": 0.002}


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    write(tmp_path, frames.small())
    old = [tmp_path / "figures" / "old.png", tmp_path / "tables" / "old.csv", tmp_path / "tables" / "old.tex"]
    for path in old:
        path.write_text(f"% a table; {BOOKTABS}\n")
    with (tmp_path / "report.md").open("a") as page:
        page.write("![old](figures/old.png)\n")
    write(tmp_path, frames.small())
    assert not any(path.exists() for path in old)


def test_a_folder_of_something_else_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"")
    write(tmp_path, frames.small())
    assert (tmp_path / "figures" / "mine.png").exists()


@pytest.mark.parametrize(
    ("sweeps", "select", "name"),
    [
        (["0123456789", "0123456789"], {}, "small-01234567"),
        (["0123456789", None], {}, "small"),  # a run started by itself is no part of the sweep beside it
        (["0123456789", "9876543210"], {}, "small"),
        ([None, None], {}, "small"),
        (["0123456789", "0123456789"], {"experiment": "small"}, "small"),
    ],
)
def test_folder_is_named_by_what_is_in_it(sweeps: list[str | None], select: dict[str, str | None], name: str) -> None:
    results = frames.small()
    runs = results.runs.head(2).assign(sweep=sweeps, experiment="small")
    chosen = {"experiment": None, "sweep": None} | select
    assert folder_name(replace(results, runs=runs), chosen) == name


@pytest.mark.parametrize(
    ("select", "command"),
    [
        ({"experiment": "quick", "sweep": None}, "gru-bench report experiment=quick"),
        ({"experiment": None, "sweep": "5eeb"}, "gru-bench report sweep=5eeb"),
        ({"experiment": None, "sweep": None}, "gru-bench report sweep=5eeb"),
    ],
)
def test_the_foot_says_how_to_make_it_again(select: dict[str, str | None], command: str) -> None:
    view, made = View(frames.small()), Made(select)
    assert footer(view, made) == f"Made by `{command}`."
    assert "3 finished, 1 failed, 1 missing; 3 seeds" in header(view, made)


def test_the_head_asks_the_question_and_leaves_ids_to_the_end(tmp_path: Path) -> None:
    write(tmp_path, frames.small())
    head = (tmp_path / "report.md").read_text(encoding="utf-8").split("\n## ")[0]
    rest = (tmp_path / "details.md").read_text(encoding="utf-8")
    assert "What do rnn and gru score on adding?" in head
    assert "0123456789ab" not in head
    assert "5eeb" not in head
    environment = rest.split("## Environment")[1]
    assert "0123456789ab" in environment
    assert "5eeb" in environment


# the verb, on a real store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store with a sweep of two planned jobs, one of which ran: its URI and the sweep's id."""
    store = Store(uri=f"sqlite:///{tmp_path_factory.mktemp('store') / 'runs.db'}")
    planned = [{"job": str(seed), "cell": "gru", "task": "adding", "seed": str(seed)} for seed in (0, 1)]
    sweep = store.open_sweep("small", planned, {})
    row = frames.run_row("gru", 0)
    tags = {CONFIG_KEY: "a", GROUP_KEY: "b", JOB: "0"}
    with store.run("small", "gru adding", sweep_id=sweep, tags=tags) as run:
        not_params = ("run_id", "sweep", "experiment", "config_key", "group_key", "job", "status", "error")
        run.params({key: value for key, value in row.items() if key not in not_params})
        for step in (10, 20):
            run.curve("valid/mse", step, 1.0 / step)
        run.value("test", "mse", 0.01, unit="squared error", higher_is_better=False)
        run.value("test", "trivial_mse", 0.17, unit="squared error", higher_is_better=False)
    store.close_sweep(sweep)
    return store.uri, sweep


@pytest.fixture
def run(made: tuple[str, str], empty_folder: Path) -> Iterator[Command]:
    """``gru-bench report`` on that store, in an empty working folder; gives the exit code."""
    assert Path.cwd() == empty_folder
    before, arguments = signal.getsignal(signal.SIGTERM), sys.argv
    yield lambda *more: cli.run(["report", f"tracking.uri={made[0]}", *more])
    signal.signal(signal.SIGTERM, before)
    sys.argv = arguments


def test_report_from_a_store(
    run: Command, made: tuple[str, str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("experiment=small") == 0
    assert f"report: {Path('reports', 'small', 'report.md')}" in capsys.readouterr().out
    first = digests(empty_folder / "reports" / "small")
    assert {"report.md", "results.csv", "figures/summary.svg", "figures/learning_curves.png"} <= set(first)
    folder = empty_folder / "reports" / "small"
    assert "1 finished, 1 missing" in (folder / "report.md").read_text(encoding="utf-8")
    assert made[1] in (folder / "details.md").read_text(encoding="utf-8")
    assert not list(folder.glob(".*"))
    assert run("experiment=small", "output=again") == 0
    assert digests(empty_folder / "again") == first
    assert sorted(path.name for path in empty_folder.iterdir()) == ["again", "reports"]


def test_latest_sweep_and_options_of_sections(run: Command, made: tuple[str, str], empty_folder: Path) -> None:
    assert run("output=a", "sections.limits.seeds_for_a_winner=1", "sections.learning_curves.order=1") == 0
    assert f"gru-bench report sweep={made[1]}" in (empty_folder / "a" / "report.md").read_text(encoding="utf-8")
    details = (empty_folder / "a" / "details.md").read_text(encoding="utf-8")
    assert "Only the verdict and the comparisons test differences" in details
    assert details.index("## Learning curves") < details.index("## Summary")


@pytest.mark.parametrize("flag_first", [True, False])
def test_a_section_of_the_users_own(run: Command, made: tuple[str, str], empty_folder: Path, flag_first: bool) -> None:
    (empty_folder / "mine" / "section").mkdir(parents=True)
    body = "_target_: test_report.own_section\n_partial_: true\norder: 5\nword: hello\n"
    (empty_folder / "mine" / "section" / "own.yaml").write_text(f"# mine\n{body}")
    flag, output = f"--config-dir={empty_folder / 'mine'}", "output=a"
    arguments = ["report", flag, f"tracking.uri={made[0]}", output]
    assert (cli.run(arguments) if flag_first else run(output, flag)) == 0
    text = (empty_folder / "a" / "details.md").read_text(encoding="utf-8")
    assert "## Own\n\nhello, 2 runs" in text
    assert text.index("## Own") < text.index("## Summary")
    (empty_folder / "mine" / "section" / "own.yaml").write_text(f"# mine\n{body}page: report\n")
    assert run(flag, "output=b") == 0
    assert "## Own\n\nhello, 2 runs" in (empty_folder / "b" / "report.md").read_text(encoding="utf-8")


def own_section(view: View, /, *, word: str) -> Section:
    return Section("Own", f"{word}, {len(view.runs)} runs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=nothing"], "experiment=nothing"),
        (["sweep=0"], "sweep=0: no such sweep"),
        (["select.nothing=1"], "select.nothing"),
        (["sections.summary.log_axis_from=much"], "sections.summary.log_axis_from='much'"),
        (["sections.summary.order=first"], "sections.summary.order='first'"),
        (["sections.summary.page=last"], "sections.summary.page='last'"),
        (["accept=[noise]"], "accept=[noise]: nothing of that name"),
        (["--diff", "small"], "--diff: needs OLD and NEW"),
        (["--diff", "small", "nothing"], "experiment=nothing: no such experiment"),
        (["--diff", "small", "small", "--check"], "one of them, once"),
        (["--check", "nothing"], "--check nothing: no such file of rules"),
        (["output=taken"], "output=taken"),
        (["outpt=x"], "outpt: no such key"),
    ],
)
def test_bad_input_is_a_line_and_exit_2(
    run: Command, arguments: list[str], message: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_folder / "taken").write_text("a file")
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) <= 2
    assert lines[0].startswith("gru-bench report: ")
    assert message in lines[0]


def test_what_is_accepted_stands_at_the_top(run: Command, empty_folder: Path) -> None:
    assert run("output=a", "accept=[margins]") == 0
    text = (empty_folder / "a" / "report.md").read_text(encoding="utf-8")
    assert "Accepted by hand: margins" in text
    assert "'accept=[margins]'" in text


@pytest.mark.slow
def test_a_crash_leaves_the_earlier_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, frames.small())
    before = digests(tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gru_bench.report.files.write_results", crash)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, frames.realistic(1))
    assert digests(tmp_path) == before


def test_without_sections_the_pages_make_sense(run: Command, empty_folder: Path) -> None:
    left_out = [f"~sections.{name}" for name in yaml_names("section")]
    assert run("output=a", *left_out) == 0
    assert "What do gru score on adding?" in (empty_folder / "a" / "report.md").read_text(encoding="utf-8")
    assert "No section had anything to show" in (empty_folder / "a" / "details.md").read_text(encoding="utf-8")


def test_rules_of_the_users_own(run: Command, empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = empty_folder / "rules.yaml"
    rules.write_text("seeds_at_least: 1\none_machine: true\nall_finished: false\n")
    assert run("--check", str(rules)) == 0
    assert "all 2 rules hold" in capsys.readouterr().out
    rules.write_text("seeds_at_least: 2\nall_finished: true\n")
    assert run("--check", str(rules), "experiment=small") == 3
    out = capsys.readouterr().out
    assert "broken  seeds_at_least 2: adding gru has 1" in out
    assert "broken  all_finished: adding gru: 1 missing" in out
    rules.write_text("seeds_at_most: 2\n")
    assert run("--check", str(rules)) == 2
    error = capsys.readouterr().err.strip()
    assert "seeds_at_most: no such key" in error
    assert "\n" not in error


def test_a_store_against_its_own_csv(run: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("output=a") == 0
    assert run("--diff", "a", "small") == 0
    out = capsys.readouterr().out
    assert "1 row: 1 undecided" in out or "1 row: 1 within margin" in out
    assert "speeds are not compared" in out


def test_no_store_is_not_made_by_reporting(run: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tracking.uri=sqlite:///none.db") == 2
    assert "none.db" in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary), frames.small())
        GOLDEN.mkdir(exist_ok=True)
        for page in PAGES:
            (GOLDEN / page).write_bytes((Path(temporary) / page).read_bytes())
    print(f"wrote {GOLDEN}; read the difference before you commit it")
