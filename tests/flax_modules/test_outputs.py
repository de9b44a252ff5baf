"""What both Flax modules take and give beyond `[B, T, D]`: spatial axes, and outputs of several arrays."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from layers.cases import neighbours

import jaxrnn

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, T, S, D, H = 2, 5, 3, 3, 4
LENGTHS = np.array([3, 5])
X = np.random.default_rng(0).normal(size=(B, T, S, D)).astype(np.float32)
SPATIAL = neighbours(H)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def modules(cell: Any, in_features: int) -> Any:
    """Both modules with the same parameters, and those."""
    params = cell.init(jax.random.key(0), in_features)
    nnx_module = jaxrnn.nnx.RNN(cell, in_features, rngs=nnx.Rngs(0))
    nnx.update(nnx_module, params)
    linen_module = jaxrnn.linen.RNN(cell)
    return params, [partial(linen_module.apply, {"params": params}), nnx_module]


@pytest.mark.sampled
@pytest.mark.parametrize("keep_order", [True, False], ids=["aligned", "in that order"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_time_stands_before_the_spatial_axes(reverse: bool, keep_order: bool) -> None:
    params, faces = modules(SPATIAL, D)
    flags = {"return_carry": True, "reverse": reverse, "keep_order": keep_order}
    for face in faces:
        carry, ys = face(X, seq_lengths=LENGTHS, **flags)
        assert ys.shape == (B, T, S, H)
        for row, length in enumerate(LENGTHS):
            alone, out = jaxrnn.unroll(SPATIAL, params, X[row, :length], reverse=reverse)
            out = out[::-1] if reverse and not keep_order else out
            close(ys[row], jnp.zeros((T, S, H)).at[:length].set(out))
            close(carry.h[row], alone.h)


def test_masks_and_carries_have_no_spatial_axes_or_all_of_them() -> None:
    params, faces = modules(SPATIAL, D)
    mask, start = np.arange(T) != LENGTHS[:, None] - 1, jaxrnn.HiddenCarry(jnp.ones((B, S, H)))
    expected = jaxrnn.unroll(SPATIAL, params, X.swapaxes(0, 1), start, mask=mask.T)
    for face in faces:
        carry, ys = face(X, mask=mask, initial_carry=start, return_carry=True)
        jax.tree.map(close, (carry, ys.swapaxes(0, 1)), expected)
        time_major = face(X.swapaxes(0, 1), mask=mask.T, initial_carry=start, time_major=True)
        close(time_major, expected[1])
        with pytest.raises(
            ValueError, match=r"RNN: mask has shape \(2, 5, 3\), expected \(2, 5\) from inputs of shape"
        ):
            face(X, mask=np.ones((B, T, S), bool))
        with pytest.raises(ValueError, match=r"RNN: inputs has shape \(3, 3\), expected \[\*batch, T, \*spatial, D\]"):
            face(X[0, 0])


def test_a_stack_tells_its_spatial_axes() -> None:
    layer = jaxrnn.stack(jaxrnn.dense(H), jaxrnn.bidirectional(SPATIAL), jaxrnn.residual(jaxrnn.layer_norm()))
    params, faces = modules(layer, D)
    ys = jaxrnn.unroll(layer, params, X.swapaxes(0, 1), lengths=LENGTHS)[1]
    for face in faces:
        close(face(X, seq_lengths=LENGTHS), ys.swapaxes(0, 1))


def test_every_output_of_a_cell_is_batch_major() -> None:
    cell = jaxrnn.with_carry(jaxrnn.lstm(H))
    params, faces = modules(cell, D)
    x = X[:, :, 0]
    for face in faces:
        ys, carries = face(x, seq_lengths=LENGTHS, reverse=True)
        for row, length in enumerate(LENGTHS):
            expected = jaxrnn.unroll(cell, params, x[row, :length], reverse=True)[1]
            close(ys[row, :length], expected[0][::-1])
            close(carries.c[row, :length], expected[1].c[::-1])
            assert (carries.c[row, length:] == 0).all()
