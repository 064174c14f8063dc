"""Everything that wants a CUDA card, in one program for a machine that is there for minutes; needs no network.

    make gpu                                     # or: python bench/gpu.py [--minutes 12] [--output gpu] [--wheels DIR]
    python bench/gpu.py --device cpu --dry       # the same steps at tiny sizes, where there is no card

The steps run one after the other, the most valuable first, each as a process of its own with a limit of its own. A
step that fails or takes too long is a row of the table; the rest goes on. After each step, and when this program is
told to end (SIGTERM), everything so far is written under ``--output``: ``summary.json``, ``table.txt``, ``log.txt``
(all that the steps printed) and ``store.tar.gz`` (the tracking store with the timed pairs and the trained runs).

The package is imported from this checkout. Libraries that the machine's Python lacks come from ``--wheels``, a folder
that ``make gpu-wheels`` has filled elsewhere; they are unpacked into a folder that is deleted at the end.

Exit 0: every step did its work; 1: one did not; 2: bad input, or no CUDA device; 143: told to end.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gpu_table import table

BENCH = Path(__file__).resolve().parent
CHECKOUT = BENCH.parent
RESERVE_S = 8.0
"""Kept back for the last files."""
LEAST_S = 10.0
"""A step with less time than this is not begun."""
GRACE_S = 5.0
"""Between asking a step to end and killing it."""
TAIL_LINES = 25
STORE = ("mlflow.db", "mlartifacts")
KILLED = 143


@dataclass(frozen=True)
class Step:
    """One process.

    Attributes:
        name: In the table.
        arguments: After the name of the Python.
        limit_s: Seconds that it may take.
        figures: The file, in the working folder, that it leaves its figures in; None where it leaves none.
    """

    name: str
    arguments: tuple[str, ...]
    limit_s: float
    figures: str | None = None


@dataclass
class Report:
    """What has been found so far, as ``summary.json`` has it."""

    output: Path
    facts: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> None:
        """Write both files anew."""
        self.output.mkdir(parents=True, exist_ok=True)
        summary = self.facts | {"steps": self.steps}
        for name, text in (("summary.json", json.dumps(summary, indent=1)), ("table.txt", table(summary))):
            whole = self.output / f"{name}.new"
            whole.write_text(text + "\n", encoding="utf-8")
            whole.replace(self.output / name)  # never half a file, whenever this process is killed


class ToldToEnd(BaseException):  # no step may catch it
    """SIGTERM, or Ctrl-C."""


def steps_of(device: str, *, dry: bool) -> list[Step]:
    """The steps, the most valuable first.

    Args:
        device: ``cuda``, or ``cpu`` to try the flow.
        dry: At tiny sizes.
    """
    on = f"device={device}"
    rounds = ("--rounds", "1" if dry else "10")
    grid = ("--shapes", "3x2x4,3x2x3x4", "--no-article") if dry else ()
    deep = ("--shapes", "3x2x3x4x2,3x2x3x4x2b" if dry else "512x10x128x256x6,512x10x128x256x6b", "--no-article")
    linear = ("--shapes", "3x2x4" if dry else "100x64x256,400x32x128", "--no-article")
    one = ("--shapes", "100x32x128", "--no-article")
    sizes = ("--dry",) if dry else ()
    # the types of the second table; a CPU has no TF32, and torch's GRU there is off by 0.2 in bfloat16 alone
    others = [] if device == "cpu" else ["tf32", "bfloat16", "float16"]

    def cells(name: str, limit_s: float, *arguments: str) -> Step:
        file = f"{name}.json"
        command: tuple[str, ...] = (str(BENCH / "cells.py"), "--device", device, "--json", file, *rounds)
        if device == "cpu":
            command += ("--threads", "1")
        return Step(name, (*command, *arguments), limit_s, file)

    def timing(situation: str, *sizes: str) -> Step:
        if dry:
            sizes = ("steps=2", "batch=1", "hidden_size=4", "rounds=30", "seconds=0.1")
        # nobody else is on a machine that is lent for minutes, and waiting would cost all of them
        keys = (on, f"situation=[{situation}]", "cells=[gru,lstm]", "backends=[vendor]", "wait=0", "force=true")
        command = ("-m", "gru_bench", "time", *keys, "resident=false", *sizes)
        return Step(f"time {situation}", command, 300 if dry else 75)

    quick: tuple[str, ...] = (
        "experiment=quick",
        "backend=vendor",
        on,
        "until=null",
        "probe=[]",
        "hydra.sweeper.params.cell='lstm,gru'",
    )
    if dry:
        quick += ("hydra.sweeper.params.task=adding", "hydra.sweeper.seeds=1", "trainer.max_steps=2")
    else:
        quick += ("hydra.sweeper.seeds=2", "max_hours=0.04")
    tests = ("-m", "pytest", "-q", "-W", "default", "--tb=short", "-p", "no:cacheprovider", "--junitxml=tests.xml")
    marked = cuda_tests()
    first = ["-k", "test_memory_and_time_on_cuda"] if dry else []
    return [
        Step("environment", (str(BENCH / "gpu_steps.py"), "environment", "--device", device), 40, "environment.json"),
        Step("tests", (*tests, "-m", "cuda and not slow", *first, *marked), 150, "tests.xml"),
        cells("cells float32", 110, "--backends", "vendor,loop", *grid),
        cells("several layers", 60, "--backends", "vendor", *deep),
        Step(
            "algorithms",
            (str(BENCH / "gpu_steps.py"), "algorithms", "--device", device, *sizes),
            60,
            "algorithms.json",
        ),
        timing("train", "hidden_size=[128,256]"),
        timing("batch", "hidden_size=[128,256]"),
        timing("stream", "hidden_size=128"),
        *(cells(f"cells {dtype}", 40, "--backends", "vendor", "--dtype", dtype, *grid) for dtype in others),
        Step("quick", ("-m", "gru_bench", "train", "-m", *quick), 150),
        *(
            cells(f"forward {dtype}", 40, "--backends", "vendor", "--forward", "--dtype", dtype, *deep)
            for dtype in ("float32", *others[:1])
        ),
        cells("scan", 40, "--cells", "mingru,minlstm", "--backends", "loop,scan", *linear),
        *(() if dry else (cells("compiled", 120, "--cells", "lstm,gru", "--backends", "vendor,compiled", *one),)),
    ]


def cuda_tests() -> list[str]:
    """The files that hold tests for CUDA: collecting the whole suite would take a minute."""
    mark = "pytest.mark.cuda"
    return [str(file) for file in sorted((CHECKOUT / "tests").rglob("test_*.py")) if mark in file.read_text("utf-8")]


def environment_of(work: Path, site: Path | None) -> dict[str, str]:
    """What the steps are given: this checkout, caches of their own, nothing from a network."""
    paths = [str(CHECKOUT), *([str(site)] if site else []), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GRU_BENCH_CACHE": str(work / "cache"),
        "XDG_CACHE_HOME": str(work / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "TRITON_CACHE_DIR": str(work / "triton"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what torch wants where it is to be deterministic
    }


def run_step(step: Step, limit_s: float, work: Path, given: dict[str, str], log: Path) -> dict[str, Any]:
    """Run one process and say what became of it. Whatever happens, nothing of it goes on afterwards.

    Raises:
        ToldToEnd: While it ran; it was ended first.
    """
    command = " ".join(step.arguments).replace(f"{CHECKOUT}{os.sep}", "")
    row: dict[str, Any] = {"name": step.name, "limit_s": round(limit_s), "command": command}
    if step.figures is not None:
        (work / step.figures).unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("a+", encoding="utf-8", errors="replace") as printed:
        printed.write(f"\n== {step.name}: {command}\n")
        printed.flush()
        begin = printed.tell()
        process = subprocess.Popen(
            [sys.executable, *step.arguments],
            cwd=work,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(process)
        row |= {"seconds": round(time.monotonic() - started, 1), "exit": code, "tail": tail(printed, begin)}
    row["state"] = "ok" if code == 0 else "too slow" if code is None else "failed"
    if step.figures is not None:
        row["figures"] = figures(work / step.figures)
    return row


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started: politely, then not."""
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        except PermissionError:  # macOS, of a group whose processes have all ended
            break
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def tail(printed: IO[str], begin: int) -> list[str]:
    """The last lines of what was printed."""
    printed.seek(begin)
    return [line[:300] for line in printed.read().splitlines()[-TAIL_LINES:]]


