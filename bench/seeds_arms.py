"""Arms of ``bench/seeds.py``: what trains one seed, and what trains S seeds of one model as one problem.

Those whose recurrence is a loop in torch are in ``seeds_loops.py``.

Shape letters: S seeds; T steps, B sequences, D inputs, H units, V outputs of each. A seed's part of every tensor is one
contiguous piece, so a stack of parameters is (S, *shape) and a stack of batches (S, T, B, ...), padded at the end of T
where seeds drew batches of different lengths.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from gru_bench.backends.base import Stack
from gru_bench.backends.native import layer as native
from gru_bench.cells.base import Cell
from gru_bench.config.check import Node, check, conf_dir, construct
from gru_bench.models.language_model import LanguageModel
from gru_bench.run import build
from gru_bench.tasks.base import Batch, Task
from gru_bench.tasks.objectives.regress import Regress
from gru_bench.training.trainer import Trainer, detach


@dataclass
class Problem:
    """One task with one cell and hidden size, as the quick experiment trains it."""

    task_name: str
    cell: str
    hidden_size: int
    device: str = "cpu"
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        backend = "bptt" if self.device == "cpu" else "vendor"
        overrides = [f"task={self.task_name}", f"cell={self.cell}", f"backend={backend}", f"device={self.device}"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            settings, self.node = check(compose("train", [*overrides, f"hidden_size={self.hidden_size}"]))
        self.place = build.make_place(settings)
        self.task: Task = build.make_task(self.node)
        self.task.load()
        self.builder = build.ModelBuilder(self.node, self.task.sizes(), self.place)

    def model(self, seed: int, *, loop: bool = False) -> nn.Module:
        """The model with a seed's initial values, on the backend that a run takes or as a readable loop."""
        backend = {"_target_": "gru_bench.backends.loop.Loop"} if loop else self.node["backend"]
        return self.builder.build(build.make_cell(self.node), construct(backend), self.hidden_size, seed).train()

    def trainer(self) -> Trainer:
        """Clipping and Adam, as the task's yaml has them."""
        return cast(Trainer, construct(self.node["trainer"]))


class Feed:
    """A seed's training batches, pass after pass; ``fresh`` tells that a pass began with the batch just given."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.generator = torch.Generator().manual_seed(build.data_seed(seed))
        self.rest: Iterator[Batch] = iter(())
        self.fresh = False

    def next(self) -> Batch:
        batch = next(self.rest, None)
        self.fresh = batch is None
        if batch is None:
            self.rest = self.problem.task.batches("train", self.generator)
            batch = next(self.rest)
        return batch.to(self.problem.place.device, self.problem.place.parameters)


class Alone:
    """One seed, as ``gru-bench train`` steps it."""

    num_seeds = 1

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.task, self.trainer, self.model = problem.task, problem.trainer(), problem.model(seed)
        self.optimizer = self.trainer.make_optimizer(self.model)
        self.feed = Feed(problem, seed)
        self.carry: Any = None

    def step(self) -> None:
        batch = self.feed.next()
        carry = None if self.feed.fresh else self.carry
        _, _, self.carry = self.trainer.step(self.model, self.optimizer, self.task, batch, carry)

    def values(self, seed: int) -> dict[str, Tensor]:
        """The weights as they are, by name; the layer's as the cell names them."""
        return named(self.model)


def named(model: nn.Module) -> dict[str, Tensor]:
    """A model's parameters in its own order, in which the norm of their gradient is summed.

    ``embedding``, those of its only recurrent layer as the cell names them, and ``V`` and ``v`` of the output layer.
    """
    (stack,) = [module for module in model.modules() if isinstance(module, Stack)]
    found = dict(stack.cell_tensors()[0])
    embedding, output = getattr(model, "embedding", None), cast(nn.Linear, model.output)
    if embedding is not None:
        found["embedding"] = embedding.weight
    found |= {"V": output.weight, "v": output.bias}
    places = {parameter.data_ptr(): place for place, parameter in enumerate(model.parameters())}
    in_order = sorted(found, key=lambda name: places.get(found[name].data_ptr(), 0))
    return {name: found[name].detach() for name in in_order}


