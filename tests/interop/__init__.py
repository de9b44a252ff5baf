"""Weights, states and numbers of other frameworks, from golden files or from the framework itself."""
