"""Cells made of other cells: functions that take a `Cell` and return one."""
