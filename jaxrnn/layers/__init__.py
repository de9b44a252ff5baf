"""Transformations of sequences: records of pure functions that take and return `Layer`."""
