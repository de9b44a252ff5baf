"""What `python -m jaxrnn` does: a character model trained on a text, beside n-gram baselines."""
