"""Recurrent cells: one time step each, equations as code. Import a cell from its own file."""
