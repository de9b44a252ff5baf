"""One suite of laws for every cell under every method. A new cell is one entry in `cells.py`."""
