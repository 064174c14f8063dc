"""What a run costs and where it ran: time, memory, threads, the kernel, the environment."""

import os

# read when torch's profiler first runs: it would print two lines each time
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
