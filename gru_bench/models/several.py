"""Several models of one kind and size at once: their recurrent layers in one call, the rest of each as it is alone."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from gru_bench.backends.bptt import BPTTStack
from gru_bench.backends.native.several import SeveralLayers
from gru_bench.cells.base import Cell, State
from gru_bench.models.classifier import Classifier
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.tagger import Tagger

MOST_UNITS = 64
"""Hidden units up to which it pays; of larger layers the arithmetic takes the time (``bench/seeds.py``)."""

Model = Classifier | Tagger | LanguageModel


def refusal(model: nn.Module) -> str | None:
    """Why models of this kind cannot take their steps together, in one line; None if they can."""
    if type(model) not in (Classifier, Tagger, LanguageModel):
        return f"model {type(model).__name__}: only Classifier, Tagger and LanguageModel can"
    encoder = cast(Model, model).encoder
    stack = encoder.stacks[0]
    if encoder.bidirectional or encoder.num_layers > 1:
        return "more than one layer or direction"
    if not isinstance(stack, BPTTStack) or not stack.compiled:
        return "the recurrent layer does not run by native code (backend=bptt on the CPU)"
    if stack.chunk is not None:
        return f"backend.chunk={stack.chunk} computes pieces of the sequence again"
    if any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules()):
        return "dropout: its random numbers would be others than alone"
    if encoder.hidden_size > MOST_UNITS:
        return f"hidden_size={encoder.hidden_size}: it does not pay above {MOST_UNITS}"
    kinds = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
    if kinds not in ({("cpu", torch.float32)}, {("cpu", torch.float64)}):
        return "parameters are not all in float32 or float64 on the CPU"
    return None


def alike(models: Sequence[nn.Module]) -> bool:
    """Whether all are of one kind, with the same cell and parameters of the same shapes."""

    def kind(model: nn.Module) -> object:
        modules = [(name, type(module)) for name, module in model.named_modules()]
        return modules, [(name, p.shape, p.dtype, p.requires_grad) for name, p in model.named_parameters()]

    return all(kind(model) == kind(models[0]) for model in models)


class Several:
    """Models for which :func:`refusal` has nothing to say, all :func:`alike`.

    Args:
        models: Their parameters keep their memory as long as this is used.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = [cast(Model, model) for model in models]
        stacks = [cast(BPTTStack, model.encoder.stacks[0]) for model in self.models]
        self.layers = SeveralLayers([cast(Cell, stack.cells[0]) for stack in stacks])

    def run(
        self, inputs: Sequence[Tensor], lengths: Sequence[Tensor | None], states: Sequence[State | None]
    ) -> list["HasRun"]:
        """Run the recurrent layers of all.

        Args:
            inputs: Of each model.
            lengths: (B,) of each, or None where nothing is padded.
            states: The state (1, B, H) that each goes on from, or None for zeros.
        """
        x = [model.before(one) for model, one in zip(self.models, inputs, strict=True)]
        # as Encoder has it: the whole-sequence path where nothing is padded
        real = [
            None if one is None or bool((one == x_TBD.shape[0]).all()) else one
            for one, x_TBD in zip(lengths, x, strict=True)
        ]
        starts = [None if state is None else tuple(s_1BH[0] for s_1BH in state) for state in states]
        outputs, finals = self.layers.run(x, starts, real)
        return [HasRun(*one) for one in zip(self.models, outputs, finals, strict=True)]


class HasRun:
    """A model whose recurrent layers have run: a task's loss asks it as it asks the model, with the same inputs."""

    def __init__(self, model: Model, h_TBH: Tensor, final: State) -> None:
        self.model, self.h_TBH, self.final = model, h_TBH, final

    def __call__(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores, of a classifier or a tagger."""
        return self.model.after(self.h_TBH, lengths)

    def features(self, tokens_TB: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the output layer is fed, of a language model, and the last state (1, B, H)."""
        return self.model.after(self.h_TBH), tuple(s_BH[None] for s_BH in self.final)

    @property
    def output(self) -> nn.Module:
        """The output layer of a language model."""
        return cast(LanguageModel, self.model).output
