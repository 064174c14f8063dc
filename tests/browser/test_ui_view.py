"""What a person sees who opens the link that ``gru-bench ui`` prints, in a real browser without a screen."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import ENVIRONMENT, copy_store, one_run, plan

from gru_bench.store.publish import publish
from gru_bench.store.read import read
from gru_bench.store.schema import GROUP_LABEL
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SCORES = {"lstm": 0.25, "gru": 0.125}
TASKS = ("adding", "copy_memory")
LABELS = [f"{cell}, {task}" for cell in SCORES for task in TASKS]
WAIT_MS = 60_000


@pytest.fixture
def page() -> Iterator[Any]:
    """An empty page of headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1500, "height": 1000})
        browser.close()


def measure(cell: str, task: str) -> Any:
    def inside(run: Run) -> None:
        run.params({"cell": cell, "task": task, "primary_metric": "mse", "data_fingerprint": "0d8cf5b48b9b7328"})
        run.value("test", "trivial_mse", 1 / 6, unit="", higher_is_better=False, charted=False)
        run.value("train", "steps", 300, unit="steps", higher_is_better=None)
        for step in (100, 200, 300):
            run.curve("valid/mse", step, SCORES[cell] * 300 / step)
        run.value("test", "mse", SCORES[cell], unit="", higher_is_better=False)
        run.table("test_examples", {"text": ["<b>no</b> | cell"], "correct": [True]})

    return inside


@pytest.fixture
def link(fresh_store: Path, tmp_path: Path) -> Iterator[str]:
    """A sweep of two cells and two seeds with its report, and what the command prints for it."""
    store = copy_store(fresh_store, tmp_path)
    sweep(store)
    (tmp_path / "report.md").write_text("# Report\n\nAll of it.\n")
    assert publish(store.uri, read(store.uri), tmp_path, "GRU on 1 of 1 tasks.") is None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gru_bench", "ui", f"tracking.uri={store.uri}", "--port", str(port)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        printed = ""
        for line in server.stdout:
            printed += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"quick: (http\S+)", printed)
        assert found is not None, printed
        yield found[1]
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)


def sweep(store: Store) -> None:
    jobs = [job | {"task": task} for task in TASKS for job in plan(*SCORES, seeds=2)]
    planned = [job | {"job": str(number)} for number, job in enumerate(jobs)]
    sweep_id = store.open_sweep("quick", planned, {})
    for job in planned:
        cell, task = job["cell"], job["task"]
        tags = {"job": job["job"], "cell": cell, "task": task, GROUP_LABEL: f"{cell}, {task}"}
        one_run(store, job["job"], measure(cell, task), sweep_id=sweep_id, **tags)
    store.close_sweep(sweep_id)


def test_the_printed_link(page: Any, link: str) -> None:
    page.goto(link)
    page.wait_for_selector(".js-plotly-plot", timeout=WAIT_MS)
    page.get_by_text("GRU on 1 of 1 tasks.").first.wait_for(timeout=WAIT_MS)
    # one group a cell and task, with both seeds in it; what is not drawn is no inner text
    drawn = "labels => labels.every(label => document.body.innerText.includes(`Group: ${label}`))"
    page.wait_for_function(drawn, arg=LABELS, timeout=WAIT_MS)
    assert page.inner_text("body").count("Group: ") == len(LABELS)
    # of what a guess scores, and of what a run has once, there is no chart
    assert "trivial_mse" not in page.inner_text("body")
    assert "train/steps" not in page.inner_text("body")
    run = page.locator("a[href*='/runs/']").filter(has_text=re.compile(r"^\d$")).first
    address = link.split("#")[0] + "#" + run.get_attribute("href").split("#")[1].split("?")[0]
    bars = page.locator(".js-plotly-plot .bars .point")
    bars.first.wait_for(state="attached", timeout=WAIT_MS)
    assert bars.count() >= len(SCORES)
    lines = page.locator(".js-plotly-plot .scatterlayer .js-line")
    lines.first.scroll_into_view_if_needed(timeout=WAIT_MS)
    assert lines.first.is_visible()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="The whole report").click()
    opened.value.get_by_text("All of it.").wait_for(timeout=WAIT_MS)
    # one run: its data, what it was, and the page that shows what its parquet files hold
    page.goto(address)
    page.get_by_text("(0d8cf5b48b9b7328)").first.wait_for(timeout=WAIT_MS)
    page.get_by_text("the trivial guess 0.1667 (lower is better)").first.wait_for(timeout=WAIT_MS)
    page.goto(f"{address}/artifacts/preview.md")
    page.get_by_text("<b>no</b> | cell", exact=True).wait_for(timeout=WAIT_MS)
