"""``gru-bench report``: read the store once, render the sections, write the pages, figures, tables and results.csv."""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.compare.compared import sentence
from gru_bench.config.check import check_arguments, check_node, construct, to_node
from gru_bench.errors import UserError
from gru_bench.report.files import write
from gru_bench.report.given import as_markdown, given
from gru_bench.report.groups import distinct
from gru_bench.report.header import ACCEPTABLE, Made
from gru_bench.report.markdown import Section, known
from gru_bench.report.names import safe_name
from gru_bench.report.pages import DETAILS, PAGES
from gru_bench.report.view import View
from gru_bench.store.connect import without_password
from gru_bench.store.publish import publish
from gru_bench.store.read import Results, read


@dataclass(frozen=True, kw_only=True)
class Select:
    """Which runs: of an experiment, of a sweep, or of the latest sweep."""

    experiment: str | int | None
    sweep: str | int | None


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/report.yaml``."""

    output: str | None
    accept: list[str]
    also: list[str]
    publish: bool


def report(config: DictConfig) -> int:
    """Write the report and print its path, or bad input in one line. Returns the exit code, 0 or 2."""

    def written(config: DictConfig) -> int:
        print(f"report: {make(config) / 'report.md'}")
        return 0

    return reading(written)(config)


def reading(command: Callable[[DictConfig], int]) -> Callable[[DictConfig], int]:
    """The command, with bad input in one line and exit code 2."""

    def run(config: DictConfig) -> int:
        collecting = gc.isenabled()
        gc.disable()  # millions of texts and no cycles: looking for some is a fifth of a large report's time
        try:
            return command(config)
        except messages.BAD_INPUT as error:  # caught here, since Hydra would add a line of its own to it
            print(messages.line("report", error), file=sys.stderr)
            return 2
        finally:
            if collecting:
                gc.enable()

    return run


def make(config: DictConfig) -> Path:
    """Read the store, render the sections, write them, and put them into MLflow; returns the report's folder.

    Raises:
        UserError: A key or value that does not fit, a missing store, no runs, or a folder that cannot be
            written to.
    """
    node = to_node(config)
    sections = take_sections(node)
    keys, select, uri = take_keys(node)
    results = read_stores(uri, select, keys.also)
    for problem in results.problems:
        print(f"gru-bench report: {problem}", file=sys.stderr)
    view = View(given(results), accept=frozenset(keys.accept))
    placed: dict[str, list[Section]] = {page: [] for page in PAGES}
    for section in sections:
        placed[section.page].append(construct(section.node)(view))
    folder = Path(keys.output or Path("reports", folder_name(results, select)))
    made = Made(select, keys.accept, [without_password(store) for store in keys.also])
    try:
        write(folder, results, view, made, placed)
    except OSError as error:
        raise UserError(
            f"output={str(folder)[:200]}: cannot be written to ({error.strerror}); choose another"
        ) from error
    if keys.publish and len(results.runs) and (why := publish(uri, results, folder, as_markdown(sentence(view)))):
        print(f"gru-bench report: {why}", file=sys.stderr)
    return folder


def folder_name(results: Results, select: dict[str, str | None]) -> str:
    """The experiment's name; of one sweep alone also the beginning of its id, since an experiment may have several."""
    name = select["experiment"] or "_".join(map(str, experiments_of(results)))
    sweeps = distinct(results.runs["sweep"])
    # a run started by itself has no sweep: beside one, the report is of both
    alone = len(sweeps) == 1 and results.runs["sweep"].map(known).all()
    return safe_name(f"{name}-{sweeps[0][:8]}" if alone and not select["experiment"] else name)


@dataclass(frozen=True)
class Chosen:
    """A section to render: its page, and the checked node that names its function."""

    page: str
    node: dict[str, Any]


def take_sections(node: dict[str, Any]) -> list[Chosen]:
    """Take the sections out of a composed config: checked, in the order of the report.

    Raises:
        UserError: A page that does not exist, an order that is no number, or an option that does not fit.
    """
    sections: dict[str, dict[str, Any]] = node.pop("sections")
    placed = []
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(f"sections.{name}={section!r}: must be a node; ~sections.{name} leaves it out")
        page, order = section.pop("page", DETAILS), section.pop("order", 1000)
        if page not in PAGES:
            raise UserError(f"sections.{name}.page={page!r}: must be {' or '.join(PAGES)}")
        if not isinstance(order, int):
            raise UserError(f"sections.{name}.order={order!r}: must be a whole number")
        check_node(section, f"sections.{name}")
        placed.append((order, name, Chosen(page, section)))
    return [chosen for _, _, chosen in sorted(placed, key=lambda entry: entry[:2])]


def take_keys(node: dict[str, Any]) -> tuple[Keys, dict[str, str | None], str | None]:
    """The plain keys, which runs, and the store's URI, of a composed config whose sections are taken out.

    Raises:
        UserError: A key or value that does not fit.
    """
    select, tracking = node.pop("select"), node.pop("tracking")
    node.pop("hydra", None)
    check_arguments(Keys, node, "", "a report's config")
    check_arguments(Select, select, "select.", "a report's selection")
    check_node(tracking, "tracking")
    unknown = [name for name in node["accept"] if name not in ACCEPTABLE]
    if unknown:
        raise UserError(
            f"accept=[{','.join(unknown)}]: nothing of that name can be accepted; valid: {', '.join(ACCEPTABLE)}"
        )
    chosen = {key: None if value is None else str(value) for key, value in select.items()}  # experiment=1 is a name
    return Keys(**node), chosen, construct(tracking).uri


def read_stores(uri: str | None, select: dict[str, str | None], also: list[str]) -> Results:
    """The runs that were asked for, with those of the same experiment in further stores.

    Raises:
        UserError: A store that cannot be read, or runs that cannot stand in one report.
    """
    results = read(uri, **select)
    if not also:
        return results
    from gru_bench.store.merge import merge

    experiment = select["experiment"] or str(experiments_of(results)[0])
    return merge([results, *(read(store, experiment=experiment) for store in also)])


def experiments_of(results: Results) -> list[Any]:
    """The experiments of the runs, or of the timings where there are no runs."""
    return distinct(results.runs["experiment"]) or distinct(results.timings["experiment"])
