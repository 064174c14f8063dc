"""Arithmetic of a model a token: how often it multiplies by a weight."""

from torch import nn

from gru_bench.cells.base import Cell


def flops_a_token(model: nn.Module) -> int:
    """Operations of the forward pass for one token, two for each multiply-add by a weight; training takes three times.

    Each matrix is applied once a token, of a model with a source and a target once for a token of each. What a model
    names in ``once_a_sequence`` is left out, as are the sums that attention makes over a source, whose length they
    depend on, everything elementwise, and embeddings, which multiply nothing. A tied output layer is a product like
    any other.

    Args:
        model: One whose layers hold their cells, as those of ``backend=loop`` do.
    """
    return 2 * sum(_products(module) for module in _once_a_token(model))


def _products(module: nn.Module) -> int:
    if isinstance(module, Cell):
        return module.num_products
    if isinstance(module, nn.Embedding):
        return 0
    return sum(parameter.numel() for parameter in module.parameters(recurse=False) if parameter.dim() > 1)


def _once_a_token(model: nn.Module) -> list[nn.Module]:
    names = getattr(model, "once_a_sequence", ())
    left_out = {part for name in names for part in model.get_submodule(name).modules()}
    return [module for module in model.modules() if module not in left_out]
