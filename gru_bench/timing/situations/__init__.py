"""In which situation something is timed. One file per situation."""
