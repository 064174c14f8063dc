"""A trained model as files: what is kept of it, and the same model again without its data."""
