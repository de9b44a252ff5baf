"""The table of laws names tests that exist."""

from importlib import import_module

from laws.table import LAWS


def test_every_row_is_a_test():
    for file, laws in LAWS.items():
        assert {f"test_{law}" for law in laws} <= vars(import_module(f"laws.{file}")).keys()
