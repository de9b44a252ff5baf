"""Trains by truncated backpropagation through time: a long sequence in windows, with a carry from each to the next."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.types import Array, Carry, Params

Objective = Callable[[Params, Carry, Any, Array], tuple[Array, Carry]]


class State(NamedTuple):
    """The values that a training step changes.

    Attributes:
      params: the layer's.
      optimizer: the optimizer's state.
      carry: the carry after the last window; gradients do not pass through it.
    """

    params: Params
    optimizer: Any
    carry: Carry


Update = Callable[[State, int, Any], tuple[State, Array]]


def start(params: Params, carry: Carry, optimizer: optax.GradientTransformation) -> State:
    """Returns the state before the first window, of arrays of its own, some of which `Update` donates."""
    return jax.tree.map(jnp.copy, State(params, optimizer.init(params), carry))


def updater(
    objective: Objective, optimizer: optax.GradientTransformation, key: Array, layout: State | None = None
) -> Update:
    """Makes the compiled training step.

    Args:
      objective: `(params, carry, window, key) -> (loss, carry)`; it returns the carry after the window.
      optimizer: from optax.
      key: step `n` draws from `fold_in(key, n)`, so that a run may stop and resume at any step.
      layout: on several devices, the sharding of each part of the state, which a step has to keep.

    Returns:
      `update(state, step, window) -> (state, loss)`, which donates the optimizer's state alone: the parameters and the
      carry before a step stay, so that `jaxrnn.diagnose.first_nonfinite` can say why it failed.

    Example:
      Four windows of a sequence that a network learns to copy:

      >>> import jax, jax.numpy as jnp, jaxrnn, optax
      >>> layer = jaxrnn.stack(jaxrnn.gru(8), jaxrnn.dense(1))
      >>> def objective(params, carry, window, key):
      ...     carry, ys = jaxrnn.unroll(layer, params, window, carry, key=key)
      ...     return jnp.mean((ys - window) ** 2), carry
      >>> xs = jnp.sin(jnp.arange(32.0)).reshape(4, 8, 1, 1)
      >>> params = layer.init(jax.random.key(0), 1)
      >>> state = start(params, layer.init_carry(params, (1,)), optax.adam(0.01))
      >>> update = updater(objective, optax.adam(0.01), jax.random.key(1))
      >>> losses = [float(loss) for _, state, loss in train(update, state, lambda step: xs[step], range(4))]
      >>> losses[-1] < losses[0]
      True
    """

    # The loss is a scalar, so it lies as the parameters do, whole.
    out_shardings = None if layout is None else (layout, layout.params)

    @partial(jax.jit, donate_argnames="moments", out_shardings=out_shardings)
    def compiled(params: Params, carry: Carry, moments: Any, step: int, window: Any) -> tuple[State, Array]:
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, carry), grads = gradient(params, carry, window, jax.random.fold_in(key, step))
        updates, moments = optimizer.update(grads, moments, params)
        return State(optax.apply_updates(params, updates), moments, carry), loss

    def update(state: State, step: int, window: Any) -> tuple[State, Array]:
        return compiled(state.params, state.carry, state.optimizer, step, window)

    return update


def train(
    update: Update, state: State, window: Callable[[int], Any], steps: range
) -> Iterator[tuple[int, State, Array]]:
    """Yields `(steps done, state, loss)` after each step; the optimizer's state is valid until the next step.

    Args:
      update: from `updater`.
      state: from `start`, or from a checkpoint.
      window: step `n` trains on `window(n)`.
      steps: the steps to do.
    """
    for step in steps:
        state, loss = update(state, step, window(step))
        yield step + 1, state, loss


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Makes Ctrl-C, SIGTERM and SIGHUP only request a stop: the function that it yields returns whether one did.

    A second signal acts as usual, in case the first has no effect. SIGHUP, which a terminal sends when it is closed,
    stays ignored under `nohup`. In other threads than the main one, where Python takes no signals, nothing changes.
    """
    asked = False
    before: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        asked = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGINT, signal.SIGTERM]
        hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
        if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
            numbers.append(hang_up)
        before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: asked
    finally:
        restore()
