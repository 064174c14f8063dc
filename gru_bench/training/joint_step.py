"""One training step of several sessions at once: each ends with bitwise the weights that its own step would give."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from gru_bench.models.several import Several
from gru_bench.tasks.base import Batch, Counts
from gru_bench.training.session import Session

Took = tuple[Tensor, Counts, Any]
"""What :meth:`Session.took` is told."""


class JointStep:
    """Takes the steps of sessions whose trainers and models are alike.

    Args:
        sessions: Once each has begun or gone on: their optimizers' states are shared from here.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = sessions
        self.models = Several([session.model for session in sessions])
        self.groups = [session.optimizer.param_groups[0] for session in sessions]
        self.parameters = [cast(list[nn.Parameter], group["params"]) for group in self.groups]
        self.every = [parameter for parameters in self.parameters for parameter in parameters]
        self.clip_norm = sessions[0].trainer.clip_norm
        self.optimizer = sessions[0].trainer.optimizer_of(self.every)
        for session, parameters in zip(sessions, self.parameters, strict=True):
            session.optimizer._opt_called = True  # type: ignore[attr-defined]  # torch's mark that a step was taken
            for parameter in parameters:
                self.optimizer.state[parameter] = session.optimizer.state[parameter]  # one dictionary for both

    def take(self, batches: Sequence[Batch]) -> list[Took | Exception]:
        """Forward, backward, clipping and update of all.

        Args:
            batches: One for each session.

        Returns:
            What each session's step gave, or the error that its own loss raised.

        Raises:
            Exception: One that concerns all.
        """
        carries = [session.carry for session in self.sessions]
        ran = self.models.run([batch.inputs for batch in batches], [batch.lengths for batch in batches], carries)
        results: list[Took | Exception] = []
        losses: list[Tensor] = []
        for session, model, batch in zip(self.sessions, ran, batches, strict=True):
            try:
                loss, counts, carry = session.task.loss(cast(nn.Module, model), batch, session.carry)
            except Exception as error:
                results.append(error)
                continue
            losses.append(loss)
            results.append((loss.detach(), counts, carry))
        for parameter in self.every:
            parameter.grad = None
        torch.autograd.backward(losses)
        if self.clip_norm is not None:
            self.clip(self.clip_norm)
        self.update()
        return results

    def clip(self, max_norm: float) -> None:
        """:func:`gru_bench.training.trainer.clip` of each session's gradients."""
        gradients = [[p.grad for p in parameters if p.grad is not None] for parameters in self.parameters]
        norms = iter(torch._foreach_norm([gradient for own in gradients for gradient in own]))
        clipped = [own for own in gradients if own]
        each = [torch.linalg.vector_norm(torch.stack([next(norms) for _ in own])) for own in clipped]
        factors = max_norm / (torch.stack(each) + 1e-6)
        for own, factor, value in zip(clipped, factors.unbind(), factors.tolist(), strict=True):
            if not value >= 1:  # also of nan
                torch._foreach_mul_(own, factor)

    def update(self) -> None:
        """A step of the optimizer for all, or of each session's own where a schedule gives them other options."""
        options = [{name: value for name, value in group.items() if name != "params"} for group in self.groups]
        if any(own != options[0] for own in options):
            for session in self.sessions:
                session.optimizer.step()
            return
        self.optimizer.param_groups[0] |= options[0]  # a schedule may change more than the rate
        self.optimizer.step()
