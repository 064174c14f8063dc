"""The dimensions that stay open where torch traces a cell or a model, and the sizes that it is traced with."""

from torch.export import Dim

BATCH, TIME = Dim("batch"), Dim("time")
TRACED_BATCH, TRACED_TIME = 3, 4
"""Neither is 1, which torch would take for a constant."""
