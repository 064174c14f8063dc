"""Where the yaml lies, the type check of a composed config, the keys of a run, and learning rates by cell."""
