"""What ``gru-bench answer`` decides and says: pure functions; the work itself is done by the other commands."""
