"""The exit code of a verb that ran under Hydra, whose main function returns nothing."""

code = 0
