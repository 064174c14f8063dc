"""``cell=irnn``: the equations of ``rnn_relu``; only the initial values differ."""

from equations.rnn_relu import step as step
