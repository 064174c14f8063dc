"""``python -m gru_bench`` is ``gru-bench``."""

from gru_bench.commands import main

main()
