"""The recurrences beneath the cells, each against a loop in NumPy."""
