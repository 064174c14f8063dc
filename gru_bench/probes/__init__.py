"""Measurements on a model: how far back it can see, and by which means. One file a probe."""
