"""Finite automata: what the tasks of state tracking share."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Automaton:
    """A machine that reads letters, changes its state with each, and gives an answer after each.

    Attributes:
        transitions: (S, A), the next state by state and letter.
        outputs: (S), the answer of each state.
        seen: (A), the symbol that stands at the step of a letter's answer. Letters may share one: where a letter takes
            two steps, the first is past when the answer is due.
        start: State before the first letter.
    """

    transitions: Tensor
    outputs: Tensor
    seen: Tensor
    start: int = 0

    def answers(self, letters_TB: Tensor) -> Tensor:
        """The answer after each letter: (T, B)."""
        num_letters = self.transitions.shape[1]
        next_flat = self.transitions.flatten()
        states_TB = torch.empty_like(letters_TB)
        state_B = torch.full(letters_TB.shape[1:], self.start)
        for step, letter_B in enumerate(letters_TB.unbind()):
            state_B = next_flat[state_B * num_letters + letter_B]
            states_TB[step] = state_B
        return self.outputs[states_TB]

    def without_memory(self, num_letters: int) -> float:
        """The share of right answers of the best function from what is seen at a step to an answer.

        Exact: letters are uniform and independent, so the distribution of the state before each letter is known, and
        with it how often each answer goes with each symbol over all of the sequence.

        Args:
            num_letters: Of a sequence.
        """
        S, A = self.transitions.shape
        answers_SA = self.outputs[self.transitions]
        num_answers = int(self.outputs.max()) + 1
        cells_SA = self.seen * num_answers + answers_SA
        together = torch.zeros((int(self.seen.max()) + 1) * num_answers, dtype=torch.float64)
        state_S = torch.zeros(S, dtype=torch.float64)
        state_S[self.start] = 1.0
        for _ in range(num_letters):
            weight_SA = (state_S / A)[:, None].expand(S, A).flatten()
            together.index_add_(0, cells_SA.flatten(), weight_SA)
            state_S = torch.zeros_like(state_S).index_add_(0, self.transitions.flatten(), weight_SA)
        return float(together.view(-1, num_answers).max(dim=1).values.sum() / num_letters)
