"""``cell=lstm_article``: the equations of ``lstm``; only the initial forget-gate bias differs."""

from equations.lstm import step as step