class Stacked:
    """S seeds as one problem: each step one forward and backward pass, one clipping and one Adam for all of them.

    The parts that this file writes out are those of the quick experiment's small models: one recurrent layer, an
    embedding or none, a linear output, nothing dropped.

    Args:
        problem: What to train.
        num_seeds: S: the seeds 0 to S - 1.
    """

    def __init__(self, problem: Problem, num_seeds: int) -> None:
        self.problem, self.num_seeds, self.trainer = problem, num_seeds, problem.trainer()
        self.feeds = [Feed(problem, seed) for seed in range(num_seeds)]
        self.models = [problem.model(seed) for seed in range(num_seeds)]
        self.language = isinstance(self.models[0], LanguageModel)
        self.make_parameters()
        self.optimizer = self.trainer.optimizer_of(self.optimized())
        self.state: tuple[Tensor, ...] | None = None
        self.rows_S1 = torch.arange(num_seeds, device=problem.place.device)[:, None]

    def make_parameters(self) -> None:
        """The stacked parameters by name, from the models'."""
        per_seed = [named(model) for model in self.models]
        self.parameters = {
            name: nn.Parameter(torch.stack([values[name] for values in per_seed])) for name in per_seed[0]
        }

    def values(self, seed: int) -> dict[str, Tensor]:
        return {name: parameter.detach()[seed] for name, parameter in self.parameters.items()}

    def step(self) -> None:
        batches = [feed.next() for feed in self.feeds]
        if self.feeds[0].fresh:  # all pass over equally many batches, or begin a pass once
            self.state = None
        loss_S = self.losses(batches)
        parameters = list(self.parameters.values())
        for parameter in parameters:
            parameter.grad = None
        loss_S.sum().backward()
        self.update(cast(float, self.trainer.clip_norm))

    def losses(self, batches: list[Batch]) -> Tensor:
        """Each seed's mean loss, (S,)."""
        steps = [batch.inputs.shape[0] for batch in batches]
        x_STBD = self.inputs(padded([batch.inputs for batch in batches]))
        h_STBH, final = self.layer(x_STBD, self.state if self.language else None, batches)
        if self.language:
            self.state = detach(final)
            h_SNH = h_STBH.flatten(1, 2)
        elif batches[0].lengths is None:
            h_SNH = h_STBH[self.rows_S1[:, 0], torch.tensor(steps, device=h_STBH.device) - 1]
        else:
            last_SB = torch.stack([cast(Tensor, batch.lengths) for batch in batches]).to(h_STBH.device) - 1
            h_SNH = h_STBH[self.rows_S1, last_SB, torch.arange(last_SB.shape[1], device=h_STBH.device)]
        out_SNV = self.output(h_SNH)
        targets_SN = torch.stack([batch.targets for batch in batches]).flatten(1)
        if isinstance(self.problem.task, Regress):
            return F.mse_loss(out_SNV[:, :, 0], targets_SN, reduction="none").mean(1)
        nats = F.cross_entropy(out_SNV.flatten(0, 1), targets_SN.flatten(), reduction="none")
        return nats.view_as(targets_SN).mean(1)

    def inputs(self, inputs: Tensor) -> Tensor:
        """What the layer reads: features, or the rows of each seed's own embedding."""
        if "embedding" not in self.parameters:
            return inputs
        table_SVE = self.parameters["embedding"]
        offset_S11 = (self.rows_S1 * table_SVE.shape[1])[:, :, None]
        return F.embedding(inputs + offset_S11, table_SVE.flatten(0, 1))

    def output(self, h_SNH: Tensor) -> Tensor:
        """The output layers, (S, N, V)."""
        return torch.baddbmm(self.parameters["v"][:, None], h_SNH, self.parameters["V"].mT)

    def optimized(self) -> list[nn.Parameter]:
        """What the optimizer is given."""
        return list(self.parameters.values())

    def update(self, max_norm: float) -> None:
        """Clip each seed's own gradient, and change the weights."""
        clip_each(list(self.parameters.values()), max_norm)
        self.optimizer.step()

    def layer(self, x_STBD: Tensor, state: Any, batches: list[Batch]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (S, T, B, H) and the last states (S, B, H)."""
        raise NotImplementedError


class Native(Stacked):
    """The compiled layer once for each seed, in one differentiable call; everything else is stacked."""

    def layer(self, x_STBD: Tensor, state: Any, batches: list[Batch]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (stack,) = [module for module in self.models[0].modules() if isinstance(module, Stack)]
        cell = cast(Cell, cast(nn.ModuleList, stack.cells)[0])
        compiled = native.kernel(cell.name, x_STBD.dtype)
        p, num_states = self.parameters, len(cell.states)
        h0, c0 = (*(state or ()), None, None)[:2]
        steps = [(batch.inputs.shape[0], ragged(batch)) for batch in batches]
        h_STBH, *final = _NativeSeeds.apply(
            compiled, num_states, steps, x_STBD, p["W"], p["b"], p["U"], p.get("b_hn"), h0, c0
        )
        return h_STBH, tuple(final)


class Same(Native):
    """The same with the operations of a run alone wherever a stacked one adds in another order."""

    def output(self, h_SNH: Tensor) -> Tensor:
        return _LinearSeeds.apply(h_SNH, self.parameters["V"], self.parameters["v"])

    def optimized(self) -> list[nn.Parameter]:
        # Adam's vectors and what is left at a tensor's end are rounded differently, so each seed's part is its own
        self.parts = [[nn.Parameter(part) for part in p.detach().unbind(0)] for p in self.parameters.values()]
        return [part for parts in self.parts for part in parts]

    def update(self, max_norm: float) -> None:
        per_parameter = [cast(Tensor, parameter.grad).unbind(0) for parameter in self.parameters.values()]
        for grads in zip(*per_parameter, strict=True):
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
            if not bool(max_norm / (norm + 1e-6) >= 1):
                torch._foreach_mul_(grads, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        for parts, grads in zip(self.parts, per_parameter, strict=True):
            for part, grad in zip(parts, grads, strict=True):
                part.grad = grad
        self.optimizer.step()


class _LinearSeeds(torch.autograd.Function):
    """Each seed's linear layer as ``F.linear`` multiplies it: a batched product adds in another order."""

    @staticmethod
    def forward(ctx: Any, h_SNH: Tensor, V_SVH: Tensor, v_SV: Tensor) -> Tensor:
        ctx.save_for_backward(h_SNH, V_SVH)
        out_SNV = h_SNH.new_empty(*h_SNH.shape[:2], V_SVH.shape[1])
        for out, h, V, v in zip(out_SNV.unbind(0), h_SNH.unbind(0), V_SVH.unbind(0), v_SV.unbind(0), strict=True):
            torch.addmm(v, h, V.t(), out=out)
        return out_SNV

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        h_SNH, V_SVH = ctx.saved_tensors
        (grad_SNV,) = grads
        dh_SNH, dV_SVH = torch.empty_like(h_SNH), torch.empty_like(V_SVH)
        for g, h, V, dh, dV in zip(grad_SNV, h_SNH, V_SVH, dh_SNH, dV_SVH, strict=True):
            torch.mm(g, V, out=dh)
            torch.mm(g.t(), h, out=dV)
        return dh_SNH, dV_SVH, grad_SNV.sum(1)


NAMES = ("x", "W", "b", "U", "b_apart", "h0", "c0")


Steps = list[tuple[int, Tensor | None]]
"""Of each seed: T of its batch, and the sequences' lengths where some are shorter."""


def ragged(batch: Batch) -> Tensor | None:
    """The lengths of a batch's sequences; None where all have T steps, as ``Encoder`` has it."""
    if batch.lengths is None or bool((batch.lengths == batch.inputs.shape[0]).all()):
        return None
    return batch.lengths.to(torch.int64).contiguous()


def each_layer(steps: Steps, tensors: dict[str, Tensor | None], B: int, D: int, H: int) -> list[Any]:
    """One description of a layer's memory for each seed: its part of every stacked tensor."""
    layers = [native._Layer(T, B, D, H, 1) for T, _ in steps]
    for layer, (_, lengths_B) in zip(layers, steps, strict=True):
        layer.lengths = None if lengths_B is None else lengths_B.data_ptr()
    for name, tensor in tensors.items():
        if tensor is not None and tensor.numel():
            start, size = tensor.data_ptr(), tensor.stride(0) * tensor.element_size()
            for seed, layer in enumerate(layers):
                setattr(layer, name, start + seed * size)
    return layers


def run_each(compiled: native.Kernel, way: str, layers: list[Any], like: Tensor) -> None:
    """The compiled pass of each seed, one after the other in the same scratch memory."""
    size = max(compiled._scratch[way](ctypes.byref(layer)) for layer in layers)
    scratch = native.workspace.empty((size,), like.dtype)
    function = getattr(compiled, way)
    for layer in layers:
        layer.scratch = scratch.data_ptr()
        if function(ctypes.byref(layer)):
            raise MemoryError(way)


class _NativeSeeds(torch.autograd.Function):
    """``native.layer._Differentiable`` for stacked seeds."""

    @staticmethod
    def forward(ctx: Any, compiled: native.Kernel, num_states: int, steps: Steps, *tensors: Tensor | None) -> Any:
        x, U = cast(Tensor, tensors[0]), cast(Tensor, tensors[3])
        (S, T, B, D), H = x.shape, U.shape[2]
        h = native.workspace.empty((S, T, B, H), x.dtype)
        final = tuple(x.new_empty(S, B, H) for _ in range(num_states))
        saved = native.workspace.empty((S, T * B, compiled.saved * H), x.dtype)
        c = native.workspace.empty((S, T * B, H if num_states > 1 else 0), x.dtype)
        given = dict(zip(NAMES, tensors, strict=True)) | {"h": h, "h_last": final[0], "saved": saved}
        if num_states > 1:
            given |= {"c": c, "c_last": final[1]}
        run_each(compiled, "forward", each_layer(steps, given, B, D, H), x)
        ctx.compiled, ctx.num_states, ctx.steps = compiled, num_states, steps
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(saved, c, h, *tensors)
        return h, *final

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        saved, c, h, *tensors = ctx.saved_tensors
        x, W, b, U, b_apart, *_ = tensors
        (S, _, B, D), H = x.shape, U.shape[2]
        given = dict(zip(NAMES, tensors, strict=True)) | {"h": h, "c": c, "saved": saved}
        given |= {
            name: None if grad is None else grad.contiguous()
            for name, grad in zip(("dh", "dh_last", "dc_last"), grads, strict=False)
        }
        found: dict[str, Tensor | None] = {
            # zeros: past the end of a shorter batch nobody writes
            "dx": torch.zeros_like(x) if ctx.needs_input_grad[3] else None,
            "dW": torch.empty_like(W),
            "db": torch.empty_like(b),
            "dU": torch.empty_like(U),
            "db_apart": None if b_apart is None else torch.empty_like(b_apart),
            "dh0": x.new_empty(S, B, H),
            "dc0": x.new_empty(S, B, H) if ctx.num_states > 1 else None,
        }
        run_each(ctx.compiled, "backward", each_layer(ctx.steps, given | found, B, D, H), x)
        wanted = zip(found.values(), ctx.needs_input_grad[3:], strict=True)
        return None, None, None, *(grad if wants else None for grad, wants in wanted)


def clip_each(parameters: list[nn.Parameter], max_norm: float) -> None:
    """``clip_grad_norm_`` of each seed's own gradient."""
    grads = [cast(Tensor, parameter.grad).flatten(1) for parameter in parameters]
    norm_S = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g, dim=1) for g in grads]), dim=0)
    factor_S = max_norm / (norm_S + 1e-6)
    if norm_S.device.type != "cpu" or bool((factor_S < 1).any()):
        factor_S1 = factor_S.clamp(max=1.0)[:, None]
        for grad in grads:
            grad.mul_(factor_S1)


def padded(pieces: list[Tensor]) -> Tensor:
    """The seeds' inputs (T, B, ...) as one (S, T, B, ...), zeros after the shorter ones."""
    longest = max(piece.shape[0] for piece in pieces)
    if all(piece.shape[0] == longest for piece in pieces):
        return torch.stack(pieces)
    whole = pieces[0].new_zeros(len(pieces), longest, *pieces[0].shape[1:])
    for into, piece in zip(whole, pieces, strict=True):
        into[: piece.shape[0]] = piece
    return whole


def worst_difference(problem: Problem, arm: Stacked | Alone, steps: int) -> float:
    """Largest difference of a weight from that of the same seed alone, after so many steps; 0 is bit for bit.

    Of at most three seeds, the last among them.
    """
    worst = 0.0
    for _ in range(steps):
        arm.step()
    for seed in {0, arm.num_seeds // 2, arm.num_seeds - 1}:
        alone = Alone(problem, seed)
        for _ in range(steps):
            alone.step()
        other = arm.values(seed)
        worst = max(worst, *(float((values - other[name]).abs().max()) for name, values in alone.values(seed).items()))
    return worst
