"""Which tokens an answer depends on, by their distance from it: a few of them replaced, one distance at a time."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, MinLen
from torch import Tensor, nn

from gru_bench.losses import IGNORED
from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject
from gru_bench.tasks.base import Batch, Task
from gru_bench.tasks.objectives.answer import Answer
from gru_bench.tasks.objectives.classify import Classify
from gru_bench.tasks.objectives.tag import Tag

REDRAWS = 16
"""How often a token is drawn again that happens to be the one in its place."""
SIDE_BY_SIDE = 100
"""Sequences from which on a batch is large enough; it is run once for each distance, all at the same time."""


class Answered(NamedTuple):
    """What a model said of each sequence, (B,): nats in 64 bits, class, and whether that is right; on the CPU."""

    nats: Tensor
    answer: Tensor
    right: Tensor


class Occlusion(Probe):
    """Change of loss and answer when the tokens at some distance before the answer are replaced.

    The answer of a classifier is looked at from the end of the sequence. Of a task with an answer at each step, or at
    some, one answer of each sequence is looked at, drawn at random. Distance 0 is the step of the answer itself. At
    distance d the ``width`` tokens at d, d + 1 ... before it are replaced, each by a token that stands anywhere in
    the sample, drawn at random, and another one than it was. So the dose is the same at all distances, and the
    same test examples get the same tokens whatever the cell. Only sequences that reach back so far count for a
    distance; so each is compared with its own loss and answer.

    In a text the tokens that matter lie anywhere, and longer texts are others: the curve says what the model's answer
    depends on, not what it could remember.

    Values by slice ``distance``: ``occlusion_loss_change`` (nats per answer: after less before), and
    ``occlusion_answer_changed`` and ``occlusion_right_change`` (shares of answers). Without a slice:
    ``occlusion_reach_tokens``, the largest distance looked at where at least ``least`` of the answers change (not a
    number where none do), and ``longest_occlusion_tokens``, the largest distance for which there were sequences. Table
    ``distances``: these by distance, with the number of sequences and the losses before and after.

    Args:
        distances: Looked at, in tokens.
        width: Tokens replaced at a time.
        examples: Of the test split, evenly spaced; all where it has fewer.
        least: Share of changed answers that counts for ``occlusion_reach_tokens``.
    """

    name: ClassVar[str] = "occlusion"

    def __init__(
        self,
        *,
        distances: Annotated[list[Annotated[int, Ge(0)]], MinLen(1)],
        width: Annotated[int, Gt(0)],
        examples: Annotated[int, Gt(0)],
        least: Annotated[float, Gt(0)] = 0.01,
    ) -> None:
        self.distances = sorted(set(distances))
        self.width = width
        self.examples = examples
        self.least = least

    def refusal(self, subject: Subject, /) -> str | None:
        task = subject.task
        if not isinstance(task, Classify | Tag | Answer):
            name = type(task).__name__
            return f"is not made for {name}; valid: a classifier, a tagger, or a task of task=parity's kind"
        if next(task.batches("test")).inputs.dim() != 2:
            return f"needs tokens to replace, and {type(task).__name__} has vectors"
        return None

    @torch.no_grad()
    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        generator = torch.Generator().manual_seed(subject.seed)
        sampled = [(batch, ends_of(batch, generator)) for batch in larger(self.sample(subject.task))]
        pool_N = torch.cat([batch.inputs[is_token(batch)] for batch, _ in sampled])
        before: dict[int, list[Answered]] = {d: [] for d in self.distances}
        after: dict[int, list[Answered]] = {d: [] for d in self.distances}
        for batch, ends_B in sampled:
            B = len(ends_B)
            distances = [d for d in self.distances if bool((ends_B - d - self.width + 1 >= 0).any())]
            inputs = [batch.inputs, *(self.replaced(batch, ends_B - d, pool_N, generator) for d in distances)]
            said = answers(subject.model, subject.task, side_by_side(batch, inputs), ends_B.repeat(len(inputs)))
            for number, d in enumerate(distances, 1):
                reaches_B = ends_B - d - self.width + 1 >= 0
                before[d].append(Answered(*(part[:B][reaches_B] for part in said)))
                after[d].append(Answered(*(part[number * B : (number + 1) * B][reaches_B] for part in said)))
        return self.findings(before, after)

    def findings(self, before: dict[int, list["Answered"]], after: dict[int, list["Answered"]]) -> Findings:
        """From the answers by distance, before and after."""
        table: dict[str, list[Any]] = {}
        values: list[Finding] = []
        reach, longest = math.nan, math.nan
        for d in self.distances:
            if not before[d]:
                continue
            was, now = joined(before[d]), joined(after[d])
            row = {
                "distance": d,
                "n": len(was.nats),
                "loss_before": float(was.nats.mean()),
                "loss_after": float(now.nats.mean()),
                "loss_change": float((now.nats - was.nats).mean()),
                "answer_changed": float((was.answer != now.answer).double().mean()),
                "right_change": float((now.right.double() - was.right.double()).mean()),
            }
            for name, value in row.items():
                table.setdefault(name, []).append(value)
            for name, unit in (
                ("loss_change", "nats/answer"),
                ("answer_changed", "share of answers"),
                ("right_change", "share of answers"),
            ):
                values.append(Finding(f"occlusion_{name}", row[name], unit, "distance", str(d)))
            longest = float(d)
            reach = float(d) if row["answer_changed"] >= self.least else reach
        values.append(Finding("occlusion_reach_tokens", reach, "tokens"))
        values.append(Finding("longest_occlusion_tokens", longest, "tokens"))
        return Findings(values, {"distances": table} if table else {})

    def sample(self, task: Task) -> Iterator[Batch]:
        """Examples of the test split, evenly spaced over its batches."""
        batches = list(task.batches("test"))
        total = sum(batch.inputs.shape[1] for batch in batches)
        chosen_N = torch.linspace(0, total - 1, min(self.examples, total)).round().long()
        start = 0
        for batch in batches:
            B = batch.inputs.shape[1]
            part = chosen_N[(chosen_N >= start) & (chosen_N < start + B)] - start
            start += B
            if len(part):
                lengths = None if batch.lengths is None else batch.lengths[part]
                longest = batch.inputs.shape[0] if lengths is None else int(lengths.max())
                targets = batch.targets[part] if batch.targets.dim() == 1 else batch.targets[:longest, part]
                yield Batch(batch.inputs[:longest, part], targets, lengths)

    def replaced(self, batch: Batch, last_B: Tensor, pool_N: Tensor, generator: torch.Generator) -> Tensor:
        """The inputs (T, B) with other tokens at the ``width`` steps that end with ``last_B``, as far as they exist."""
        steps_T1 = torch.arange(batch.inputs.shape[0])[:, None]
        hit_TB = (steps_T1 <= last_B) & (steps_T1 > last_B - self.width)
        old_N = batch.inputs[hit_TB]
        new_N = old_N.clone()
        for _ in range(REDRAWS):
            same_N = new_N == old_N
            drawn_N = pool_N[torch.randint(len(pool_N), same_N.shape, generator=generator)]
            new_N = torch.where(same_N, drawn_N, new_N)
        inputs_TB = batch.inputs.clone()
        inputs_TB[hit_TB] = new_N
        return inputs_TB


def is_token(batch: Batch) -> Tensor:
    """(T, B): what is not padding."""
    return torch.arange(len(batch.inputs))[:, None] < lengths_of(batch)


def lengths_of(batch: Batch) -> Tensor:
    """(B,): tokens of each sequence."""
    T, B = batch.inputs.shape
    return torch.full((B,), T) if batch.lengths is None else batch.lengths


def larger(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Batches that follow each other put together: a loop over steps takes as long for many sequences as for few."""
    group: list[Batch] = []
    for batch in batches:
        full = sum(part.inputs.shape[1] for part in group) >= SIDE_BY_SIDE
        # sequences without padding stay so
        if group and (full or (batch.lengths is None and len(batch.inputs) != len(group[0].inputs))):
            yield together(group)
            group = []
        group.append(batch)
    if group:
        yield together(group)


