"""Records, parameters and carries, checked against what a cell or a layer takes and makes."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.types import Carry, Cell, Layer, Params


def check_cell(where: str, cell: Any) -> None:
    if isinstance(cell, Layer):
        raise ValueError(
            f"{where}: cell is a Layer, expected a Cell; a layer runs itself: layer.apply(params, carry, xs)"
        )
    if not isinstance(cell, Cell):
        raise ValueError(f"{where}: cell is {cell!r}, expected a Cell such as jaxrnn.lstm(128)")


def check_parameter(where: str, cell: Any, name: str) -> None:
    """A cell, and one that has a parameter of this name."""
    check_cell(where, cell)
    if name not in (found := _params_shapes(cell.init, 2)):
        raise ValueError(f"{where}: cell has parameters {sorted(found)}, expected one named {name!r}")


def check_layers(where: str, layers: Any) -> None:
    """At least one layer, and nothing else."""
    if not layers:
        raise ValueError(f"{where}: no layers, expected one or more")
    for i, layer in enumerate(layers):
        if isinstance(layer, Cell):
            raise ValueError(f"{where}: layer {i} is a Cell, expected a Layer; wrap it: rnn(cell)")
        if not isinstance(layer, Layer):
            raise ValueError(f"{where}: layer {i} is {layer!r}, expected a Layer such as rnn(lstm(128))")


def check_count(where: str, name: str, values: Any, count: int) -> None:
    """A tuple with one entry a layer."""
    if not isinstance(values, tuple | list) or len(values) != count:
        found = f"{len(values)} entries" if isinstance(values, tuple | list) else f"a {type(values).__name__}"
        remedy = f"flax.serialization.from_state_dict(layer.init_carry(params, batch_shape), {name}) rebuilds one"
        raise checks.ShapeError(f"{where}: {name} has {found}, expected a tuple of {count}, one a layer; {remedy}")


def check_tree(where: str, name: str, tree: Any, expected: Any, because: str, *, may_be_complex: bool = False) -> None:
    """`tree` against the structure and shapes of `expected`, leaf by leaf; complex at most where that is."""
    found, wanted = _structure(tree), _structure(expected)
    structure: Any = jax.tree.structure(expected)
    if jax.tree.structure(tree) != structure:
        missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        wrong = [f"lacks {missing}"] * bool(missing) + [f"has unknown {unknown}"] * bool(unknown)
        said = f"{' and '.join(wrong) or f'is {checks.a_kind(tree)}'}, expected {_spelled(expected)}"
        raise checks.ShapeError(f"{where}: {name} {said} from {because}{_rebuilt(name, tree, expected)}")
    for path, leaf in found.items():
        checks.check_shape(where, name + path, leaf, wanted[path].shape, because)
        as_complex = may_be_complex and jnp.issubdtype(wanted[path].dtype, jnp.complexfloating)
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact if as_complex else jnp.floating):
            raise checks.ShapeError(f"{where}: {name}{path} has dtype {jnp.result_type(leaf)}, expected a floating one")


def _rebuilt(name: str, tree: Any, expected: Any) -> str:
    """How to make what is expected of what a checkpoint restored."""
    kind, fields = type(expected).__name__, getattr(expected, "_fields", ())
    if isinstance(tree, Mapping):
        if fields and set(tree) == set(fields):
            return f"; {kind}(**{name}) makes one"
        if "params" in tree and "params" not in expected:
            return f"; give {name}['params']"
    if fields and isinstance(tree, tuple | list) and len(tree) == len(fields):
        return f"; {kind}(*{name}) makes one"
    return ""


def _structure(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _spelled(tree: Any) -> str:
    if hasattr(tree, "_fields"):
        return f"{type(tree).__name__}({', '.join(tree._fields)})"
    if isinstance(tree, dict):
        return f"a dict with keys {sorted(tree)}"
    if tree == ():
        return "()"
    return f"a {type(tree).__name__} of {len(tree)}" if isinstance(tree, tuple | list) else type(tree).__name__


def plain(where: str, params: Any) -> Any:
    """Parameters as dicts: any mapping will do, which JAX would take for another structure than theirs."""
    return _plain(where, "params", params)


def _plain(where: str, path: str, tree: Any) -> Any:
    kind = type(tree)
    if kind.__module__.startswith("flax."):
        said = f"{where}: {path} is a {kind.__name__} of Flax, expected "
        if kind.__module__.startswith("flax.nnx"):
            raise checks.ShapeError(f"{said}arrays in a dict; nnx.to_pure_dict(nnx.state(model)) has them")
        if hasattr(tree, "unbox"):
            raise checks.ShapeError(f"{said}an array; flax.linen.unbox(params) takes them all out of their boxes")
    if isinstance(tree, Mapping):
        return {name: _plain(where, f"{path}[{name!r}]", branch) for name, branch in tree.items()}
    return tree


def check_params(where: str, cell: Cell | Layer, params: Params, in_features: int, because: str) -> None:
    """`params` against what `init` would make for inputs of this width."""
    check_tree(where, "params", params, _params_shapes(cell.init, in_features), because)


def check_carry(
    where: str, cell: Cell | Layer, params: Params, carry: Carry, batch: tuple[int, ...], because: str
) -> None:
    """`carry` against what `init_carry` would make for this batch."""
    leaves, tree = jax.tree.flatten(params)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    own = _carry_shapes(cell.init_carry, batch, tree, shapes)
    check_tree(where, "carry", carry, own, because, may_be_complex=True)


@lru_cache(maxsize=1024)
def _params_shapes(init: Any, in_features: int) -> Any:
    return jax.eval_shape(lambda: init(jax.random.key(0), in_features))


@lru_cache(maxsize=1024)
def _carry_shapes(init_carry: Any, batch: tuple[int, ...], tree: Any, shapes: tuple[Any, ...]) -> Any:
    params = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return jax.eval_shape(lambda p: init_carry(p, batch), params)


def step_of(where: str, layer: Layer) -> Callable[..., tuple[Carry, Any]]:
    """The `step` of a causal layer; of another, the part that looks ahead is named."""
    if layer.step is not None:
        return layer.step
    *place, part = layer.looks_ahead or ("the layer",)
    said = f"{'.'.join(place)} ({part})" if place else part
    raise ValueError(
        f"{where}: the layer is not causal, since {said} looks ahead, expected one with a step; "
        "whole sequences take layer.apply(params, carry, xs)"
    )
