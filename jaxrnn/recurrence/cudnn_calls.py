"""Calls cuDNN's LSTM, forward and backward, through `jax.experimental.rnn`, with our parameters, masks and batch axes.

cuDNN takes float32 alone: inputs `[B, T, D]`, all weights in one vector, and one bias for the product of the input and
one for that of the state, of which the second is zero here. It knows no masks, but the length of each sequence. So the
valid steps are moved to the front, and their outputs back to their places. A length of 0 makes cuDNN fail
(https://github.com/jax-ml/jax/issues/17966): such a sequence runs for one step, whose results are dropped.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.carries import LSTMCarry
from jaxrnn.recurrence.compact import Places, moved, places
from jaxrnn.recurrence.loop import select, silence
from jaxrnn.types import Array, Params


class Inputs(NamedTuple):
    """The differentiable inputs of a run: those of an LSTM, `xs [T, *batch, D]`."""

    params: Params
    carry: LSTMCarry
    xs: Array


def pack(params: Params) -> Array:
    """Returns all weights as one vector, in cuDNN's order: the gates `i f g o` come first, the inputs last."""
    zeros = jnp.zeros(params["kernel"].shape[1:], jnp.float32)
    kernels = [params[name].transpose(1, 2, 0) for name in ("kernel", "recurrent_kernel")]
    parts = (*kernels, params.get("bias", zeros), zeros)
    return jnp.concatenate([part.astype(jnp.float32).reshape(-1) for part in parts])


def reserve_shape(inputs: Inputs, precision: lax.Precision) -> tuple[int, ...]:
    """Returns the shape of what `forward` keeps for `backward`: cuDNN is asked.

    Where cuDNN is missing it is `(0,)`: a program can be traced there, but not lowered.
    """
    try:
        return jax.eval_shape(partial(forward, precision=precision), inputs, None)[2].shape
    except ValueError:
        return (0,)


def forward(inputs: Inputs, valid: Array | None, *, precision: lax.Precision) -> tuple[LSTMCarry, Array, Array]:
    """Returns `(carry, ys, reserve)`; `reserve` is cuDNN's memory of the run, which `backward` reads."""
    from jax.experimental import rnn

    carry, xs = inputs.carry, inputs.xs
    order = None if valid is None else places(valid)
    x, h, c, weights, lengths = _arguments(inputs, order)
    try:
        (y, h, c), (*_, reserve) = rnn.lstm_fwd(x, h, c, weights, lengths, **_static(inputs, precision))
    except (AttributeError, RuntimeError) as error:
        raise ValueError(
            "unroll: method='cudnn' needs cuDNN, and JAX's plugin for CUDA, where a program is lowered, found "
            f"{' '.join(str(error).split())!r}; method='fused' needs neither"
        ) from error
    new = LSTMCarry(c.reshape(carry.c.shape), h.reshape(carry.h.shape))
    return _unless_empty(order, new, carry), _by_step(y, xs, valid, order), reserve


def backward(
    inputs: Inputs,
    valid: Array | None,
    ys: Array,
    reserve: Array,
    dcarry: LSTMCarry,
    dys: Array,
    *,
    precision: lax.Precision,
) -> Inputs:
    """Returns the cotangents of the inputs from those of the final carry and of `ys`."""
    from jax.experimental import rnn

    carry, xs = inputs.carry, inputs.xs
    order = None if valid is None else places(valid)
    zero = jax.tree.map(jnp.zeros_like, dcarry)
    last = _unless_empty(order, dcarry, zero)
    residuals = (*_arguments(inputs, order), _by_row(ys, order), reserve)
    dy = _by_row(silence(valid, dys), order)
    cotangents = (dy, _state(last.h), _state(last.c))
    static = _static(inputs, precision)
    dx, dh, dc, dweights, _ = rnn.lstm_bwd(**static, residuals=residuals, gradients=cotangents)
    first = LSTMCarry(dc.reshape(carry.c.shape), dh.reshape(carry.h.shape))
    (dparams,) = jax.vjp(pack, inputs.params)[1](dweights)
    dxs = _by_step(dx, xs, valid, order)
    found = Inputs(dparams, _unless_empty(order, first, dcarry), dxs)
    return jax.tree.map(lambda cotangent, primal: cotangent.astype(primal.dtype), found, inputs)


def _arguments(inputs: Inputs, order: Places | None) -> tuple[Array, ...]:
    """Returns what cuDNN's call takes: inputs, states, weights and lengths."""
    params, carry, xs = inputs
    if order is None:
        lengths = jnp.full(math.prod(xs.shape[1:-1]), xs.shape[0], jnp.int32)
    else:
        lengths = jnp.maximum(order.length, 1).reshape(-1)
    return _by_row(xs, order), _state(carry.h), _state(carry.c), pack(params), lengths


def _static(inputs: Inputs, precision: lax.Precision) -> dict[str, Any]:
    """Returns what both calls are told about one layer in one direction."""
    return {
        "input_size": inputs.xs.shape[-1],
        "hidden_size": inputs.carry.h.shape[-1],
        "num_layers": 1,
        "dropout": 0.0,
        "bidirectional": False,
        "precision": precision,
    }


def _state(state: Array) -> Array:
    """Reshapes `[*batch, H]` to `[1, B, H]`."""
    return state.reshape(1, math.prod(state.shape[:-1]), state.shape[-1]).astype(jnp.float32)


def _by_row(steps: Array, order: Places | None) -> Array:
    """Reshapes `[T, *batch, K]` to `[B, T, K]`, with the valid steps of each sequence at the front."""
    steps = steps if order is None else moved(steps, order.order)
    rows = steps.reshape(steps.shape[0], math.prod(steps.shape[1:-1]), steps.shape[-1])
    return rows.swapaxes(0, 1).astype(jnp.float32)


def _by_step(rows: Array, xs: Array, valid: Array | None, order: Places | None) -> Array:
    """Inverts `_by_row`, with zeros at invalid steps."""
    steps = rows.swapaxes(0, 1).reshape(*xs.shape[:-1], rows.shape[-1])
    return steps if order is None else silence(valid, moved(steps, order.rank))


def _unless_empty(order: Places | None, carry: LSTMCarry, otherwise: LSTMCarry) -> LSTMCarry:
    """Returns `carry` for sequences that have a valid step, and `otherwise` for those that have none."""
    return carry if order is None else select(order.length > 0, carry, otherwise)
