"""An exported program in the place of its model, so that the task itself can score it."""

from typing import Any

import torch
from torch import Tensor, nn

from gru_bench.export.states import Program, States, input_name
from gru_bench.models.language_model import LanguageModel


class Deployed(nn.Module):
    """A classifier, tagger or language model whose answers come from the program ``sequence``.

    Args:
        program: It.
        states: That it takes.
        model: Whose place it takes.
    """

    def __init__(self, program: Program, states: States, model: nn.Module) -> None:
        super().__init__()
        self.program, self.states = program, states
        self.is_language_model = isinstance(model, LanguageModel)
        self.input = input_name(model)
        self.place = nn.Parameter(torch.zeros(1))  # a task asks a model's parameters where it is

    def forward(self, inputs: Tensor, more: Any = None) -> Any:
        """As the model: ``more`` is a language model's state, and the lengths (B,) of the others; or None."""
        T, B = inputs.shape[:2]
        if not self.is_language_model:
            lengths = torch.full((B,), T) if more is None else more
            return self.program({self.input: inputs, "lengths": lengths})["scores"]
        state = more or tuple(one.started(B) for one in self.states.values())
        given = dict(zip(self.states, state, strict=True))
        found = self.program({self.input: inputs, "lengths": torch.full((B,), T), **given})
        return found["scores"], tuple(found[f"new_{name}"] for name in self.states)
