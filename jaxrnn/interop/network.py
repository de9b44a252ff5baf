"""Builds recurrent networks from lists of levels, each of one direction or two, as every framework has."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks, trees
from jaxrnn.interop import names
from jaxrnn.layers.bidirectional import Merge, bidirectional
from jaxrnn.layers.rnn import as_layer, rnn
from jaxrnn.layers.stack import stack
from jaxrnn.types import Array, Cell, Layer, Params
from jaxrnn.unroll import unroll

Direction = tuple[Cell, Params]
Built = tuple[Layer, Params]


def build(levels: list[list[Direction]], *, merge: Merge = "concat") -> Built:
    """Returns the layer of these levels, forward direction first, and its parameters."""
    layers, weights = [], []
    for level in levels:
        cells, params = zip(*level, strict=True)
        two = len(level) == 2
        layers.append(bidirectional(*cells, merge=merge) if two else rnn(*cells))
        weights.append(dict(zip(("forward", "backward"), params, strict=True)) if two else params[0])
    if len(levels) == 1:
        return layers[0], weights[0]
    return stack(*layers), {f"layer_{i}": tree for i, tree in enumerate(weights)}


def level_of(where: str, params: Any) -> list[Params]:
    """Returns the parameters of the only level, for a framework whose layers are one level each."""
    levels = levels_of(where, params)
    if len(levels) != 1:
        raise ValueError(f"{where}: params have {len(levels)} levels, expected 1; give them one by one")
    return levels[0]


def levels_of(where: str, params: Any, path: str = "params") -> list[list[Params]]:
    """Returns the parameters of each cell, level by level, forward direction first, from the tree alone."""
    if isinstance(params, Mapping) and {"kernel", "recurrent_kernel"} <= params.keys():
        return [[{name: np.asarray(leaf) for name, leaf in params.items()}]]
    if isinstance(params, Mapping) and params.keys() == {"forward", "backward"}:
        both = [levels_of(where, params[way], f"{path}[{way!r}]") for way in ("forward", "backward")]
        if all(len(levels) == len(levels[0]) == 1 for levels in both):
            return [[levels[0][0] for levels in both]]
    elif isinstance(params, Mapping) and params and all(re.fullmatch(r"layer_\d+", name) for name in params):
        ordered = sorted(params, key=lambda name: int(name.removeprefix("layer_")))
        return [level for name in ordered for level in levels_of(where, params[name], f"{path}[{name!r}]")]
    found = sorted(params) if isinstance(params, Mapping) else type(params).__name__
    raise ValueError(f"{where}: {path} has {found}, expected those of a cell, of two, or of a stack")


def verified(
    where: str,
    layer: Any,
    params: Params,
    convert: Callable[[Params], Any],
    *readers: Callable[[Any], Built],
    dilation: int = 1,
) -> Any:
    """Returns `convert(params)` after checking that `layer` computes the same as the framework would from it.

    Parameters do not show the activation of a layer. So random parameters are converted and read back: the layer of one
    of `readers` must give the same outputs. Zero biases stay zero, since a framework may not have them. Images are a
    little larger than a window of this dilation.
    """
    layer = as_layer(where, layer, name="layer")
    first = levels_of(where, params)[0][0]["kernel"]
    rng = np.random.default_rng(0)
    space = [4 + dilation * (size - 1) for size in first.shape[:-3]]
    xs = rng.standard_normal((3, *space, first.shape[-3])).astype(np.float32)
    trees.check_params(where, layer, params, jnp.asarray(xs), f"layer and inputs of {xs.shape[-1]} features")
    drawn = jax.tree_util.tree_map_with_path(lambda path, leaf: _draw(rng, path[-1].key, np.asarray(leaf)), params)
    weights = convert(drawn)
    try:
        ours = _outputs(layer, drawn, xs)
    except checks.ShapeError:  # the layer's windows are larger than expected
        ours = None
    theirs = []
    for reader in readers:
        try:
            theirs.append(_outputs(*reader(weights), xs))
        except ValueError as error:
            raise ValueError(f"{where}: there is no such module: {error}") from None
    if not any(_close(ours, ys) for ys in theirs):
        other = where.removeprefix("to_")
        raise ValueError(
            f"{where}: layer computes something else than {other} would with these weights, expected what from_{other} "
            "makes; another activation, merge, reset or padding, or a reversed layer, has no place in weights"
        )
    return names.owned(convert(params))


def _draw(rng: np.random.Generator, name: str, leaf: np.ndarray) -> np.ndarray:
    """Draws a parameter of a size that saturates no gate, whatever the width."""
    fan_in = math.prod(leaf.shape[:-2]) if leaf.ndim > 2 else leaf.shape[0]
    scale = 0.5 * leaf.any() if "bias" in name else fan_in**-0.5
    return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)


def _outputs(layer: Layer, params: Params, xs: np.ndarray) -> Any:
    # Without `jit` three small steps are faster than compiling two programs for them.
    with jax.disable_jit(), jax.default_matmul_precision("highest"):
        return unroll(layer, params, jnp.asarray(xs))[1]


def _close(ours: Any, theirs: Array) -> bool:
    """Returns whether outputs are equal in the precision in which the layer computes."""
    if not isinstance(ours, Array) or ours.shape != theirs.shape:
        return False
    return np.allclose(ours, theirs, rtol=0, atol=1e-4 if ours.dtype.itemsize >= 4 else 2e-2)
