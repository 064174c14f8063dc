"""Arms of ``bench/seeds.py`` whose recurrence is a loop over steps in torch: they run on every device."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from seeds_arms import Stacked, named
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from gru_bench.tasks.base import Batch
from gru_bench.tasks.objectives.regress import Regress
from gru_bench.training.trainer import detach


class Baddbmm(Stacked):
    """The recurrence as a loop over steps with one batched product for all seeds; autograd goes back."""

    def layer(self, x_STBD: Tensor, state: Any, batches: list[Batch]) -> tuple[Tensor, tuple[Tensor, ...]]:
        p = self.parameters
        (S, T, B, _), H = x_STBD.shape, p["U"].shape[2]
        gx_STBG = torch.baddbmm(p["b"][:, None], x_STBD.flatten(1, 2), p["W"].mT).view(S, T, B, -1)
        U_SHG, is_lstm = p["U"].mT, self.problem.cell == "lstm"
        state = state or tuple(x_STBD.new_zeros(S, B, H) for _ in range(1 + is_lstm))
        outputs = []
        for gx_SBG in gx_STBG.unbind(1):
            state = lstm_step(gx_SBG, state, U_SHG) if is_lstm else gru_step(gx_SBG, state, U_SHG, p["b_hn"][:, None])
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state


def lstm_step(gx_SBG: Tensor, state: tuple[Tensor, ...], U_SHG: Tensor) -> tuple[Tensor, ...]:
    """As ``LSTM.save``."""
    h, c = state
    i, f, g, o = torch.baddbmm(gx_SBG, h, U_SHG).chunk(4, dim=2)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(gx_SBG: Tensor, state: tuple[Tensor, ...], U_SHG: Tensor, b_hn: Tensor) -> tuple[Tensor, ...]:
    """As ``GRU.save``."""
    (h,) = state
    H = h.shape[2]
    gh_SBG = torch.bmm(h, U_SHG)
    r, z = torch.sigmoid(gx_SBG[:, :, : 2 * H] + gh_SBG[:, :, : 2 * H]).chunk(2, dim=2)
    n = torch.tanh(gx_SBG[:, :, 2 * H :] + r * (gh_SBG[:, :, 2 * H :] + b_hn))
    return (torch.lerp(n, h, z),)


class Vmap(Stacked):
    """``torch.vmap`` over ``functional_call`` of the whole model on ``backend=loop``: nothing is written by hand."""

    def make_parameters(self) -> None:
        models = [self.problem.model(seed, loop=True) for seed in range(self.num_seeds)]
        stacked, self.buffers = stack_module_state(models)
        self.parameters = cast(dict[str, nn.Parameter], stacked)
        self.skeleton = models[0]

    def values(self, seed: int) -> dict[str, Tensor]:
        model = self.problem.model(seed, loop=True)
        model.load_state_dict({name: values[seed] for name, values in self.parameters.items()}, strict=False)
        return named(model)

    def losses(self, batches: list[Batch]) -> Tensor:
        inputs, targets = (torch.stack([getattr(batch, name) for batch in batches]) for name in ("inputs", "targets"))

        def loss(parameters: Any, buffers: Any, inputs: Tensor, targets: Tensor, state: Any) -> Any:
            called = functional_call(
                self.skeleton, (parameters, buffers), (inputs, *((state,) if self.language else ()))
            )
            if self.language:
                out_TBV, state = called
                return F.cross_entropy(out_TBV.flatten(0, 1), targets.flatten()), state
            if isinstance(self.problem.task, Regress):
                return F.mse_loss(called.squeeze(1), targets), None
            return F.cross_entropy(called, targets), None

        in_dims = (0, 0, 0, 0, None if self.state is None else 0)
        out_dims: Any = (0, 0 if self.language else None)
        loss_S, state = torch.vmap(loss, in_dims, out_dims)(self.parameters, self.buffers, inputs, targets, self.state)
        self.state = detach(state)
        return loss_S
