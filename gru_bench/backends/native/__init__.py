"""Compiled code for the hot cells: C++ sources, what compiles and loads them, and what calls them."""
