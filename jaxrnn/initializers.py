"""Draws the initial parameters of cells, per gate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.types import Array, Params

Initializer = Callable[..., Array]  # (key, shape, dtype) -> Array, as in jax.nn.initializers

lecun_normal = jax.nn.initializers.lecun_normal()
orthogonal = jax.nn.initializers.orthogonal()
zeros = jax.nn.initializers.zeros


@checked
def per_gate(initializer: Initializer, key: Array, rows: int, gates: int, features: int, dtype: Any) -> Array:
    """Draws a matrix for each gate.

    It draws in float32 at least and then casts: a QR decomposition in half precision is not orthogonal.

    Args:
      initializer: `(key, (rows, features), dtype) -> Array`, as those of `jax.nn.initializers`.
      key: a PRNG key.
      rows: the first axis of each matrix.
      gates: G.
      features: H.
      dtype: of the result.

    Returns:
      `[rows, gates, features]`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> orthogonal = jaxrnn.initializers.orthogonal
      >>> kernel = jaxrnn.initializers.per_gate(orthogonal, jax.random.key(0), 4, 2, 4, jnp.float32)
      >>> bool(jnp.allclose(kernel[:, 1].T @ kernel[:, 1], jnp.eye(4), atol=1e-5))
      True
    """
    draw = jax.vmap(lambda k: initializer(k, (rows, features), accumulator(dtype)), out_axes=1)
    return draw(jax.random.split(key, gates)).astype(dtype)


@checked
def of_gates(initializer: Initializer) -> Initializer:
    """Makes the initializer of a kernel whose gates are drawn one by one, as by `per_gate`.

    Args:
      initializer: `(key, (rows, features), dtype) -> Array`, as those of `jax.nn.initializers`.

    Returns:
      `(key, (rows, gates, features), dtype) -> kernel [rows, gates, features]`.

    Example:
      >>> import jax, jaxrnn
      >>> init = jaxrnn.initializers.of_gates(jaxrnn.initializers.orthogonal)
      >>> init(jax.random.key(0), (4, 2, 4), jax.numpy.float32).shape
      (4, 2, 4)
    """

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        rows, gates, features = shape
        return per_gate(initializer, key, rows, gates, features, dtype)

    return init


@checked
def dense_params(
    key: Array,
    in_features: int,
    features: int,
    gates: int,
    *,
    kernel_init: Initializer = lecun_normal,
    recurrent_kernel_init: Initializer = orthogonal,
    use_bias: bool = True,
    bias_init: Initializer = zeros,
    param_dtype: Any = jnp.float32,
) -> Params:
    """Draws the parameters that every cell of `pointwise_cell` has.

    Args:
      key: a PRNG key.
      in_features: D.
      features: H.
      gates: G.
      kernel_init: `(key, (D, H), dtype) -> Array`, called for each gate.
      recurrent_kernel_init: `(key, (H, H), dtype) -> Array`, called for each gate.
      use_bias: whether there is a bias.
      bias_init: `(key, (G, H), dtype) -> Array`, called once.
      param_dtype: of the result.

    Returns:
      `{"kernel": [D, G, H], "recurrent_kernel": [H, G, H], "bias": [G, H]}`.

    Example:
      >>> import jax, jaxrnn
      >>> params = jaxrnn.initializers.dense_params(jax.random.key(0), 3, 8, 2)
      >>> params["kernel"].shape, params["recurrent_kernel"].shape, params["bias"].shape
      ((3, 2, 8), (8, 2, 8), (2, 8))
    """
    k_kernel, k_recurrent, k_bias = jax.random.split(key, 3)
    kernels = {
        "kernel": per_gate(kernel_init, k_kernel, in_features, gates, features, param_dtype),
        "recurrent_kernel": per_gate(recurrent_kernel_init, k_recurrent, features, gates, features, param_dtype),
    }
    return kernels | {"bias": bias_init(k_bias, (gates, features), param_dtype)} if use_bias else kernels


@checked
def gate_offset(initializer: Initializer, gate: int, offset: float) -> Initializer:
    """Returns an initializer that adds a number to one gate's initial bias, such as a forget bias.

    Args:
      initializer: draws a whole bias `[G, H]`.
      gate: which gate.
      offset: the number that is added to its bias.

    Returns:
      An initializer for `[G, H]`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> init = jaxrnn.initializers.gate_offset(jax.nn.initializers.zeros, 1, 1.0)
      >>> init(jax.random.key(0), (2, 3), jnp.float32).tolist()
      [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        _check_gate("gate_offset", "gate", gate, shape)
        return initializer(key, shape, dtype).at[gate].add(offset)

    return init


@checked
def identity(scale: float = 1.0) -> Initializer:
    """Returns an initializer of an identity matrix, for a recurrent kernel that at first keeps the state.

    Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units".

    Args:
      scale: the factor of the matrix.

    Returns:
      An initializer for `[N, M]`; where N and M differ, the rest is zero.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> jaxrnn.initializers.identity(0.5)(jax.random.key(0), (2, 3), jnp.float32).tolist()
      [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    """

    def init(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
        del key  # nothing is random
        return scale * jnp.eye(*shape, dtype=dtype)

    return init


@checked
def chrono(max_time: float, *, forget: int = 1, input: int | None = 0) -> Initializer:
    """Returns an initializer of biases with which gates remember for times spread up to `max_time`.

    Forget gates get `log u` with u uniform on `[1, max_time − 1]`, input gates its negative, all others zero (Tallec &
    Ollivier 2018, "Can recurrent neural networks warp time?"). A cell's own `forget_bias` would be added to it, so give
    0 there: `lstm(128, forget_bias=0.0, bias_init=chrono(1000))`.

    Args:
      max_time: the longest dependency that is expected, in steps; more than 2.
      forget: which gate forgets.
      input: which gate lets inputs in; None for a cell without one.

    Returns:
      An initializer for a whole bias `[G, H]`.

    Raises:
      ValueError: `max_time` is not more than 2; `forget` and `input` are the same gate.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> bias = jaxrnn.initializers.chrono(100)(jax.random.key(0), (4, 8), jnp.float32)
      >>> bool((bias[1] >= 0).all()), bool((bias[0] == -bias[1]).all()), bool((bias[2:] == 0).all())
      (True, True, True)
    """
    if not max_time > 2:
        raise ValueError(f"chrono: max_time is {max_time!r}, expected more than 2 steps")
    if forget == input:
        raise ValueError(f"chrono: forget and input are both {forget}, expected two gates, or input=None")

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        for name, gate in (("forget", forget), ("input", input)):
            _check_gate("chrono", name, gate, shape)
        times = jax.random.uniform(key, shape[1:], accumulator(dtype), 1, max_time - 1)
        bias = jnp.zeros(shape, accumulator(dtype)).at[forget].set(jnp.log(times))
        return (bias if input is None else bias.at[input].set(-bias[forget])).astype(dtype)

    return init


def _check_gate(where: str, name: str, gate: int | None, shape: tuple[int, ...]) -> None:
    """Checks that a bias of this shape has the gate: JAX would ignore an index out of bounds."""
    if gate is not None and gate >= shape[0]:
        raise ValueError(f"{where}: {name} is {gate}, expected one of the {shape[0]} gates of a bias {tuple(shape)}")


@checked
def head_params(
    key: Array,
    in_features: int,
    *,
    heads: int,
    keys: int,
    values: int,
    features: int,
    kernel_init: Initializer = lecun_normal,
    param_dtype: Any = jnp.float32,
) -> Params:
    """Draws the kernels of queries, keys and values, and the output projection of the heads.

    Args:
      key: a PRNG key.
      in_features: D.
      heads: the number of heads.
      keys: K, the width of a query and of a key.
      values: V, the width of a value.
      features: H.
      kernel_init: `(key, shape, dtype) -> Array`, called for each matrix, `(D, K)`, `(D, V)` or `(heads * V, H)`.
      param_dtype: of the result.

    Returns:
      A dict with `query` and `key [D, heads, K]`, `value [D, heads, V]`, `scale [heads, V]`, which is 1, and
      `out [heads, V, H]`.

    Example:
      >>> import jax, jaxrnn
      >>> params = jaxrnn.initializers.head_params(jax.random.key(0), 3, heads=2, keys=4, values=5, features=6)
      >>> params["key"].shape, params["value"].shape, params["out"].shape
      ((3, 2, 4), (3, 2, 5), (2, 5, 6))
    """
    k_query, k_key, k_value, k_out = jax.random.split(key, 4)
    out = kernel_init(k_out, (heads * values, features), accumulator(param_dtype))
    return {
        "query": per_gate(kernel_init, k_query, in_features, heads, keys, param_dtype),
        "key": per_gate(kernel_init, k_key, in_features, heads, keys, param_dtype),
        "value": per_gate(kernel_init, k_value, in_features, heads, values, param_dtype),
        "scale": jnp.ones((heads, values), param_dtype),
        "out": out.reshape(heads, values, features).astype(param_dtype),
    }


@checked
def step_params(
    key: Array, heads: int, *, dt_min: float = 0.001, dt_max: float = 0.1, param_dtype: Any = jnp.float32
) -> Params:
    """Draws the parameters of a decay `exp(−exp(log_rate) softplus(… + step_bias))` per head, as Mamba-2 does.

    Args:
      key: a PRNG key.
      heads: the number of heads.
      dt_min: the least `softplus(step_bias)`, which is log-uniform.
      dt_max: the greatest.
      param_dtype: of the result.

    Returns:
      `{"log_rate": [heads], "step_bias": [heads]}`, with `exp(log_rate)` uniform between 1 and 16.

    Example:
      >>> import jax, jaxrnn
      >>> params = jaxrnn.initializers.step_params(jax.random.key(0), 4)
      >>> params["step_bias"].shape
      (4,)
    """
    checks.check_time_steps("step_params", dt_min, dt_max)
    k_rate, k_step = jax.random.split(key)
    wide = accumulator(param_dtype)
    dt = jnp.exp(jax.random.uniform(k_step, (heads,), wide, jnp.log(dt_min), jnp.log(dt_max)))
    params = {
        "log_rate": jnp.log(jax.random.uniform(k_rate, (heads,), wide, 1, 16)),
        "step_bias": jnp.log(jnp.expm1(dt)),  # the inverse of softplus
    }
    return {name: p.astype(param_dtype) for name, p in params.items()}
