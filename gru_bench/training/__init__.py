"""Fit and evaluate: the one training loop that all cells share."""
