"""Draws tokens from logits, or takes the likeliest."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.decode.stepping import check_scalar
from jaxrnn.types import Array


def check_drawing(where: str, temperature: Any, top_p: Any) -> None:
    """Checks the options of a draw that may be traced."""
    words = "a finite number above 0; key=None takes the likeliest token"
    check_scalar(where, "temperature", temperature, lambda value: 0 < value < math.inf, words)
    if top_p is not None:
        check_scalar(where, "top_p", top_p, lambda value: 0 < value <= 1, "a probability above 0 and up to 1, or None")


def draw(key: Array | None, logits: Array, temperature: Any, top_k: int | None, top_p: Any) -> Array:
    """Returns a token for each `logits [*batch, V]`, int32 `[*batch]`: the likeliest if `key` is None.

    Otherwise its probability is `softmax(logits / temperature)`, restricted to the `top_k` likeliest tokens, then to
    the fewest of these whose probabilities reach `top_p`. Of tokens with equal logits the lower counts as likelier.
    """
    if key is None:
        return jnp.argmax(logits, -1).astype(jnp.int32)
    logits = logits.astype(jnp.float32) / jnp.asarray(temperature, jnp.float32)
    if top_k is None and top_p is None:
        return jax.random.categorical(key, logits).astype(jnp.int32)
    size = logits.shape[-1]
    logits, tokens = jax.lax.top_k(logits, size if top_k is None else min(top_k, size))
    if top_p is not None:
        probabilities = jax.nn.softmax(logits)
        likelier = jnp.cumsum(probabilities, -1) - probabilities
        # The first token stays, even if rounding left nothing below top_p.
        kept = (likelier < jnp.asarray(top_p, jnp.float32)).at[..., 0].set(True)
        logits = jnp.where(kept, logits, -jnp.inf)
    place = jax.random.categorical(key, logits)
    return jnp.take_along_axis(tokens, place[..., None], -1)[..., 0].astype(jnp.int32)
