"""What a run costs beside its training steps in a warm worker: seconds by task, of a tiny sweep of the quick tasks.

    python bench/run_cost.py [--seeds 5] [--cell lstm]

Each task is run once cold and then with further seeds in the same process, 20 steps each, one thread, evaluations on
validation and test included. Prints the median over the warm runs of wall seconds less seconds of training steps; what
Hydra takes to compose a job (0.1 s) lies outside.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from gru_bench.store import read

TASKS = ("adding", "copy_memory", "language_modeling", "language_modeling_char", "sentiment", "number_translation")


def main() -> None:
    """Run the sweep in a process of its own and print one line a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cell", default="lstm")
    options = parser.parse_args()
    seeds = ",".join(str(seed) for seed in range(options.seeds + 1))
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder).resolve()}/runs.db"
        job = [f"task={','.join(TASKS)}", f"cell={options.cell}", f"seed={seeds}", "backend=bptt", "threads=1"]
        short = ["trainer.max_steps=20", "trainer.eval_every=20", f"tracking.uri={uri}"]
        command = [sys.executable, "-m", "gru_bench", "train", "-m", *job, *short, f"hydra.sweep.dir={folder}/hydra"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = read.read(uri, experiment="adhoc")
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    speed = found.values[(found.values["split"] == "speed") & found.values["metric"].isin(["wall_s", "train_s"])]
    for row in speed.itertuples():
        seconds[str(row.run_id)][str(row.metric)] = float(str(row.value))
    runs = found.runs.set_index("run_id")
    for task in TASKS:
        warm = runs[(runs["task"] == task) & (runs["seed"].astype(int) > 0)].index
        beside = [seconds[run]["wall_s"] - seconds[run]["train_s"] for run in warm]
        print(f"{task:<24} {statistics.median(beside):6.2f} s  ({min(beside):.2f}..{max(beside):.2f}, n={len(beside)})")


if __name__ == "__main__":
    main()
