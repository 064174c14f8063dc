"""gru_bench: measure RNN, LSTM and GRU on your task and your machine, and say which to take."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``gru_bench.load``, which brings torch and the harness: imported only when it is asked for."""
    if name == "load":
        from gru_bench.kept.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
