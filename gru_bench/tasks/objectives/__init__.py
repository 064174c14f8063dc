"""What can be asked of examples: loss, score, trivial guess and metrics, each once."""
