"""The problems that cells are compared on. One file per task; import a task from its own file."""
