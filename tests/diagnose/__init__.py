"""Diagnostics, against gradients, singular values and exponents that are known in another way."""
