"""Which runs are compared with which, and what each comparison shows."""
