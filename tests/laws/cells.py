"""The cells that the laws hold for, and the inputs that they are tried on."""

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of
from jaxrnn.precision import accumulator
from jaxrnn.shapes import zeros

T, B, D, H = 5, 2, 3, 4


class OddCarry(NamedTuple):
    """Two states, the one in the product first."""

    h: jax.Array
    m: jax.Array


def odd(features: int, **options: Any) -> jaxrnn.Cell:
    """All that `pointwise_cell` allows and the classical cells lack.

    Two paired gates, parameters of several shapes beside the engine's, an output that is not the state and not of its
    width, and a learned initial carry.
    """

    def pointwise(params: Any, carry: OddCarry, gates: Any) -> tuple[OddCarry, jax.Array]:
        (a_x, a_h), b, (c_x, c_h) = gates
        m = params["decay"] * carry.m + jnp.tanh(a_x) * jax.nn.sigmoid(a_h)
        h = jnp.tanh(b + m + params["scales"][0] * c_x * c_h) - params["scales"][1] * carry.h
        return OddCarry(h, m), jnp.concatenate([m * c_h, h[..., :1]], axis=-1)

    half = jax.nn.initializers.constant(0.5)
    extra = {"decay": (half, ()), "scales": (half, (2, features)), "start": half}

    def init_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> OddCarry:
        start = jnp.broadcast_to(params["start"], (*batch_shape, features))
        return jax.tree.map(lambda zero: zero + start.astype(zero.dtype), cell.init_carry(params, batch_shape))

    gates = {"gates": ("a", "b", "c"), "paired": ("a", "c")}
    cell = jaxrnn.pointwise_cell(pointwise, features, OddCarry, **gates, extra=extra, **options)
    return cell._replace(init_carry=init_carry)


def narrow(features: int, *, dtype: Any = None, param_dtype: Any = jnp.float32) -> jaxrnn.Cell:
    """The rest that `pointwise_cell` allows: two heads, a projection of the state, no bias, no further parameters."""
    heads, width = 2, features // 2

    def pointwise(params: Any, carry: jaxrnn.HiddenCarry, gates: Any) -> tuple[jaxrnn.HiddenCarry, jax.Array]:
        h = jnp.tanh(gates[0]) * jax.nn.sigmoid(gates[1])
        return jaxrnn.HiddenCarry(h), h

    def init(key: jax.Array, in_features: int) -> dict[str, jax.Array]:
        shapes = {
            "kernel": (in_features, 2, features),
            "recurrent_kernel": (heads, 1, 2, width),
            "projection": (features, heads),
        }
        return {name: jnp.full(shape, 0.5, param_dtype) for name, shape in shapes.items()}

    cell = jaxrnn.pointwise_cell(pointwise, features, jaxrnn.HiddenCarry, gates=("a", "b"), dtype=dtype)
    return cell._replace(init=init)


class CountingCarry(NamedTuple):
    """A state, and how many steps made it: an integer."""

    h: jax.Array
    count: jax.Array


def counting(features: int, *, dtype: Any = None, param_dtype: Any = jnp.float32) -> jaxrnn.Cell:
    """The mean of its inputs under a nonlinearity, whose carry has a leaf without a derivative."""

    def init_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> CountingCarry:
        return CountingCarry(*inner.init_carry(params, batch_shape), zeros(batch_shape, jnp.int32))

    def step(params: Any, carry: CountingCarry, z: Any) -> tuple[CountingCarry, jax.Array]:
        share = 1 / (1 + carry.count[..., None].astype(carry.h.dtype))
        h = carry.h + share * (jnp.tanh(z[0].astype(accumulator(z[0].dtype))) - carry.h)
        return CountingCarry(h, carry.count + 1), h.astype(z[0].dtype)

    options = {"dtype": dtype, "param_dtype": param_dtype}
    inner = jaxrnn.step_cell(step, features, jaxrnn.HiddenCarry, gates=("a",), **options)
    return inner._replace(init_carry=init_carry)


