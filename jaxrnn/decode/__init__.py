"""Writes sequences with a model, one token after another: drawn, the likeliest, or several at once."""
