"""The modules for Linen and NNX."""
