"""The problems that cells are compared on. One file a task; import a task from its own file."""