def figures(file: Path) -> Any:
    """What a step left; None where it left nothing that can be read."""
    try:
        if file.suffix == ".xml":
            from gpu_steps import test_figures

            return test_figures(file)
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


def unpack(wheels: Path, site: Path) -> str | None:
    """Install what lies in a folder into another, with nothing from elsewhere. Returns what is wrong, or None."""
    found = sorted(wheels.glob("*.whl"))
    if not found:
        return f"--wheels={wheels}: no wheels there; make gpu-wheels fills a folder"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    pip += ["--disable-pip-version-check", "--no-cache-dir", "--target", str(site), *map(str, found)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return f"--wheels={wheels}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}"


def pack(work: Path, file: Path) -> None:
    """The tracking store, as one file."""
    there = [name for name in STORE if (work / name).exists()]
    if there:
        whole = file.with_name(f"{file.name}.new")
        with tarfile.open(whole, "w:gz") as archive:
            for name in there:
                archive.add(work / name, name)
        whole.replace(file)


def run_all(
    steps: Sequence[Step], report: Report, work: Path, given: dict[str, str], seconds: float, say: Callable[[str], None]
) -> None:
    """Run the steps within some seconds, and write after each.

    Raises:
        ToldToEnd: What was found before is written.
    """
    deadline = time.monotonic() + seconds - RESERVE_S
    log = report.output / "log.txt"
    for step in steps:
        limit_s = min(step.limit_s, deadline - time.monotonic())
        if limit_s < min(LEAST_S, step.limit_s):
            report.steps.append({"name": step.name, "state": "no time left", "seconds": 0.0})
        else:
            say(f"{step.name} (at most {limit_s:.0f} s) ...")
            report.steps.append({"name": step.name, "state": "running", "seconds": 0.0})
            try:
                report.write()
                report.steps[-1] = run_step(step, limit_s, work, given, log)
                pack(work, report.output / "store.tar.gz")
            except ToldToEnd:
                report.steps[-1]["state"] = "told to end"
                raise
            finally:
                report.write()
            say(f"  {report.steps[-1]['state']} after {report.steps[-1]['seconds']:.0f} s")
        if step.name == "environment" and (report.steps[-1].get("figures") or {}).get("usable") is False:
            raise SystemExit(f"gpu: {report.steps[-1]['figures']['why']}")


def tell_to_end(*_: object) -> None:
    """What a signal does."""
    raise ToldToEnd


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0, help="for everything together")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "gpu", help="where the files go")
    parser.add_argument("--wheels", type=Path, help="folder of libraries that this Python lacks")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--dry", action="store_true", help="tiny sizes: to try the flow")
    parser.add_argument("--only", help="names of steps, separated by commas")
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes={options.minutes}: must be positive")
    options.steps = steps_of(options.device, dry=options.dry)
    if options.only is not None:
        names = [step.name for step in options.steps]
        unknown = [name for name in options.only.split(",") if name not in names]
        if unknown:
            parser.error(f"--only: unknown {', '.join(unknown)}; valid: {', '.join(names)}")
        options.steps = [step for step in options.steps if step.name in options.only.split(",")]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and print the table last. Returns the exit code."""
    started = time.monotonic()
    options = parsed(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "log.txt").write_text("", encoding="utf-8")
    facts = {
        "device": options.device,
        "dry": options.dry,
        "minutes": options.minutes,
        "started": time.strftime("%F %T"),
    }
    report = Report(options.output, facts)
    work = Path(tempfile.mkdtemp(prefix="gru_bench_gpu_"))
    before = {number: signal.signal(number, tell_to_end) for number in (signal.SIGTERM, signal.SIGINT)}
    code = 0
    try:
        site = None
        if options.wheels is not None:
            site = work / "site"
            wrong = unpack(options.wheels, site)
            if wrong is not None:
                print(f"gpu: {wrong}", file=sys.stderr)
                return 2
        left_s = 60 * options.minutes - (time.monotonic() - started)
        run_all(options.steps, report, work, environment_of(work, site), left_s, lambda text: print(text, flush=True))
    except ToldToEnd:
        code = KILLED
    except SystemExit as left:
        print(left.code, file=sys.stderr)
        return 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        pack(work, options.output / "store.tar.gz")
        shutil.rmtree(work, ignore_errors=True)
    report.write()
    print((options.output / "table.txt").read_text(encoding="utf-8"))
    return code or int(any(step["state"] != "ok" for step in report.steps))


if __name__ == "__main__":
    sys.exit(main())
