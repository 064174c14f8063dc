"""The article's task: long sequences of numbers whose label depends on the order of two events far apart."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from gru_bench.data.digest import digest, tensor_bytes
from gru_bench.errors import UserError
from gru_bench.tasks.base import SPLIT_SEEDS, Batch, Common, Counts, Part, PositiveFloat, PositiveInt, Split
from gru_bench.tasks.objectives.classify import Classify, metrics_of

GENERATOR_VERSION = "event_order/1"
PATTERN_SEED = 1_000_000_087
"""Seed of the directions that the three kinds of event have; all runs and splits share them."""
LAST_STEPS = 5
"""The second event is in one of so many last steps."""
PAIRS = ((0, 1), (1, 2))
"""Kinds that occur together, in the order that makes the label 1."""


class EventOrder(Classify):
    """Predict whether two events came in alphabetical order.

    Events are of three kinds A, B and C. A sequence holds A and B, or B and C, amid noise::

        . . A . . . . . . . . . . B .   ->  1        . . . . . B . . . . . . . A .   ->  0
        . . . . . . . B . . . . . C .   ->  1        C . . . . . . . . . . . . B .   ->  0

    The same two events stand under both labels, so only their order decides. A model that sees the second event alone
    is right in 3 of 4 sequences (A can only come after B, C too, but B after either); the rest takes a memory of the
    first event over the distance between the two.

    Each step is noise from N(0, 1) in every feature. A step with an event has ``strength`` times a fixed unit vector,
    one per kind, added: against one feature's noise it stands out, against the whole vector's (length about
    sqrt(num_features)) it does not. The second event lies in one of the last 5 steps. The distance to the first is
    log-uniform from ``min_distance`` to ``max_distance``: were all distances long, no cell would find out within a
    few epochs that there is something to remember.

    The article gives the network and the shape (100, 64) but no data, so this data is generated. The loss is binary
    cross-entropy of a logit, which is Keras's sigmoid unit with ``binary_crossentropy``.

    Args:
        seq_len: T.
        num_features: D.
        strength: Length of an event's vector.
        min_distance: Fewest steps from the first event to the second.
        max_distance: Most.
        num_train: Training sequences.
        num_valid: Validation sequences.
        num_test: Test sequences.
    """

    metrics = metrics_of("sequences", "sequence")
    generated: ClassVar[bool] = True

    def __init__(
        self,
        data: None,
        /,
        *,
        seq_len: PositiveInt,
        num_features: PositiveInt,
        strength: PositiveFloat,
        min_distance: Annotated[int, Ge(1)],
        max_distance: Annotated[int, Ge(1)],
        num_train: PositiveInt,
        num_valid: PositiveInt,
        num_test: PositiveInt,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        if not min_distance <= max_distance <= seq_len - LAST_STEPS:
            raise UserError(
                f"task.min_distance={min_distance}, task.max_distance={max_distance}: must rise, and the second be at "
                f"most task.seq_len - {LAST_STEPS} = {seq_len - LAST_STEPS}"
            )
        self.seq_len = seq_len
        self.num_features = num_features
        self.strength = strength
        self.min_distance = min_distance
        self.max_distance = max_distance
        self.classes = ["falling", "rising"]
        self.counts: dict[Split, int] = {"train": num_train, "valid": num_valid, "test": num_test}

    def source_id(self) -> str:
        shape = f"{self.seq_len}:{self.num_features}:{self.strength}:{self.min_distance}:{self.max_distance}"
        return f"{GENERATOR_VERSION}:{shape}:{sorted(self.counts.items())}"

    def load(self) -> None:
        self._inputs: dict[Split, Tensor] = {}
        self._labels: dict[Split, Tensor] = {}
        self._distances: dict[Split, Tensor] = {}
        for split, count in self.counts.items():
            generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
            self._inputs[split], self._labels[split], self._distances[split] = self.draw(count, generator)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (T, N, D), labels (N,) of 0 and 1, and distances (N,) between the two events."""
        T, N = self.seq_len, count
        labels_N = torch.randint(2, (N,), generator=generator)
        kinds_2N = torch.tensor(PAIRS)[torch.randint(len(PAIRS), (N,), generator=generator)].T
        kinds_2N = torch.where(labels_N == 1, kinds_2N, kinds_2N.flip(0))
        span = math.log((self.max_distance + 1) / self.min_distance)
        drawn_N = torch.rand(N, generator=generator, dtype=torch.float64)
        # the product can round up to the open end
        distances_N = (self.min_distance * (span * drawn_N).exp()).long().clamp(max=self.max_distance)
        second_N = T - 1 - torch.randint(LAST_STEPS, (N,), generator=generator)
        x_TND = torch.randn(T, N, self.num_features, generator=generator)
        events_KD = self.strength * event_patterns(self.num_features)
        for steps_N, kinds_N in zip((second_N - distances_N, second_N), kinds_2N, strict=True):
            x_TND[steps_N, torch.arange(N)] += events_KD[kinds_N]
        return x_TND, labels_N, distances_N

    def fingerprint(self) -> str:
        # without the noise: torch.randn's last bits differ between kinds of CPU
        parts = (self._labels, self._distances)
        return digest(*(tensor_bytes(part[split]) for split in self.counts for part in parts))

    def sizes(self) -> dict[str, int]:
        return {"input_size": self.num_features, "num_outputs": 1}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        count = self.counts[split]
        order = torch.randperm(count, generator=generator) if split == "train" else torch.arange(count)
        for rows in order.split(self.batch_size):
            yield Batch(self._inputs[split][:, rows], self._labels[split][rows].float())

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        logits_B = model(batch.inputs, batch.lengths).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits_B, batch.targets), batch.counts(), None

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_B = model(batch.inputs, batch.lengths).squeeze(1).double()
        nats_B = F.binary_cross_entropy_with_logits(logits_B, batch.targets.double(), reduction="none")
        return nats_B, (logits_B > 0).long()

    def labels(self, split: Split) -> Tensor:
        return self._labels[split]

    def columns(self, split: Split) -> dict[str, list[Any]]:
        return {"distance": self._distances[split].tolist()}

    def parts(self, split: Split) -> list[Part]:
        """Ranges of distance, each twice as wide as the one before; ranges without sequences left out."""
        parts: list[Part] = []
        low = self.min_distance
        while low <= self.max_distance:
            high = min(2 * low - 1, self.max_distance)
            rows = np.flatnonzero((self._distances[split] >= low) & (self._distances[split] <= high))
            if len(rows):
                parts.append(Part("distance", f"{low}-{high}", rows))
            low = high + 1
        return parts


def event_patterns(num_features: int) -> Tensor:
    """One unit vector (3, D) for each kind of event, the same everywhere and always."""
    generator = torch.Generator().manual_seed(PATTERN_SEED)
    return F.normalize(torch.randn(3, num_features, generator=generator), dim=1)
