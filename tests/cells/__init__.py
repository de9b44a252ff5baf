"""Cells against their equations, written once more in NumPy, and what each cell promises besides."""
