"""``cell=lstm_chrono``: the equations of ``lstm``; only the initial biases of two gates differ."""

from equations.lstm import step as step
