"""`python -m jaxrnn sample` lets a trained model write."""

import secrets
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cli.load import load
from jaxrnn.cli.report import visible
from jaxrnn.cli.vocabulary import prompted
from jaxrnn.decode.generate import generate
from jaxrnn.types import Array, Carry, Layer, Params
from jaxrnn.unroll import step, unroll

CHUNK = 16  # characters that are drawn between two prints


def sample(args: Namespace) -> None:
    """Prints a prompt and what a model writes after it.

    Args:
      args: `out`, the directory of the run; `best`, whether to take its best checkpoint; `prompt`; `length`, the
        characters to draw; `temperature`, 0: always the likeliest; `top_k` and `top_p`, None: all characters may be
        drawn; `seed`, None: another sample each time.

    Raises:
      Problem: something that the user can put right.
    """
    model, params, vocabulary = load(args.out, best=args.best)
    opening = prompted(vocabulary, args.prompt)
    key = jax.random.key(secrets.randbits(32) if args.seed is None else args.seed)
    truncation = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    show(args.prompt, written(model, params, vocabulary, opening, key, args.length, **truncation))
    print()


def written(
    model: Layer,
    params: Params,
    vocabulary: str,
    opening: np.ndarray,
    key: Array,
    length: int,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[str]:
    """Yields `length` characters that a model writes after the indices `opening`, piece by piece."""

    @jax.jit
    def read(params: Params, characters: Array) -> Carry:
        return unroll(model, params, characters)[0]

    @jax.jit
    def draw(params: Params, carry: Carry, character: Array, key: Array) -> tuple[Carry, Array]:
        advance = partial(step, model, params)
        drawn = generate(
            advance,
            carry,
            character,
            max_new_tokens=CHUNK,
            key=key if temperature else None,
            temperature=temperature or 1.0,
            top_k=top_k,
            top_p=top_p,
        )
        return drawn[:2]

    carry, character = read(params, jnp.asarray(opening[:-1])), jnp.asarray(opening[-1])
    for begun in range(0, length, CHUNK):
        carry, characters = draw(params, carry, character, jax.random.fold_in(key, begun))
        character = characters[-1]
        yield "".join(vocabulary[i] for i in characters.tolist()[: length - begun])


def show(prompt: str, pieces: Iterator[str]) -> str:
    """Prints a prompt and the pieces of a text as they come, and returns the whole."""
    whole = ""
    for piece in chain([prompt], pieces):
        whole += piece
        print(visible(piece), end="", flush=True)
    return whole
