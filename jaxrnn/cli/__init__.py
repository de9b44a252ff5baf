"""`python -m jaxrnn` trains a character model on a text, and compares it with n-gram baselines."""
