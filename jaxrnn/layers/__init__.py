"""Transformations of sequences: functions that take and return `Layer`."""
