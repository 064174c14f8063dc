"""The level of each look at the results, so that all looks together keep theirs: gru_bench/statistics/looks.json.

    python bench/looks.py [--simulations 4000000] [--seed 0] [--out gru_bench/statistics/looks.json]

Paired differences without an effect, normal, are tested by Student's t at the numbers of seeds of the schedule
(``gru_bench.statistics.looks``). For L looks the level of each is the alpha-quantile of the smallest p of the first L
looks; of the starts 5, 8 and 12 the strictest counts. Looks that lie closer together than the schedule's, more degrees
of freedom, and noise of the test examples that all looks share only make the real error smaller.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import special

from gru_bench.statistics.looks import POINTS, TABLE, schedule

ALPHAS = [0.0002, 0.0005, 0.001, 0.002, 0.004, 0.00625, 0.01, 0.0125, 0.02, 0.025, 0.05, 0.1, 0.2, 0.4, 0.7]
STARTS = (5, 8, 12)


def smallest_p(points: list[int], simulations: int, rng: np.random.Generator) -> np.ndarray:
    """The smallest two-sided p of the first 1, 2, ... looks: (looks, simulations), float32."""
    smallest = np.ones((len(points), simulations), dtype=np.float32)
    for begin in range(0, simulations, 50_000):
        chunk = slice(begin, min(begin + 50_000, simulations))
        size = chunk.stop - chunk.start
        total, squares, seen = np.zeros(size), np.zeros(size), 0
        least = np.ones(size)
        for look, n in enumerate(points):
            fresh = rng.standard_normal((n - seen, size))
            total += fresh.sum(axis=0)
            squares += (fresh**2).sum(axis=0)
            seen = n
            variance = (squares - total**2 / n) / (n - 1)
            p = 2 * special.stdtr(n - 1, -np.abs(total / n) / np.sqrt(variance / n))
            least = np.minimum(least, p)
            smallest[look, chunk] = least
    return smallest


def main() -> None:
    """Simulate, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=4_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    nominal: dict[int, np.ndarray] = {}
    for start in STARTS:
        smallest = smallest_p(schedule(start, POINTS[-1]), options.simulations, rng)
        for looks in range(2, len(smallest) + 1):
            levels = np.quantile(smallest[looks - 1], ALPHAS)
            nominal[looks] = np.minimum(nominal.get(looks, np.ones_like(levels)), levels)
    print("level of each look, for a level over all looks of")
    print("looks " + " ".join(f"{alpha:>9}" for alpha in ALPHAS))
    for looks, levels in nominal.items():
        print(f"{looks:>5} " + " ".join(f"{level:>9.6f}" for level in levels))
    table = {
        "points": POINTS,
        "starts": STARTS,
        "simulations": options.simulations,
        "seed": options.seed,
        "alphas": ALPHAS,
        "nominal": {looks: [float(f"{level:.4g}") for level in levels] for looks, levels in nominal.items()},
    }
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
