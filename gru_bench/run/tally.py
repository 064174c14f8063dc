"""How far a sweep has come, by what its launcher says: counts, what runs now, and how long the rest may take."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gru_bench.run.rounds import minutes


@dataclass
class Tally:
    """Is told of each job when it begins and when it is over. Times are of ``time.monotonic()``, in seconds.

    Attributes:
        tells: Whether the launcher tells; else nothing is known but how many jobs there are.
        workers: Runs at once.
        names: Of the jobs that are launched, by their numbers.
        kinds: Likewise what jobs of about the same length have in common, such as cell and task.
        running: When each job that runs began.
        ended: How each job ended, in a word.
        took: Seconds of each finished job; of one that shared its worker with others, its part of them.
        shares: Of each job that runs, how many a worker had at once, at most.
    """

    tells: bool = True
    workers: int = 1
    names: dict[int, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    running: dict[int, float] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    took: dict[int, float] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)

    def expect(self, first: int, jobs: Sequence[Mapping[str, str]], varied: Collection[str], workers: int) -> None:
        """Jobs are launched next.

        Args:
            first: Number of the first one.
            jobs: Their choices, by key.
            varied: The keys in which jobs differ, besides cell, task and seed.
            workers: Runs at once, as far as that is known.
        """
        self.workers = workers
        for number, job in enumerate(jobs, first):
            choices = dict(job)
            seed = choices.pop("seed", "")
            kind = " ".join(choices.pop(name) for name in ("cell", "task") if name in choices)
            kind = " ".join([kind, *(f"{key}={value}" for key, value in choices.items() if key in varied)]).strip()
            self.kinds[number] = kind
            self.names[number] = f"{kind} seed {seed}".strip() if seed else kind or f"job {number + 1}"

    def began(self, number: int) -> None:
        self.running[number] = time.monotonic()
        share = max(1.0, len(self.running) / self.workers)
        self.shares |= {other: max(share, self.shares.get(other, share)) for other in self.running}

    def over(self, number: int, how: str, *, again: bool = False) -> None:
        """A job is over.

        Args:
            number: Its own.
            how: In a word; nothing for one that was not begun.
            again: It was lost, and is tried once more.
        """
        since, share = self.running.pop(number, None), self.shares.pop(number, 1.0)
        if again or not how:
            return
        self.ended[number] = how
        if since is not None and how == "finished":
            self.took[number] = (time.monotonic() - since) / share

    @property
    def waiting(self) -> list[int]:
        """Jobs that have not begun."""
        return [number for number in self.names if number not in self.running and number not in self.ended]

    def counts(self) -> dict[str, int]:
        """Number of jobs: done, the ways in which others ended, running, left."""
        how = Counter(self.ended.values())
        done = how.pop("finished", 0)
        return {"done": done, **how, "running": len(self.running), "left": len(self.waiting)}

    def now(self, most: int) -> Iterator[str]:
        """What runs, and for how long: the longest first."""
        longest = sorted(self.running, key=lambda number: self.running[number])
        for number in longest[:most]:
            yield f"{self.names.get(number, number)} for {minutes(time.monotonic() - self.running[number])}"
        if len(longest) > most:
            yield f"{len(longest) - most} more"

    def line(self) -> str:
        """``12 done, 1 failed, 2 running, 25 left, about 4 min``."""
        parts = [f"{number} {name}" for name, number in self.counts().items()]
        seconds = self.seconds_left()
        return ", ".join([*parts, *([] if seconds is None else [f"about {minutes(seconds)}"])])

    def doing(self, most: int) -> list[str]:
        """What runs, in a phrase, if anything does."""
        running = list(self.now(most))
        return [f"running: {', '.join(running)}"] if running else []

    def seconds_left(self) -> float | None:
        """About how long the rest takes; None where nothing is known yet, or nothing left.

        A job is taken to last as long as the finished ones of its kind, or of all kinds where there is none.
        """
        if not self.took or not (self.running or self.waiting):
            return None
        by_kind: dict[str, list[float]] = {}
        for number, seconds in self.took.items():
            by_kind.setdefault(self.kinds.get(number, ""), []).append(seconds)
        mean = sum(self.took.values()) / len(self.took)

        def expected(number: int) -> float:
            known = by_kind.get(self.kinds.get(number, ""))
            return sum(known) / len(known) if known else mean

        now = time.monotonic()
        begun = [max(0.0, expected(number) - (now - since)) for number, since in self.running.items()]
        rest = [*begun, *map(expected, self.waiting)]
        return max([sum(rest) / self.workers, *rest])
