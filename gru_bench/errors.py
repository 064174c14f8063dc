"""The two ways in which a user's input can be wrong. Anything else that is raised is a bug or a failed run."""


class UserError(Exception):
    """Bad input: the message states in a line or two what is wrong, where, and what would be valid.

    Commands print it without a traceback and exit with 2.
    """


class Unsupported(UserError):
    """A cell, device or dtype that the chosen backend does not run.

    Exit code 2 in a single run; in a sweep a row with the status ``unsupported``.
    """


class Diverged(RuntimeError):
    """The loss became NaN, infinite, or far larger than at the start."""


NO_MEMORY = ("can't allocate memory", "out of memory", "Resource temporarily unavailable")
"""How torch says so, of the CPU's memory, of a GPU's and of a new thread's; its exception is a ``RuntimeError``."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory for what a run asked for."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)
    )
