"""`attending` makes a layer of a cell that attends to an encoded sequence."""

from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from jaxrnn import trees
from jaxrnn.carries import serializable
from jaxrnn.cell_options import KernelOptions
from jaxrnn.driver import Options, run_model, step_cell
from jaxrnn.layers.attention import Memory, Scores, attend, check_memory, check_widths, init_attention, remember
from jaxrnn.layers.layer import layer
from jaxrnn.layers.width import width_of_cell
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.recurrence.followed import surrounding
from jaxrnn.shapes import zeros
from jaxrnn.types import Array, Carry, Cell, Layer, Noise, Params, Steps


@serializable
class AttendingCarry(NamedTuple):
    """The carry of `attending`.

    Attributes:
      cell: the carry of the cell.
      context: `[*batch, D]`, what the last step attended to.
    """

    cell: Carry
    context: Array


@checked
def attending(
    cell: Cell,
    *,
    scores: Scores = "additive",
    heads: int = 1,
    memory_features: int | None = None,
    features: int | None = None,
    **options: Unpack[KernelOptions],
) -> Layer:
    """Makes a layer of a cell that attends to an encoded sequence, as the decoder of a translator does.

    Each step reads its input beside what the step before attended to (input feeding), and its output attends anew:

        hₜ = cell([cₜ₋₁; xₜ]),  cₜ = Σₛ wₜₛ mₛ,  yₜ = [hₜ; cₜ]

    (Bahdanau et al. 2015; Luong et al. 2015), with `c` 0 before the first step, and weights `w` as in `attention`. The
    vectors m are the `context` of the call, a `Memory`. `stack(attending(lstm(H)), dense(H), jnp.tanh, dense(V))` has
    the attentional vector of Luong et al. before its logits.

    An encoder and a decoder are two models: `unroll(decoder, params, tokens, context=memory)` is teacher forcing, and
    `step(decoder, params, carry, token, context=memory)` is what `generate` and `beam_search` call.

    Parameters are `{"cell": …, "attention": …}`, those of the cell, for `D + in_features` inputs, and those of
    `init_attention`.

    Args:
      cell: the recurrence; its input is one vector per step.
      scores: as for `attention`.
      heads: as for `attention`.
      memory_features: D, the width of the memory; None: that of the output of `cell`.
      features: as for `init_attention`.
      **options: see `KernelOptions`; they are for the attention alone.

    Returns:
      A `Layer` with a `step`, carry `AttendingCarry(cell, context)` and outputs `[T, *batch, H + D]`. Where nothing in
      the memory is valid, the context is 0.

    Raises:
      ValueError: an option is out of range, heads do not divide D, or scores cannot compare the output with the memory.
        `unroll` and `step` raise it for a context that does not fit.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> encoder = jaxrnn.bidirectional(jaxrnn.gru(4))
      >>> decoder = jaxrnn.stack(jaxrnn.attending(jaxrnn.gru(8)), jaxrnn.dense(3))
      >>> k1, k2 = jax.random.split(jax.random.key(0))
      >>> encoding, decoding = encoder.init(k1, 5), decoder.init(k2, 3)

      >>> lengths = jnp.array([7, 4])
      >>> _, encoded = jaxrnn.unroll(encoder, encoding, jnp.ones((7, 2, 5)), lengths=lengths)
      >>> memory = jaxrnn.Memory(encoded, jnp.arange(7)[:, None] < lengths[None])
      >>> carry, logits = jaxrnn.unroll(decoder, decoding, jnp.ones((6, 2, 3)), context=memory)
      >>> logits.shape
      (6, 2, 3)
    """
    trees.check_vectors("attending", cell)
    query = width_of_cell("attending", cell)
    depth = query if memory_features is None else memory_features
    check_widths("attending", scores, heads, query, depth)
    fed = _fed(cell, depth, scores, heads, options["dtype"])

    def init(key: Array, in_features: int) -> Params:
        k_cell, k_attention = jax.random.split(key)
        draw = {name: options[name] for name in ("kernel_init", "param_dtype")}
        own = init_attention(k_attention, query, depth, scores=scores, heads=heads, features=features, **draw)
        return {"cell": cell.init(k_cell, depth + in_features)} | ({"attention": own} if own else {})

    def with_memory(params: Params, context: Memory, batch: tuple[int, ...]) -> Params:
        check_memory(
            "attending", "context", context, batch, f"inputs of batch {batch} and memory_features {depth}", depth
        )
        return params | {"memory": remember(params.get("attention", {}), context, scores, options["dtype"])}

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        params = with_memory(params, steps.context, xs.shape[1:-1])
        return run_model(fed, Options(), params, carry, xs, steps)[:2]

    def step(params: Params, carry: Carry, x: Array, context: Memory) -> tuple[Carry, Array]:
        return step_cell(fed, with_memory(params, context, x.shape[:-1]), carry, x)

    return layer(
        "attending",
        init,
        run,
        step,
        fed.init_carry,
        draws=cell.draw is not None,
        context=jax.eval_shape(lambda: Memory(jnp.zeros((1, depth)))),
        timed=cell.timed,
    )


def _fed(cell: Cell, depth: int, scores: Scores, heads: int, dtype: Any) -> Cell:
    """Returns `cell` with input feeding, whose parameters have the memory beside those of `attending`.

    As a cell it runs with masks, resets and noise as any other does.
    """

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> AttendingCarry:
        compute = compute_dtype(dtype, *jax.tree.leaves(params["cell"]))
        return AttendingCarry(
            cell.init_carry(params["cell"], batch_shape), zeros((*batch_shape, depth), accumulator(compute))
        )

    # A gradient stores the query of each step and recomputes its scores, which are S times as many.
    @partial(jax.checkpoint, prevent_cse=False)
    def look(params: Params, query: Array, memory: Any) -> Array:
        return attend(params, query, memory, scores, heads, dtype)[0]

    def step(params: Params, carry: AttendingCarry, x: Array, *noise: Noise) -> tuple[AttendingCarry, Array]:
        compute = compute_dtype(None, x, *jax.tree.leaves(params["cell"]))
        # The input comes last, for the last feature of a cell with times is the time.
        fed = jnp.concatenate([carry.context.astype(compute), x.astype(compute)], -1)
        inner, y = cell.step(params["cell"], carry.cell, cell.project(params["cell"], fed), *noise)
        context = look(params.get("attention", {}), y, params["memory"])
        wide = context.astype(accumulator(context.dtype))
        return AttendingCarry(inner, wide), jnp.concatenate([y, context.astype(y.dtype)], -1)

    return surrounding(
        cell,
        lambda drawn: _fed(drawn, depth, scores, heads, dtype),
        init_carry=init_carry,
        project=lambda params, xs: xs,
        step=step,
    )