def together(batches: list[Batch]) -> Batch:
    """Several batches as one, padded where they are padded by themselves."""
    T = max(len(batch.inputs) for batch in batches)
    padded = any(batch.lengths is not None for batch in batches)
    return Batch(
        torch.cat([F.pad(batch.inputs, (0, 0, 0, T - len(batch.inputs))) for batch in batches], dim=1),
        torch.cat(
            [
                batch.targets
                if batch.targets.dim() == 1
                else F.pad(batch.targets, (0, 0, 0, T - len(batch.targets)), value=IGNORED)
                for batch in batches
            ],
            dim=-1,
        ),
        torch.cat([lengths_of(batch) for batch in batches]) if padded else None,
    )


def side_by_side(batch: Batch, inputs: list[Tensor]) -> Batch:
    """The same batch with several inputs (T, B), as one."""
    many = len(inputs)
    targets = batch.targets.repeat(*([1] * (batch.targets.dim() - 1)), many)
    return Batch(torch.cat(inputs, dim=1), targets, None if batch.lengths is None else batch.lengths.repeat(many))


def ends_of(batch: Batch, generator: torch.Generator) -> Tensor:
    """The step (B,) of the answer that is looked at in each sequence."""
    if batch.targets.dim() == 1:
        return lengths_of(batch) - 1
    drawn_TB = torch.rand(batch.targets.shape, generator=generator)
    return torch.where(batch.targets == IGNORED, -1.0, drawn_TB).argmax(dim=0)


def answers(model: nn.Module, task: Task, batch: Batch, ends_B: Tensor) -> Answered:
    """What the model says at some steps (B,); a classifier has one answer, at its end."""
    moved = batch.to(*task.place(model))
    logits = model(moved.inputs, moved.lengths)
    targets_B = batch.targets
    if targets_B.dim() == 2:
        rows_B = torch.arange(len(ends_B))
        logits, targets_B = logits[ends_B.to(logits.device), rows_B.to(logits.device)], targets_B[ends_B, rows_B]
    logits_BC = logits.double().cpu()
    answer_B = logits_BC.argmax(dim=1)
    return Answered(F.cross_entropy(logits_BC, targets_B, reduction="none"), answer_B, answer_B == targets_B)


def joined(parts: list[Answered]) -> Answered:
    """Several batches as one."""
    return Answered(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
