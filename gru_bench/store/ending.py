"""How a run ended: MLflow's status, ours, and the reason."""

from gru_bench.errors import Unsupported, UserError, is_out_of_memory
from gru_bench.store.connect import one_line
from gru_bench.store.signals import SIGTERM_EXIT_CODE, Leave


def how_it_ended(error: BaseException | None) -> tuple[str, str, str]:
    """MLflow's status, our status, and the reason in a line."""
    if error is None:
        return "FINISHED", "finished", ""
    if isinstance(error, KeyboardInterrupt):
        return "KILLED", "killed", one_line(error) if error.args else "interrupted"
    if isinstance(error, SystemExit):
        if isinstance(error, Leave):
            return "KILLED", "killed", error.reason
        return "KILLED", "killed", "SIGTERM" if error.code == SIGTERM_EXIT_CODE else f"SystemExit: {error.code}"
    if isinstance(error, Unsupported):
        return "FAILED", "unsupported", one_line(error)
    reason = one_line(error)
    if is_out_of_memory(error):
        return "FAILED", "failed", f"out of memory: {reason}"
    return "FAILED", "failed", reason if isinstance(error, UserError) else f"{type(error).__name__}: {reason}"
