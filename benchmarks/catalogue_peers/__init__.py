"""Packages with catalogues of recurrent cells of their own, whose layers are timed beside ours.

One small file each, with `names()`, which maps our names of cells to the package's, and `peer(name, shape, seed)`, the
layer of one cell with its data. Names are matched without case and underscores; only names that differ are listed.
"""

from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

PACKAGES = ("torchrecurrent", "memax")
INSTALL = "pip install --no-deps torchrecurrent==0.2.5 brings it beside torch"
REMEDIES = {"torchrecurrent": INSTALL}


class Peer(NamedTuple):
    """A layer of a package.

    Attributes:
      name: the package's.
      layer: the name of the layer there.
      training: computes a weighted sum of the outputs with its gradients in parameters and inputs, and waits for them.
      parameters: how many it has.
      checked: what it was compared with before: "values" or, where no weights can be copied, "counts".
      note: what a reader has to know.
    """

    name: str
    layer: str
    training: Callable[[], Any]
    parameters: int
    checked: str
    note: str = ""


def matched(ours: Iterable[str], theirs: Collection[str], renamed: dict[str, str]) -> dict[str, str]:
    """The names of a package's layers by ours: those that are renamed, and those that are spelt alike."""
    spelt = {name.lower(): name for name in theirs if name not in renamed.values()}
    found = {name: renamed.get(name, spelt.get(name.replace("_", ""))) for name in ours}
    return {name: layer for name, layer in found.items() if layer in set(theirs)}


def installed(skipped: dict[str, str]) -> list[ModuleType]:
    """The modules of all packages that are installed; notes in `skipped` which one is missing."""
    found = []
    for name in PACKAGES:
        try:
            found.append(import_module(f"benchmarks.catalogue_peers.{name}"))
        except ModuleNotFoundError as error:
            if str(error.name).startswith("benchmarks"):
                raise
            remedy = REMEDIES.get(name, 'pip install -e ".[bench]" brings it')
            skipped[name] = f"{error.name} is not installed; {remedy}"
    return found
