"""One run, from a composed config to its row in the store; and the sweep that it may belong to."""
