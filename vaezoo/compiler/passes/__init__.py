"""Rewritings of a graph before it is compiled, a file each."""
