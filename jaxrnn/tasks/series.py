"""Series of real numbers: a sine under noise, and impulses at irregular times."""

import jax
import jax.numpy as jnp

from jaxrnn.options import checked
from jaxrnn.types import Array

SLOWEST, FASTEST = 0.1, 0.6  # radians a step: periods of about 63 and 10 steps


@checked
def noisy_sine(key: Array, batch: int, length: int, *, noise: float = 0.3) -> tuple[Array, Array, Array]:
    """Draws sines under noise; the target at each step is the next value of the sine, without noise.

    Each has a phase that is uniform over a period, and an angular frequency ω that is uniform between 0.1 and 0.6
    radians a step. The inputs are `sin(ω t + φ)` with normal noise of standard deviation `noise`.

    Chance: a mean squared error of 1/2 for always predicting 0. To repeat the input costs about 0.070 + `noise`²: the
    mean of 1 − cos ω, and the noise. Best: 0 from the third step on without noise, where the next value is
    `2 cos(ω) xₜ − xₜ₋₁`; with noise it tends to 0 as the steps grow in number.

    Args:
      key: a PRNG key.
      batch: B, the number of series.
      length: T, the number of steps.
      noise: the standard deviation of the noise; 0 or more.

    Returns:
      `(inputs, targets, mask)`: inputs and targets float32 `[T, B, 1]`; mask bool `[T, B]`, True from the third step
      on.

    Raises:
      ValueError: a size is not a positive int; `noise` is negative.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.noisy_sine(jax.random.key(0), batch=2, length=50)
      >>> inputs.shape, mask[:3, 0].tolist()
      ((50, 2, 1), [False, False, True])
    """
    if noise < 0:
        raise ValueError(f"noisy_sine: noise is {noise}, expected 0 or more, a standard deviation")
    k_speed, k_phase, k_noise = jax.random.split(key, 3)
    speed = jax.random.uniform(k_speed, (batch,), jnp.float32, SLOWEST, FASTEST)
    phase = jax.random.uniform(k_phase, (batch,), jnp.float32, 0, 2 * jnp.pi)
    steps = jnp.arange(length + 1, dtype=jnp.float32)[:, None]
    clean = jnp.sin(speed[None] * steps + phase[None])[..., None]
    inputs = clean[:-1] + noise * jax.random.normal(k_noise, (length, batch, 1), jnp.float32)
    return inputs, clean[1:], jnp.broadcast_to(steps[:-1] >= 2, (length, batch))


@checked
def irregular(key: Array, batch: int, length: int) -> tuple[Array, Array, Array]:
    """Draws impulses at irregular times; the target is their sum, each faded by the time since it came.

    The time Δₜ since the step before is exponential with mean 1, an impulse xₜ is 1 or −1, and the target is
    `yₜ = exp(−Δₜ) yₜ₋₁ + xₜ`: the current of a leaky integrator with a time constant of 1. The elapsed time is the last
    feature of an input, where the timed cells of jaxrnn expect it. The task is this library's own.

    Chance: a mean squared error of 3/2 for always predicting 0, after some steps. A model that ignores the times cannot
    be better than 1/6: it knows the mean 1/2 of `exp(−Δₜ)` and no more. Best: 0.

    Args:
      key: a PRNG key.
      batch: B, the number of series.
      length: T, the number of steps.

    Returns:
      `(inputs, targets, mask)`: inputs float32 `[T, B, 2]`, an impulse and the time since the step before; targets
      float32 `[T, B, 1]`; mask bool `[T, B]`, True everywhere.

    Raises:
      ValueError: a size is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> inputs, targets, mask = jaxrnn.tasks.irregular(jax.random.key(0), batch=2, length=50)
      >>> inputs.shape, targets.shape
      ((50, 2, 2), (50, 2, 1))
    """
    k_impulses, k_times = jax.random.split(key)
    impulses = jax.random.rademacher(k_impulses, (length, batch), jnp.float32)
    elapsed = jax.random.exponential(k_times, (length, batch), jnp.float32)

    def fade(y: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        x, dt = step
        y = jnp.exp(-dt) * y + x
        return y, y

    _, ys = jax.lax.scan(fade, jnp.zeros(batch, jnp.float32), (impulses, elapsed))
    return jnp.stack([impulses, elapsed], -1), ys[..., None], jnp.ones((length, batch), bool)
