"""How a cell is run over a sequence. One file per backend."""
