"""The table of laws names tests that exist, and every cell is in a family of which some get all of them."""

from importlib import import_module

import jaxrnn
from laws.cells import CELLS, DISTINCT
from laws.families import FAMILIES, REPRESENTATIVES, family
from laws.table import ALL, ENGINES, LAWS, OF_ENGINES


def test_every_row_is_a_test():
    for file, laws in LAWS.items():
        assert {f"test_{law}" for law in laws} <= vars(import_module(f"laws.{file}")).keys()
    assert {law for laws in LAWS.values() for law in laws} >= ALL | OF_ENGINES
    assert set(ENGINES) <= set(REPRESENTATIVES)


def test_every_cell_is_in_a_family():
    """A cell that goes another way than those before gets a family here, or the default tests would pass it by."""
    assert jaxrnn.cells.CONSTRUCTORS.keys() <= CELLS.keys()
    strangers = {name: family(name) for name in CELLS if family(name) not in FAMILIES}
    assert strangers == {}, "name these families in FAMILIES, each with the cells that get every law"
    assert all(family(name) == of for of, names in FAMILIES.items() for name in names)
    assert all(FAMILIES.values())
    assert DISTINCT.keys() <= set(REPRESENTATIVES)
