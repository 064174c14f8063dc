"""The steps of ``bench/gpu.py`` that no other program makes: what the machine is, and which of cuDNN's algorithms ran.

    python bench/gpu_steps.py environment|algorithms [--device cuda] [--dry]

Each writes its figures as JSON into the working folder and prints them.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
IMPORTED_AS = {
    "hydra-core": "hydra",
    "hydra-joblib-launcher": "hydra_plugins.hydra_joblib_launcher",
    "markdown-it-py": "markdown_it",
    "scikit-learn": "sklearn",
}
"""Distributions whose module has another name."""
ASKED = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit",
         "temperature.gpu", "persistence_mode", "compute_mode", "mig.mode.current", "ecc.mode.current")  # fmt: skip
HIDDEN = (128, 192, 256)
DTYPES = ("float32", "float16", "bfloat16")
SHAPES = ((100, 32), (100, 8))
"""Steps and sequences at which the algorithm is asked for."""
CELLS = ("rnn", "lstm", "gru")


def environment(device: str) -> dict[str, Any]:
    """Card, driver, clocks and versions; ``usable`` says whether the other steps can do anything here."""
    facts: dict[str, Any] = {"python": platform.python_version(), "missing": missing()}
    try:
        import torch
    except ImportError as error:
        return facts | {"usable": False, "why": f"torch cannot be imported here ({error}); valid: a Python that has it"}
    facts |= {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    facts["triton"] = version("triton")
    if device == "cpu":
        return facts | {"usable": True, "card": "none (dry run)"}
    if not torch.cuda.is_available():
        return facts | {"usable": False, "why": "torch sees no CUDA device here; valid: --device cpu --dry"}
    card = torch.cuda.get_device_properties(0)
    facts |= {
        "card": card.name,
        "capability": f"{card.major}.{card.minor}",
        "multiprocessors": card.multi_processor_count,
        "memory_gib": round(card.total_memory / 2**30, 1),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "tf32_by_default": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
        "nvidia_smi": nvidia_smi(),
    }
    n = 4096
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    float((a @ a).float().abs().mean())  # the first work of all: a card that cannot do it should say so here
    facts["clocks_at_work"] = nvidia_smi()
    return facts | {"usable": True}


def missing() -> list[str]:
    """Names of this project's libraries that this Python does not find, as ``pyproject.toml`` has them."""
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    lists = [text.partition(f"\n{name} = [\n")[2].partition("]\n")[0] for name in ("dependencies", "bench")]
    wanted = re.findall(r'^    "([A-Za-z0-9_-]+)[^"]*",$', "".join(lists), re.M)
    names = [*wanted, "omegaconf", "pytest"]
    return [name for name in names if not is_found(IMPORTED_AS.get(name, name).replace("-", "_"))]


def is_found(module: str) -> bool:
    """Whether it could be imported, as far as that can be told without doing so."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def version(distribution: str) -> str | None:
    """Of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def nvidia_smi() -> dict[str, str]:
    """What the driver says of the first card; a question that it does not know is left out."""
    found: dict[str, str] = {}
    for name in ASKED:
        command = ["nvidia-smi", "--id=0", f"--query-gpu={name}", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        found[name] = done.stdout.strip()
    return found


def algorithms(device: str, dry: bool) -> dict[str, Any]:
    """The kernel that ran forward and backward, by cell, hidden size, floating type and batch: as the profiler saw it.

    Types are those of the parameters too: torch's own mixed precision would hand cuDNN float16 in every case.
    """
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from gru_bench.backends.vendor import Vendor
    from gru_bench.measure.kernel import kernel_name

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    place = torch.device(device)
    rows: list[dict[str, Any]] = []
    for cell_name in CELLS:
        make = instantiate(OmegaConf.load(CHECKOUT / "conf" / "cell" / f"{cell_name}.yaml"), _partial_=True)
        for dtype_name in DTYPES[:1] if dry else DTYPES:
            for H in (4,) if dry else HIDDEN:
                for T, B in ((3, 2),) if dry else SHAPES:
                    row: dict[str, Any] = {"cell": cell_name, "dtype": dtype_name, "T": T, "B": B, "H": H}
                    try:
                        dtype = getattr(torch, dtype_name)
                        cell = make(H, H, torch.Generator().manual_seed(0))
                        stack = Vendor().stack([cell], place, dtype).to(place, dtype)
                        row["kernel"] = kernel_name(stack, Vendor(), H, place, dtype, num_steps=T, batch_size=B)
                    except Exception as error:  # one that does not run is an answer too
                        row["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
                    rows.append(row)
    return {"rows": rows}


def test_figures(file: Path) -> dict[str, Any]:
    """How many tests passed, failed and were left out, and the names of those that failed, from pytest's XML.

    Raises:
        SyntaxError: The file is cut off.
    """
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed: list[str] = []
    for case in xml.etree.ElementTree.parse(file).iter("testcase"):
        kinds = {child.tag for child in case}
        state = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[state] += 1
        if state == "failed":
            failed.append(f"{case.get('classname', '')}::{case.get('name', '')}")
    return counts | {"names_of_failed": failed}


def main(arguments: Sequence[str] | None = None) -> int:
    """Take one step. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("environment", "algorithms"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args(arguments)
    found = environment(options.device) if options.step == "environment" else algorithms(options.device, options.dry)
    text = json.dumps(found, indent=1)
    Path(f"{options.step}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if found.get("usable", True) else 1


if __name__ == "__main__":
    sys.exit(main())
