"""Layers, each against what its parts are by hand, and laws that all of them keep."""