def from_contributing() -> Callable[..., jaxrnn.Cell]:
    """The cell that CONTRIBUTING.md writes in 15 lines."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    snippet = re.search(r"^## Write a cell.*?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet[1], "CONTRIBUTING.md", "exec"), names)
    return names["coupled_lstm"]


# What a constructor needs beside the width, and what makes its cell small.
SMALL: dict[str, dict[str, Any]] = {
    "antisymmetric": {"gated": True},
    "cfc": {"backbone_features": 5, "backbone_layers": 2},
    "clockwork": {"periods": (1, 2, 3)},
    "conv_gru": {"kernel_size": (2, 1, 2)},
    "conv_lstm": {"kernel_size": (3, 2)},
    "delta_net": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "delta_product": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "fast_weight_programmer": {"heads": 2, "keys": 2, "values": 3, "chunk": 2},
    "ffm": {"traces": 3, "contexts": 2},
    "fru": {"length": 6, "frequencies": 3, "stats_features": 2, "recurrent_features": 4},
    "gated_delta_net": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "gla": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "hgrn2": {"heads": 2, "keys": 4, "values": 3, "chunk": 2, "lower_bound": 0.2},
    "kda": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "linear_attention": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "linoss": {"states": 5},
    "lmu": {"memory_size": 5, "theta": 6.0},
    "lru": {"states": 5},
    "mamba": {"states": 2, "rank": 2},
    "mc_lstm": {"masses": 2},
    "mlstm": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "projected_lstm": {"projection": 3},
    "qrnn": {"kernel_size": 3},
    "recurrent_highway": {"depth": 3},
    "retention": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "rot_rnn": {"states": 6, "heads": 2},
    "rwkv7": {"heads": 2, "keys": 4, "values": 3, "rank": 2, "gate_rank": 2, "chunk": 2},
    "s4d": {"states": 2},
    "s5": {"states": 2},
    "scrn": {"context_features": 3},
    "slstm": {"heads": 2},
    "ssd": {"heads": 2, "keys": 4, "values": 3, "chunk": 2},
    "tau_gru": {"delay": 2},
}

# Every cell of the package, further forms of some, and cells that have what none of these has.
CELLS: dict[str, Callable[..., jaxrnn.Cell]] = {
    **{name: partial(cell, **SMALL.get(name, {})) for name, cell in jaxrnn.cells.CONSTRUCTORS.items()},
    "gru_before": partial(jaxrnn.gru, reset="before"),
    "gru_to_bias": partial(jaxrnn.gru, reset="to_bias"),
    "mgu_before": partial(jaxrnn.mgu, reset="before", gate="keep"),
    "conv_gru_before": partial(jaxrnn.conv_gru, kernel_size=(2,), reset="before", padding="valid", strides=1),
    "odd": odd,
    "narrow": narrow,
    "counting": counting,
    "from_contributing": from_contributing(),
}


# Cells for which a NaN is a missing value: their inputs have some.
MISSING = ("gru_d",)

# Cells that take different paths through the engines, and which path. `table.py` says which laws are tried on these
# alone.
DISTINCT = {
    "odd": "the dense engine with all that it has: paired gates, small parameters, outputs of another width",
    "narrow": "the dense engine with the rest: sums of gates alone, heads, a projection, no bias",
    "gru_before": "the plain loop",
    "lru": "the linear engine: a complex state, a multiplier that is the same at every step, an output of its own",
}


@cache
def make(name: str, **options: Any) -> jaxrnn.Cell:
    return CELLS[name](H, **options)


every_cell = pytest.mark.parametrize("name", CELLS)
every_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def space_of(name: str) -> tuple[int, ...]:
    """The spatial axes of one step of this cell, few and unequal."""
    return (3, 2, 2)[: make(name).num_feature_axes - 1]


def batch_of(name: str, xs: Any) -> tuple[int, ...]:
    return xs.shape[1 : xs.ndim - make(name).num_feature_axes]


def spread(flags: Any, xs: Any) -> Any:
    """`flags [T, *batch]` with an axis for each further one of `xs`."""
    return flags.reshape(*flags.shape, *[1] * (xs.ndim - flags.ndim))


def inputs(name: str, *, time: int = T, batch: tuple[int, ...] = (B,), dtype: Any = np.float64, seed: int = 0) -> Any:
    """`(params, xs, carry)` of NumPy, every entry random: no bias at zero, no state at rest.

    What a law does with NumPy's arrays outside its programs compiles nothing.
    """
    draw = np.random.default_rng(seed)

    def random(shape: Any) -> np.ndarray:
        if jnp.issubdtype(shape.dtype, jnp.integer):
            return np.asarray(draw.integers(0, 5, shape.shape), shape.dtype)
        return np.asarray(0.7 * draw.normal(size=shape.shape), dtype)

    space = space_of(name)
    params, carry = jax.tree.map(random, _shapes(name, (*batch, *space)))
    xs = random(jax.ShapeDtypeStruct((time, *batch, *space, D), dtype))
    if name in MISSING:  # the time gap, the last feature, is always there
        xs[..., :-1] = np.where(draw.random(xs[..., :-1].shape) < 0.4, np.nan, xs[..., :-1])
    return params, xs, carry


@cache
def _shapes(name: str, batch: tuple[int, ...]) -> Any:
    """Of parameters and carry."""
    cell, params = make(name), shapes_of(make(name), D)
    return params, jax.eval_shape(lambda p: cell.init_carry(p, batch), params)


def steps(*rows: str) -> np.ndarray:
    """Flags `[T, B]` from one string a row: `steps("11100", "11111")`."""
    return np.array([[flag == "1" for flag in row] for row in rows]).T


# name: (mask, resets)
FLOWS = {
    "plain": (steps("11111", "11111"), steps("00000", "00000")),
    "padding": (steps("11100", "00000"), steps("00000", "00000")),
    "holes": (steps("01101", "10110"), steps("00000", "00000")),
    "packed": (steps("11111", "11111"), steps("10100", "00011")),
    "packed_holes": (steps("01010", "11001"), steps("00111", "11010")),
}
every_flow = pytest.mark.parametrize("flow", FLOWS)
