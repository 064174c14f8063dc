"""``python -m gru_bench`` is ``gru-bench``."""

from gru_bench.commands.cli import main

main()
