"""A trained model as files for other runtimes, each proved to be the same model before it is left on disk."""
