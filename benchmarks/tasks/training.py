"""Trains one model on one problem with one learning rate and one seed, many updates in each compiled call."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn.types import Array, Layer, Params

Batch = tuple[Array, ...]  # inputs, targets, the mask of the steps that are scored, and perhaps the lengths
CLIP = 1.0  # the gradient's largest norm


class Data(NamedTuple):
    """Draws what a model learns from and what it is scored on.

    Attributes:
      train: one batch of an update, from a key.
      valid: the batch that learning rates are chosen by, and that says whether a run may end.
      tests: the batches of the scores that are reported, by what sets them apart.
      width: the number of features of an input; None for tokens.
    """

    train: Callable[[Array], Batch]
    valid: Callable[[Array], Batch]
    tests: dict[str, Callable[[Array], Batch]]
    width: int | None


class Outcome(NamedTuple):
    """What came of a run: the updates that it took, and its scores, which are not finite where it diverged."""

    updates: int
    valid: float
    tests: dict[str, float]
    parameters: int


def cross_entropy(ys: Array, targets: Array, mask: Array) -> Array:
    """The mean over the scored steps, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(ys, targets).mean(where=mask)


def squared_error(ys: Array, targets: Array, mask: Array) -> Array:
    """The mean over the scored steps."""
    return ((ys - targets) ** 2).mean(-1).mean(where=mask)


def accuracy(ys: Array, targets: Array, mask: Array) -> Array:
    """The share of the scored steps whose likeliest class is the target."""
    right = (ys.argmax(-1).astype(targets.dtype) == targets).mean(where=mask)
    return jnp.where(jnp.isfinite(ys).all(), right, jnp.nan)


def descended(optimizer: optax.GradientTransformation, state: Any, grads: Params, rate: Array) -> Any:
    """The parameters and the optimizer's moments after one update; `rate` is an argument, which nothing compiles in."""
    params, moments = state
    steps, moments = optimizer.update(grads, moments)
    return optax.apply_updates(params, jax.tree.map(lambda s: -rate * s, steps)), moments


def learner(
    model: Layer,
    data: Data,
    loss: Callable[[Array, Array, Array], Array],
    score: Callable[[Array, Array, Array], Array],
    chunk: int,
    validated: Callable[[Array, Array, Array], Array] | None = None,
) -> Callable[..., Outcome]:
    """Makes `learned(rate, seed, updates, solved, patience, falling) -> Outcome`, whose programs are compiled once.

    `chunk` updates are one call. After each call the model is scored on a batch for validation, by `validated` or, if
    that is None, by `score`; when `solved` of that score has been true `patience` times running, the run ends. With
    `falling` the learning rate falls along half a cosine, call by call.
    """
    optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.scale_by_adam())

    def outputs(params: Params, batch: Batch) -> Array:
        ys = jaxrnn.unroll(model, params, batch[0], lengths=batch[3] if len(batch) > 3 else None)[1]
        return ys[: len(batch[1])]  # a classifier has its only value at every step, and one target

    @jax.jit
    def started(key: Array) -> Any:
        params = model.init(key, data.width)
        return params, optimizer.init(params)

    @jax.jit
    def advance(state: Any, key: Array, rate: Array) -> Any:
        def update(state: Any, key: Array) -> Any:
            batch = data.train(key)
            grads = jax.grad(lambda params: loss(outputs(params, batch), *batch[1:3]))(state[0])
            return descended(optimizer, state, grads, rate), None

        return jax.lax.scan(update, state, jax.random.split(key, chunk))[0]

    def scorer(draw: Callable[[Array], Batch], of: Callable[..., Array]) -> Callable[[Params, Array], float]:
        def scored(params: Params, key: Array) -> Array:
            batch = draw(key)
            return of(outputs(params, batch), *batch[1:3])

        compiled = jax.jit(scored)
        return lambda params, key: float(compiled(params, key))

    valid = scorer(data.valid, validated or score)
    shared = data.valid if validated is None else None
    tests = {name: valid if draw is shared else scorer(draw, score) for name, draw in data.tests.items()}

    def learned(
        rate: float,
        seed: int,
        updates: int,
        solved: Callable[[float], bool],
        patience: int = 1,
        falling: bool = False,
    ) -> Outcome:
        k_params, k_train, k_valid, k_test = jax.random.split(jax.random.key(seed), 4)
        state, done, found, streak = started(k_params), 0, float("nan"), 0
        while done < updates:
            now = rate * 0.5 * (1 + np.cos(np.pi * done / updates)) if falling else rate
            state = advance(state, jax.random.fold_in(k_train, done), jnp.float32(now))
            done += chunk
            found = valid(state[0], jax.random.fold_in(k_valid, done))
            streak = streak + 1 if solved(found) else 0
            if not np.isfinite(found) or streak == patience:
                break
        scores = {name: of(state[0], k_test) for name, of in tests.items()}
        return Outcome(done, found, scores, sum(leaf.size for leaf in jax.tree.leaves(state[0])))

    return learned


def over_all_steps(batch: Batch) -> Batch:
    """The batch with every step scored."""
    return batch[0], batch[1], jnp.ones_like(batch[2])


def after(steps: int, batch: Batch) -> Batch:
    """The batch without the scores of its first `steps` steps."""
    return batch[0], batch[1], batch[2] & (jnp.arange(len(batch[2]))[:, None] >= steps)


def drawn(task: Callable[..., Batch], batch: int, length: int, **options: Any) -> Callable[[Array], Batch]:
    """Returns the task as a function of its key."""
    return partial(task, batch=batch, length=length, **options)
