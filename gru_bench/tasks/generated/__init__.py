"""Tasks whose data a generator makes."""
