"""What layers need of memory, to the byte: every cell on every backend, against the formula of our compiled code.

    python bench/memory.py [--cells rnn,lstm,gru] [--backends vendor,bptt] [--shapes TxBxH,...] [--device cuda]
                           [--dtype float64] [--json FILE]

Cells, backends, shapes and types as in ``bench/cells.py``, and float64. Nothing is timed, so a busy machine does no
harm.

Columns: bytes that the forward pass leaves a token for the backward pass, its outputs among them; how many numbers that
are for each of the H units; how many the formula says (``saved_values`` of ``backends/native/layer.py``). Then, in MiB,
the peak of a forward and backward pass and what it is made of at that moment (parameters, gradients, the rest), and the
peak of a forward pass without gradients less the parameters. The compiled code takes large pieces in eight sizes an
octave, so what is measured is up to an eighth above its formula; the states after the last step add 1 / T of a number
a unit, each, to all. The rest has the inputs in it, and in the backward pass the gradient that it starts from.
"""

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cells import BACKENDS, CELLS, chosen
from cells import DTYPES as TIMED
from cells_arms import Place, Shape
from torch import Tensor

from gru_bench.backends.base import Backend
from gru_bench.backends.native import layer as native
from gru_bench.backends.native.build import CannotBuild
from gru_bench.cells.base import Cell
from gru_bench.config.check import construct
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure.memory import kept_bytes
from gru_bench.measure.memory_split import split
from gru_bench.models.encoder import MakeCell

Row = dict[str, Any]

DTYPES = TIMED | {"float64": torch.float64}
SHAPES = ("100x32x128", "35x64x512")
MIB = 2**20
HEADING = (
    f"{'cell':<5} {'backend':<17} {'T x B x H':<12} {'B/token':>8} {'a unit':>7} {'formula':>7}  "
    f"{'MiB':>8} = {'weights':>8} + {'grads':>8} + {'rest':>8}  {'forward':>8}"
)


def row_of(cell_name: str, name: str, shape: Shape, place: Place) -> Row:
    """One cell on one backend at one shape; what cannot run there has a reason."""
    row: Row = {"cell": cell_name, "backend": name, "shape": shape.text}
    backend: Backend = construct(chosen("backend", name))
    make_cell: MakeCell = construct(chosen("cell", cell_name) | {"_partial_": True})
    try:
        encoder = shape.encoder(make_cell, backend, place)
    except Unsupported as error:
        return row | {"reason": str(error)}
    x_TBD, dh_TBH = (
        torch.randn(shape.T, shape.B, size).to(place.device, place.dtype) for size in (shape.D, encoder.output_size)
    )

    def train() -> None:
        encoder.zero_grad()
        encoder(x_TBD)[0].backward(dh_TBH)

    @torch.inference_mode()
    def infer() -> Tensor:
        return encoder(x_TBD)[0]

    train()  # the first compiles, plans and allocates
    infer()
    gc.collect()
    row["bytes_a_token"] = kept_bytes(lambda: encoder(x_TBD), place.device) / (shape.T * shape.B)
    row["values_a_unit"] = row["bytes_a_token"] / (shape.H * place.dtype.itemsize)
    if name == "bptt" and shape.in_grid:  # pieces of a sequence keep less
        formula = values_by_formula(make_cell(shape.D, shape.H, torch.Generator()), place.dtype)
        row |= {} if formula is None else {"by_formula": formula}
    trained = split(train, model=encoder, inputs=[x_TBD, dh_TBH])
    inferred = split(infer, model=encoder, inputs=[x_TBD])
    return row | {"training": vars(trained), "inference_activations": inferred.activations}


def values_by_formula(cell: Cell, dtype: torch.dtype) -> float | None:
    """Numbers a unit that the compiled code says it keeps; None where it does not run this."""
    try:
        return native.saved_values(cell, dtype) / cell.hidden_size if native.has_kernel(cell, dtype) else None
    except CannotBuild:
        return None


def line(row: Row) -> str:
    """One row of the table."""
    head = f"{row['cell']:<5} {row['backend']:<17} {row['shape']:<12}"
    if "reason" in row:
        return f"{head} {row['reason']}"
    formula = f"{row['by_formula']:7.2f}" if "by_formula" in row else f"{'-':>7}"
    peak, weights, gradients, rest = (
        row["training"][name] / MIB for name in ("peak", "parameters", "gradients", "activations")
    )
    return (
        f"{head} {row['bytes_a_token']:8.0f} {row['values_a_unit']:7.2f} {formula}  {peak:8.2f} = {weights:8.2f} + "
        f"{gradients:8.2f} + {rest:8.2f}  {row['inference_activations'] / MIB:8.2f}"
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell, backend, shape, device or type.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--backends", help="separated by blanks or, without settings, commas")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="TxB[xD]xH,... or TxBxDxHxL[b],...")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help=", ".join(DTYPES))
    parser.add_argument("--json", type=Path, help="write the rows there, one a line")
    options = parser.parse_args(arguments)
    if options.device not in BACKENDS or (options.device == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"--device={options.device}: not here; valid: cpu, and cuda where torch sees one")
    if options.dtype not in DTYPES:
        raise UserError(f"--dtype={options.dtype}: valid: {', '.join(DTYPES)}")
    names = options.backends or " ".join(BACKENDS[options.device])
    options.backends = list(dict.fromkeys(names.split() if ":" in names or " " in names else names.split(",")))
    options.cells = list(dict.fromkeys(options.cells.split(",")))
    options.shapes = [Shape.parse(text) for text in dict.fromkeys(options.shapes.split(","))]
    for group in ("cell", "backend"):
        for name in getattr(options, f"{group}s"):
            chosen(group, name)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print. Returns the exit code."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"memory: {error}", file=sys.stderr)
        return 2
    place = Place(torch.device(options.device), DTYPES[options.dtype], options.dtype)
    print(HEADING)
    rows = []
    for shape in options.shapes:
        for cell in options.cells:
            for name in options.backends:
                rows.append(row_of(cell, name, shape, place))
                print(line(rows[-1]), flush=True)
    if options.json is not None:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
