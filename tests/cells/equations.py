"""What tests of dense cells share: pre-activations in NumPy, and a loop over an equation beside the cell."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params
from compare import assert_close

T, B, D, H = 6, 3, 2, 4
every_equation = partial(pytest.mark.parametrize, "equation", ids=lambda equation: equation.__name__)


def gates(p, x, h, *, without=()):
    """`W x + U h + b` of each gate; for a gate in `without`, the input's part alone."""
    zs = np.einsum("bd,dgh->gbh", x, p["kernel"])
    zs = zs + p["bias"][:, None] if "bias" in p else zs
    U = p["recurrent_kernel"]
    return [z if g in without else z + h @ U[:, g] for g, z in enumerate(zs)]


def norm(a, scale, bias):
    """Ba et al. 2016, equation 4, over the features of one gate."""
    return scale * (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6) + bias


def wave(x):
    """A gate that opens for large inputs of either sign, so that `1 - wave(x)` is not `wave(-x)`."""
    return jnp.sin(x) ** 2


def numpy_wave(x):
    return np.sin(x) ** 2


def hold(equation, cell):
    """Compares outputs and the final carry, under every method, with a loop over `equation`."""
    params = random_params(cell, D)
    carry = random_like(cell.init_carry(params, (B,)), seed=1)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    state, ys = tuple(carry), []
    for x in xs:
        state, y = equation(params, x, *state)
        ys.append(y)
    for method in jaxrnn.methods(cell):
        after, actual = jaxrnn.unroll(cell, params, xs, carry, method=method)
        assert_close((tuple(after), actual), (state, np.stack(ys)), 1e-12)
