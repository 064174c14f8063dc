"""Does a sweep survive what happens to sweeps? Seeded faults of random kind and moment, until all of it is done.

    python bench/faults.py [--faults 500] [--seed 0] [--kinds driver_killed,locked] [--from N] [--keep FOLDER]
                           [--a-sweep 8] [--seeds 20] [--steps 60]

A sweep is 2 cells x 20 seeds of the adding task at its smallest, with two workers. Of all sweeps some run with joblib
or one after the other in the driver, and some write to an MLflow server, which is killed too. Each meets ``--a-sweep``
faults; where one ends the command, the same command is called again, with the fault still there or not, until it exits
with 0. Kinds, and what each does: ``bench/faults_kinds.py``. Moments: anywhere in the sweep, and aimed: in the start,
when the store is made, at the end.

After each call: no process is left ten seconds after the driver's end, and the terminal shows few lines, and no
traceback but what Python, joblib and torch say of their own accord. At the end of each sweep: every run that was told
to be finished is there and finished, none is there twice, no run is RUNNING, and each that did not finish gives a
reason that fits the faults; and what a report reads (runs, values, curves; without ids, times and speed) equals bit by
bit what an undisturbed sweep gives, which is run first.

Prints a table by kind, then one line of JSON. Exit 1 where anything was lost, doubled, unequal or untrue, or where a
process was left. A sweep and its faults follow from ``--seed`` and its number alone: ``--from 40`` begins with the
sweep that has the 40th fault. ``--keep`` keeps the folders of sweeps that went wrong.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
from faults_kinds import KINDS
from faults_sweep import Fault, Outcome, Sweep
from faults_truth import differences

SETTINGS = {
    ("workers", "sqlite"): 11,
    ("workers", "server"): 3,
    ("joblib", "sqlite"): 1,
    ("basic", "sqlite"): 1,
}
"""How often, of launcher and store."""
PROBLEMS = ("lost", "doubled", "unequal", "untrue", "left", "traceback", "lines", "stuck")
BAD = set(PROBLEMS) - {"lines"}


def planned(seed: int, number: int, kinds: list[str], a_sweep: int) -> tuple[str, str, list[Fault]]:
    """Launcher, store and faults of one sweep."""
    rng = random.Random(f"{seed} {number}")
    while True:
        launcher, backing = rng.choices(list(SETTINGS), list(SETTINGS.values()))[0]
        possible = [kind for kind in kinds if fits(KINDS[kind].where, launcher, backing)]
        if possible:
            break
    weights = [KINDS[kind].weight for kind in possible]
    faults, first = [], True
    for kind in rng.choices(possible, weights, k=a_sweep):
        moment = rng.choice(KINDS[kind].moments)
        if moment == "store" and not first:
            moment = "start"
        first = first and moment != "store"
        faults.append(Fault(kind, moment, rng.random(), rng.randrange(2**32)))
    order = ("store", "start", "run", "close")
    return launcher, backing, sorted(faults, key=lambda fault: (order.index(fault.moment), fault.share))


def fits(where: tuple[str, ...], launcher: str, backing: str) -> bool:
    """Whether a kind can happen there: each of its words is for the launcher or for the store."""
    launchers = [word for word in where if word in ("workers", "joblib", "basic")]
    stores = [word for word in where if word in ("sqlite", "server")]
    return (not launchers or launcher in launchers) and (not stores or backing in stores)


def table(outcomes: list[Outcome]) -> str:
    """By kind: how many, what went wrong after them, and how long until the next run was finished."""
    fired = Counter(kind for outcome in outcomes for kind in outcome.fired)
    rows = []
    for kind in KINDS:
        if not fired[kind]:
            continue
        blamed = Counter(problem for outcome in outcomes for of, problem in outcome.blamed if of == kind)
        seconds = [s for outcome in outcomes for s in outcome.seconds.get(kind, [])]
        row = {"kind": kind, "faults": fired[kind]} | {problem: blamed[problem] for problem in PROBLEMS}
        rows.append(row | {"recovers_s": f"{statistics.median(seconds):.1f}" if seconds else "-"})
    return pd.DataFrame(rows).to_string(index=False) if rows else "no faults"


def main(arguments: list[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="FAULT")
    parser.add_argument("--a-sweep", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args(arguments)
    kinds = given.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"--kinds: {', '.join(unknown)}; valid: {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory(prefix="gru_bench_faults_") as temporary:
        root = given.keep or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        os.environ["GRU_BENCH_CACHE"] = str((root / "cache").absolute())
        outcomes = run_all(root.absolute(), kinds, given)
    print(table(outcomes))
    problems = Counter(problem for outcome in outcomes for problem, texts in outcome.problems.items() for _ in texts)
    summary = {
        "seed": given.seed,
        "sweeps": len(outcomes),
        "faults": sum(len(outcome.fired) for outcome in outcomes),
        "runs": len(outcomes) * given.seeds * 2,
        "equal": sum("unequal" not in outcome.problems for outcome in outcomes),
        **{problem: problems[problem] for problem in PROBLEMS},
        "seconds": round(sum(outcome.took for outcome in outcomes)),
    }
    print(json.dumps(summary))
    return int(any(problems[problem] for problem in BAD))


def run_all(root: Path, kinds: list[str], given: argparse.Namespace) -> list[Outcome]:
    """The undisturbed sweep, then the others, each told in a line."""
    calm = Sweep(root / "undisturbed", -1, "workers", "sqlite", [], given.seeds, given.steps)
    outcome = calm.run()
    reference = calm.frames()
    tell(outcome)
    if outcome.problems:
        return [outcome]
    calm.remove()
    outcomes: list[Outcome] = []
    number = given.first // given.a_sweep
    start_s, total = calm.start_s, 0
    while total < given.faults:
        launcher, backing, faults = planned(given.seed, number, kinds, given.a_sweep)
        sweep = Sweep(root / f"sweep_{number:03}", number, launcher, backing, faults, given.seeds, given.steps)
        sweep.start_s = start_s
        outcome = sweep.run()
        try:
            for text in differences(sweep.frames(), reference):
                outcome.wrong("unequal", text)
        except Exception as error:
            outcome.wrong("unequal", f"cannot be read: {error}")
        tell(outcome)
        outcomes.append(outcome)
        if given.keep is None or not outcome.problems:
            sweep.remove()
        elif sweep.server is not None:
            sweep.server.kill()
        total, number = total + len(outcome.fired), number + 1
    return outcomes


def tell(outcome: Outcome) -> None:
    """A line for a sweep, and one for each of its problems."""
    print(
        f"sweep {outcome.number} ({outcome.setting}): {len(outcome.fired)} faults in {outcome.took:.0f} s: "
        f"{', '.join(outcome.fired)}",
        file=sys.stderr,
        flush=True,
    )
    for problem, texts in outcome.problems.items():
        for text in texts:
            print(f"  {problem}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
