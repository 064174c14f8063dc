"""``cell=gru_chrono``: the equations of ``gru``; only the initial bias of the update gate differs."""

from equations.gru import step as step
