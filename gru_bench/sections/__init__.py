"""The parts of a report: each file turns results into markdown and figures, and answers one question."""
