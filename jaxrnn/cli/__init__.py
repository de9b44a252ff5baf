"""`python -m jaxrnn` trains a character model on a text, lets it write, and scores texts with it; `load` reads it."""

from jaxrnn.cli.load import load

__all__ = ["load"]
