"""How large the weights have grown."""

from typing import Annotated, ClassVar

from annotated_types import Ge

from gru_bench.probes.base import Finding, Findings, Moment, Probe, Subject


class LargestWeight(Probe):
    """The largest absolute value of any parameter.

    Values: ``largest_weight_end``.

    Args:
        least: A smaller one counts as this.
    """

    name: ClassVar[str] = "largest_weight"

    def __init__(self, *, least: Annotated[float, Ge(0)]) -> None:
        self.least = least

    def refusal(self, subject: Subject, /) -> str | None:
        return None

    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        largest = max(float(parameter.detach().abs().max()) for parameter in subject.model.parameters())
        return Findings([Finding(f"largest_weight_{moment}", max(self.least, largest), "1")])
