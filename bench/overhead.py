"""What the trainer costs over a bare torch loop on the same model: ratio of step times, interleaved in one process.

    python bench/overhead.py [--rounds 15] [--steps 60] [--threads 1]

Both arms run the same steps on the same batches from the same initial values: forward, backward, clipping, Adam. The
trainer's arm is timed from outside ``Trainer.fit``, so its clock, its checks for a lost loss, its copy of the best
weights and its callbacks all count; its evaluations do not, since the bare loop has none. Each round runs
trainer, bare, bare, trainer. Prints a table and then one line of JSON.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.measure.timing import StepClock
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.models.streams import Streams
from gru_bench.tasks.base import Batch, Goal, Scores, Split
from gru_bench.tasks.generated.adding import Adding
from gru_bench.training.trainer import Trainer


class FixedBatches(Adding):
    """The adding problem over a list of batches made beforehand, with an evaluation that costs nothing."""

    def __init__(self, steps: int) -> None:
        super().__init__(
            None,
            lengths=[50],
            beyond=[],
            num_eval=1,
            batch_size=32,
            goal=Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.001),
        )
        fresh = super().batches("train", torch.Generator().manual_seed(0))
        self.fixed = [next(fresh) for _ in range(steps)]

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        return iter(self.fixed)

    def score(self, model: nn.Module, split: Split) -> Scores:
        return Scores({"mse": 0.0, "loss": 0.0})


def make_model(cell: MakeCell, hidden_size: int) -> nn.Module:
    """The adding problem's model on the vendor's kernels."""

    def build_encoder(input_size: int, streams: Streams, /, **options: Any) -> Encoder:
        return Encoder(
            input_size,
            cell,
            Vendor(),
            streams,
            hidden_size=hidden_size,
            num_layers=1,
            device=torch.device("cpu"),
            dtype=torch.float32,
            **options,
        )

    return Classifier(
        {"input_size": 2, "num_outputs": 1},
        build_encoder,
        Streams(0),
        input="features",
        embedding_size=None,
        pooling="last",
        dense=[],
        bidirectional=False,
        dropout=0.0,
        init="uniform",
    )


def make_trainer(steps: int) -> Trainer:
    """Adam with clipping, as the adding problem's yaml has it."""
    return Trainer(
        max_steps=steps,
        max_epochs=None,
        max_seconds=None,
        optimizer=torch.optim.Adam,
        learning_rate=0.003,
        clip_norm=1.0,
        eval_every=None,
        diverged_above=100.0,
    )


def time_trainer(model: nn.Module, task: FixedBatches) -> float:
    """Seconds of one step under ``Trainer.fit``."""
    trainer, clock = make_trainer(len(task.fixed)), StepClock(torch.device("cpu"))
    start = time.perf_counter()
    trainer.fit(model, task, torch.Generator(), clock)
    return (time.perf_counter() - start) / len(task.fixed)


def time_bare(model: nn.Module, task: FixedBatches) -> float:
    """Seconds of one step of the loop that one would write by hand."""
    model.train()
    start = time.perf_counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for batch in task.fixed:
        loss = F.mse_loss(model(batch.inputs).squeeze(1), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return (time.perf_counter() - start) / len(task.fixed)


def main() -> None:
    """Measure all shapes and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    print(f"{'cell':<5} {'hidden':>6} {'bare ms':>8} {'trainer ms':>10} {'ratio':>6}  (min..max of rounds)")
    for name, cell, hidden_size in (("rnn", RNN, 64), ("lstm", LSTM, 64), ("gru", GRU, 64), ("gru", GRU, 128)):
        task = FixedBatches(options.steps)
        model = make_model(cell, hidden_size)
        ratios, bare, trained = [], [], []
        for round_number in range(options.rounds + 1):
            a1 = time_trainer(copy.deepcopy(model), task)
            b1 = time_bare(copy.deepcopy(model), task)
            b2 = time_bare(copy.deepcopy(model), task)
            a2 = time_trainer(copy.deepcopy(model), task)
            if round_number == 0:
                continue  # warm-up
            ratios.append((a1 + a2) / (b1 + b2))
            bare.append((b1 + b2) / 2 * 1000)
            trained.append((a1 + a2) / 2 * 1000)
        row = {
            "cell": name,
            "hidden_size": hidden_size,
            "bare_ms": round(statistics.median(bare), 4),
            "trainer_ms": round(statistics.median(trained), 4),
            "ratio": round(statistics.median(ratios), 4),
        }
        rows.append(row)
        print(
            f"{name:<5} {hidden_size:>6} {row['bare_ms']:>8.3f} {row['trainer_ms']:>10.3f} {row['ratio']:>6.3f}  "
            f"({min(ratios):.3f}..{max(ratios):.3f})"
        )
    print(json.dumps({"rounds": options.rounds, "steps": options.steps, "threads": options.threads, "rows": rows}))


if __name__ == "__main__":
    main()
