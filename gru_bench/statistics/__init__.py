"""Statistics as pure functions: intervals, tests, verdicts. They know nothing of runs or stores."""
