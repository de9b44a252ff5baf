"""Checks records, parameters and carries against those that a cell or a layer takes and returns."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.types import Array, Carry, Cell, Layer, Params


def check_cell(where: str, cell: Any) -> None:
    """Checks that `cell` is a cell, not a layer."""
    if isinstance(cell, Layer):
        raise ValueError(f"{where}: cell is the layer {cell!r}, expected a Cell such as jaxrnn.lstm(128)")
    if not isinstance(cell, Cell):
        raise ValueError(f"{where}: cell is {checks.spelled(cell)}, expected a Cell such as jaxrnn.lstm(128)")


def check_vectors(where: str, cell: Any) -> None:
    """Checks that `cell` is a cell whose input is one vector per step."""
    check_cell(where, cell)
    if cell.num_feature_axes != 1:
        raise ValueError(f"{where}: cell is {cell!r}, whose inputs are images, expected one that reads vectors")


def check_model(where: str, model: Any, *, name: str = "model") -> None:
    """Checks that `model` is a cell or a layer."""
    if not isinstance(model, Cell | Layer):
        found = type(model).__name__  # not its repr: a Flax module's fills lines
        raise ValueError(f"{where}: {name} is of type {found}, expected a Cell or a Layer such as jaxrnn.lstm(128)")


def check_context(where: str, model: Cell | Layer, context: Any) -> None:
    """Checks that a context is given if and only if a layer attends to one."""
    attends = isinstance(model, Layer) and model.context is not None
    if context is not None and not attends:
        raise ValueError(f"{where}: context is given, expected None: no layer of {model!r} attends to one")
    if context is None and attends:
        raise ValueError(f"{where}: context is None, expected what the layers of {model!r} attend to")


def check_parameter(where: str, cell: Any, name: str) -> None:
    """Checks that `cell` is a cell with a parameter of this name."""
    check_cell(where, cell)
    if name not in (found := _params_shapes(cell.init, cell.example_features)):
        raise ValueError(f"{where}: cell has parameters {sorted(found)}, expected one named {name!r}")


def check_tree(where: str, name: str, tree: Any, expected: Any, because: str, *, of_any_kind: bool = False) -> None:
    """Checks `tree` against the structure and shapes of `expected`, each leaf of which is floating.

    With `of_any_kind` a leaf of `expected` may also be complex, an integer or bool, and decides what is taken for it.
    """
    found, wanted = _structure(tree), _structure(expected)
    structure: Any = jax.tree.structure(expected)
    if jax.tree.structure(tree) != structure:
        missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        wrong = [f"lacks {missing}"] * bool(missing) + [f"has unknown {unknown}"] * bool(unknown)
        if type(expected) is tuple:  # a stack's: a list of all that its layers lack would be long
            entries = f"has {len(tree)} entries" if isinstance(tree, tuple | list) else f"is {checks.a_kind(tree)}"
            wrong = wrong if isinstance(tree, tuple | list) and len(tree) == len(expected) else [entries]
        said = f"{' and '.join(wrong) or f'is {checks.a_kind(tree)}'}, expected {_spelled(expected)}"
        raise checks.ShapeError(f"{where}: {name} {said} from {because}{_rebuilt(name, tree, expected)}")
    for path, leaf in found.items():
        checks.check_shape(where, name + path, leaf, wanted[path].shape, because)
        kinds, words = _kinds_for(wanted[path].dtype) if of_any_kind else _kinds_for(jnp.float32)
        if not any(jnp.issubdtype(jnp.result_type(leaf), kind) for kind in kinds):
            raise checks.ShapeError(f"{where}: {name}{path} has dtype {jnp.result_type(leaf)}, expected {words}")


def _kinds_for(dtype: Any) -> tuple[tuple[Any, ...], str]:
    """Returns the kinds of numbers that may be given for a leaf of this dtype, and their name in errors."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return (jnp.floating, jnp.complexfloating), "a floating or complex one"
    if jnp.issubdtype(dtype, jnp.integer):
        return (jnp.integer,), "an integer one"
    return ((jnp.bool_,), "bool") if jnp.issubdtype(dtype, jnp.bool_) else ((jnp.floating,), "a floating one")


def _rebuilt(name: str, tree: Any, expected: Any) -> str:
    """Returns how to convert a tree that a checkpoint restored, or an empty str."""
    kind, fields = type(expected).__name__, getattr(expected, "_fields", ())
    if isinstance(tree, Mapping):
        if fields and set(tree) == set(fields):
            return f"; {kind}(**{name}) makes one"
        if "params" in tree and "params" not in expected:
            return f"; give {name}['params']"
        if type(expected) is tuple and expected:
            return f"; flax.serialization.from_state_dict(model.init_carry(params, batch_shape), {name}) rebuilds one"
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
    """Returns parameters as plain dicts: JAX would see other mappings as another structure."""
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


def check_params(where: str, model: Cell | Layer, params: Params, xs: Array, because: str) -> None:
    """Checks `params` against those that `init` returns for inputs like `xs`."""
    in_features = None if model.num_feature_axes == 0 else xs.shape[-1]
    check_tree(where, "params", params, _params_shapes(model.init, in_features), because)


def check_carry(
    where: str,
    model: Cell | Layer,
    params: Params,
    carry: Carry,
    batch: tuple[int, ...],
    because: str,
    *,
    name: str = "carry",
) -> None:
    """Checks `carry` against the one that `init_carry` returns for this batch."""
    leaves, tree = jax.tree.flatten(params)
    shapes = tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    own = _carry_shapes(model.init_carry, batch, tree, shapes)
    check_tree(where, name, carry, own, because, of_any_kind=True)


@lru_cache(maxsize=1024)
def _params_shapes(init: Any, in_features: int | None) -> Any:
    return jax.eval_shape(lambda: init(jax.random.key(0), in_features))


@lru_cache(maxsize=1024)
def _carry_shapes(init_carry: Any, batch: tuple[int, ...], tree: Any, shapes: tuple[Any, ...]) -> Any:
    params = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return jax.eval_shape(lambda p: init_carry(p, batch), params)


def check_causal(where: str, layer: Layer) -> None:
    """Checks that a layer has a `step`; the error names the part that looks ahead."""
    if layer.step is None:
        *place, part = layer.looks_ahead or ("the layer",)
        said = f"{'.'.join(place)} ({part})" if place else part
        raise ValueError(
            f"{where}: the layer is not causal, since {said} looks ahead, expected one with a step; "
            "whole sequences take jaxrnn.unroll"
        )
