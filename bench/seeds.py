"""Several seeds of one small model, trained as one problem: how much faster than one after the other.

    python bench/seeds.py [--tasks adding,sentiment] [--hidden 16,32,64] [--seeds 2,5,10,20] [--processes 2]
    python bench/seeds.py --device cuda --seeds 10 --hidden 32,128     # where there is no such device it says so

Each arm takes whole training steps of the quick experiment's models: drawing a batch, embedding, recurrent layer,
output layer, loss, backward pass, clipping, Adam. ``alone`` is what a run does: ``backend=bptt`` (on CUDA ``vendor``),
one seed. The others (``seeds_arms.py``, ``seeds_loops.py``) step S seeds at once. ``same`` and ``native`` call the
compiled layer S times in one differentiable call and stack the rest, ``same`` with the operations of a run alone
wherever a stacked one would round differently. ``baddbmm`` is a loop over steps by hand, ``vmap`` is ``torch.vmap``
over the model in plain torch; these two are measured for one number of seeds alone (``--loops``), and ``vmap`` where
all batches have one shape.

Arms take turns, forwards and backwards, in windows of ``--seconds``; so many rounds. Printed are the milliseconds of a
step and seed, alone and in the arm, and how many times as fast that is: the median of the rounds, and their range. One
process: by the CPU time of its thread, to which other programs do not add. Several: all take the same arm at the same
time, and what counts is the sum of what they get done. ``off``: the largest difference of a weight from that of the
same seed alone after 20 steps; 0 is bit for bit. All arms take subnormal numbers as zero. Prints a table and then one
line of JSON.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from seeds_arms import Alone, Native, Problem, Same, Stacked, worst_difference
from seeds_loops import Baddbmm, Vmap

ARMS: dict[str, type[Stacked]] = {"same": Same, "native": Native, "baddbmm": Baddbmm, "vmap": Vmap}
Arm = Alone | Stacked
COMPARED_STEPS = 20


def window(arm: Arm, seconds: float, device: str, *, by_cpu: bool) -> float:
    """Seconds of a step and seed, over about so many seconds."""
    wait: Callable[[], None] = torch.cuda.synchronize if device != "cpu" else lambda: None
    clock = time.thread_time if by_cpu else time.perf_counter
    wait()
    started, ends, steps = clock(), time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        arm.step()
        steps += 1
    wait()
    return (clock() - started) / steps / arm.num_seeds


def arms_of(problem: Problem, num_seeds: int, options: argparse.Namespace) -> dict[str, Arm]:
    """The arms that this device, task and number of seeds have."""
    found: dict[str, Arm] = {"alone": Alone(problem)}
    for name in options.arms:
        compiled, loop = name in ("same", "native"), name in ("baddbmm", "vmap")
        one_shape = problem.task_name.startswith("language_modeling")
        if (compiled and options.device != "cpu") or (loop and num_seeds != options.loops):
            continue
        if name == "vmap" and not one_shape:
            continue
        found[name] = ARMS[name](problem, num_seeds)
    return found


def measure(options: argparse.Namespace, together: Callable[[], Any], tell: Callable[[Any], None]) -> None:
    """All problems: a row for each arm, with the seconds of each round.

    Args:
        options: The command line's.
        together: Waits until all processes have come so far.
        tell: Takes the rows of one problem and number of seeds.
    """
    torch.set_num_threads(1)
    # far from the size that a learning rate was chosen for, some seeds of an LSTM saturate: their gradients become
    # subnormal numbers, on which the backward pass takes thirty times as long, in whatever arm has such a seed
    torch.set_flush_denormal(True)
    for task_name in options.tasks:
        for cell in options.cells:
            for hidden_size in options.hidden:
                problem = Problem(task_name, cell, hidden_size, options.device)
                for num_seeds in options.seeds:
                    arms = arms_of(problem, num_seeds, options)
                    off = {name: worst_difference(problem, arm, COMPARED_STEPS) for name, arm in arms.items()}
                    seconds: dict[str, list[float]] = {name: [] for name in arms}
                    for turn in range(options.rounds):
                        for name in list(arms) if turn % 2 == 0 else reversed(arms):
                            together()
                            by_cpu = options.processes == 1 and options.device == "cpu"
                            taken = window(arms[name], options.seconds, options.device, by_cpu=by_cpu)
                            seconds[name].append(taken)
                    case = {"task": task_name, "cell": cell, "hidden": hidden_size, "seeds": num_seeds}
                    tell([case | {"arm": name, "off": off[name], "seconds": seconds[name]} for name in arms])


def summed(of_processes: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of one case from all processes: what they get done adds up."""
    rows = []
    for same in zip(*of_processes, strict=True):
        per_round = zip(*(row["seconds"] for row in same), strict=True)
        rows.append(same[0] | {"seconds": [1 / sum(1 / taken for taken in one) for one in per_round]})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """One line for each arm but the first, ``alone``; adds the ratios to the rows."""
    alone, *others = rows
    for row in others:
        ratios = [before / now for before, now in zip(alone["seconds"], row["seconds"], strict=True)]
        row |= {"times_as_fast": round(statistics.median(ratios), 3), "range": [min(ratios), max(ratios)]}
        ms, ms_alone = (statistics.median(one["seconds"]) * 1000 for one in (row, alone))
        print(
            f"{row['task']:<24}{row['cell']:<5}{row['hidden']:>4}{row['seeds']:>6}  {row['arm']:<8}"
            f"{ms_alone:>8.3f}{ms:>8.3f}"
            f"{row['times_as_fast']:>7.2f}  ({min(ratios):.2f}..{max(ratios):.2f})  {row['off']:.0e}",
            flush=True,
        )


