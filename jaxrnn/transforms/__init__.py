"""Functions that take a `Cell` and return one."""
