"""What is faster here: two arms in one fresh process, by turns."""