def work(options: argparse.Namespace, barrier: Any, queue: Any, number: int) -> None:
    """A process of several."""
    measure(options, barrier.wait, lambda rows: queue.put((number, rows)))
    queue.put((number, None))


def measure_in_processes(options: argparse.Namespace, tell: Callable[[Any], None]) -> None:
    """The same in several processes that keep step."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(options.processes), context.Queue()
    workers = [
        context.Process(target=work, args=(options, barrier, queue, number), daemon=True)
        for number in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    waiting: dict[int, list[Any]] = {number: [] for number in range(options.processes)}
    ended = 0
    while ended < len(workers):
        number, rows = queue.get(timeout=600)
        ended += rows is None
        if rows is not None:
            waiting[number].append(rows)
        if all(waiting.values()):
            tell(summed([rows.pop(0) for rows in waiting.values()]))
    for worker in workers:
        worker.join()


def numbers(text: str) -> list[int]:
    """``16,32`` -> ``[16, 32]``."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", type=lambda text: text.split(","), default=["adding", "sentiment", "language_modeling_char"]
    )
    parser.add_argument("--cells", type=lambda text: text.split(","), default=["gru"], help="of gru and lstm")
    parser.add_argument("--hidden", type=numbers, default=[16, 32, 64, 128, 256])
    parser.add_argument("--seeds", type=numbers, default=[2, 5, 10, 20])
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--loops", type=int, default=10, help="for how many seeds the loops in torch are measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        print(f"skipped: torch sees no device {options.device} here")
        return
    load = os.getloadavg()[0]
    print(f"{'task':<24}{'cell':<5}{'H':>4}{'seeds':>6}  {'arm':<8}{'alone':>8}{'ms':>8}{'times':>7}  (rounds)  off")
    table: list[dict[str, Any]] = []

    def tell(rows: list[dict[str, Any]]) -> None:
        show(rows)
        table.extend(rows)

    if options.processes == 1:
        measure(options, lambda: None, tell)
    else:
        measure_in_processes(options, tell)
    around = {
        "processes": options.processes,
        "rounds": options.rounds,
        "device": options.device,
        "torch": torch.__version__,
    }
    around |= {"load_before": load, "load_after": os.getloadavg()[0], "cores": os.cpu_count()}
    print(json.dumps(around | {"rows": table}))


if __name__ == "__main__":
    main()
