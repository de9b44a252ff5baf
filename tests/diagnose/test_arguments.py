"""One line for each wrong argument of the diagnostics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import zero_params
from jaxrnn.diagnose import gradient_profile, jacobian_spectrum, lyapunov_spectrum

T, B, D, H = 4, 2, 3, 2
CELL = jaxrnn.gru(H)
DENSE = jaxrnn.stack(jaxrnn.dense(2))

pytestmark = pytest.mark.usefixtures("quick_compilation")
XS = np.ones((T, B, D), np.float32)


def total(ys: Any) -> Any:
    return ys.sum()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: gradient_profile(CELL, p, XS, lambda ys: ys), "loss returns shape \\(4, 2, 2\\) and dtype"),
        (lambda p: gradient_profile(CELL, p, XS, lambda ys: 1), "loss returns shape \\(\\) and dtype int32, "),
        (lambda p: gradient_profile(CELL, p, XS, lambda ys: (ys.sum(), 0)), "loss returns a tuple, expected one float"),
        (lambda p: gradient_profile(CELL, p, XS, 3), "loss is 3, expected a function of 1 argument"),
        (lambda p: gradient_profile(CELL, p, XS[..., :2], total), "params.*kernel.*shape .*, expected"),
        (lambda p: gradient_profile(CELL, p, XS.astype(int), total), "xs has dtype int.., expected a floating one"),
        (lambda p: gradient_profile(CELL, {}, XS, total), "params lacks"),
        (lambda p: gradient_profile(CELL, p, XS, total, np.ones((B, H))), "carry .*expected HiddenCarry"),
        (lambda p: gradient_profile(CELL, p, XS, total, mask=np.ones((T, 1), bool)), "mask has shape"),
        (lambda p: gradient_profile(CELL, p, XS, total, lengths=np.ones(3, int)), "lengths has shape"),
        (lambda p: gradient_profile(CELL, p, XS, total, context=1), "context is given, expected None"),
        (lambda p: gradient_profile(jaxrnn.bidirectional(CELL), p, XS, total), "the layer is not causal, since bi"),
        (lambda p: gradient_profile(len, p, XS, total), "model is of type builtin_function_or_method, expected a Cell"),
        (lambda p: jacobian_spectrum(CELL, p, XS, 2, 3), "t is 2 and k is 3, expected t \\+ k of at most 4, "),
        (lambda p: jacobian_spectrum(CELL, p, XS, -1, 3), "t is -1, expected an int of 0 or more"),
        (lambda p: jacobian_spectrum(CELL, p, XS, 0, 0), "k is 0, expected an int of 1 or more"),
        (lambda p: jacobian_spectrum(DENSE, DENSE.init(jax.random.key(0), D), XS, 0, 1), "model is .*no floating"),
        (lambda p: lyapunov_spectrum(CELL, p, XS, 3), "count is 3, expected at most 2, the floating"),
        (lambda p: lyapunov_spectrum(CELL, p, XS, 0), "count is 0, expected an int of 1 or more, or None"),
        (lambda p: lyapunov_spectrum(CELL, p, XS[:0]), "xs has shape \\(0, 2, 3\\), expected .* with T of 1"),
        (lambda p: lyapunov_spectrum(DENSE, DENSE.init(jax.random.key(0), D), XS), "model is .*no floating"),
    ],
)  # fmt: skip
def test_one_line(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^(gradient_profile|jacobian_spectrum|lyapunov_spectrum): {said}") as caught:
        call(zero_params(CELL, D))
    assert "\n" not in str(caught.value)


@pytest.mark.every
def test_half_precision_and_mapped_parameters() -> None:
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), CELL.init(jax.random.key(0), D))
    xs = jnp.asarray(XS, jnp.bfloat16)
    carry = jaxrnn.HiddenCarry(jnp.zeros((B, H), jnp.bfloat16))
    for given in (None, carry):
        assert gradient_profile(CELL, params, xs, total, given).dtype == jnp.float32
        assert lyapunov_spectrum(CELL, params, xs, carry=given).dtype == jnp.float32
        assert jacobian_spectrum(CELL, params, xs, 1, 2, given).dtype == jnp.float32
    several = jax.vmap(CELL.init, (0, None))(jax.random.split(jax.random.key(0), 3), D)
    found = jax.vmap(lambda params: lyapunov_spectrum(CELL, params, XS))(several)
    one = lyapunov_spectrum(CELL, jax.tree.map(lambda p: p[1], several), XS)
    np.testing.assert_allclose(found[1], one, rtol=1e-5)
