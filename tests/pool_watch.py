"""Watches for the tests of the pool."""

from gru_bench.run.worker import Lost, Outcome


class Quiet:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.over: list[tuple[int, Outcome]] = []

    def began(self, number: int) -> None:
        self.begun.append(number)

    def again(self, number: int, lost: Lost) -> bool:
        self.over.append((number, lost))
        return True

    def ended(self, number: int, outcome: Outcome) -> None:
        self.over.append((number, outcome))

    def look(self) -> None:
        pass
