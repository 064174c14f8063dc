"""gru_bench: measure RNN, LSTM and GRU on your task and your machine, and say which to take."""

__version__ = "0.1.0"
