"""Linear recurrences a segment of steps at a time equal those run whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.recurrence import segments
from quick import jit
from tiers import tiered

T, B, D, H = 11, 2, 3, 4
WIDE = {"param_dtype": jnp.float64}
CELLS = {
    "real": lambda: jaxrnn.min_gru(H, **WIDE),
    "first step apart": lambda: jaxrnn.rg_lru(H, **WIDE),
    "complex": lambda: jaxrnn.s5(H, states=4, **WIDE),
    "expanded": lambda: jaxrnn.mamba(H, states=2, **WIDE),
    "window": lambda: jaxrnn.qrnn(H, **WIDE),
    "matrix": lambda: jaxrnn.gla(H, heads=2, chunk=2, **WIDE),
    "window and matrix": lambda: jaxrnn.rwkv7(H, heads=2, rank=2, gate_rank=2, chunk=2, **WIDE),
    "normalized": lambda: jaxrnn.mlstm(H, heads=2, chunk=2, **WIDE),
}


DIRECTIONS = tiered([*((name, False) for name in CELLS), ("real", True)], ("real", "matrix"))


@pytest.fixture
def in_segments(monkeypatch) -> None:
    """Of the fewest steps, however small the cell."""
    monkeypatch.setattr(segments, "LARGE", 0)
    monkeypatch.setattr(segments, "SEGMENT", 0)


def value_and_gradients(cell, params, carry, xs, method, **options):
    def loss(params, carry, xs):
        carry, ys = jaxrnn.unroll(cell, params, xs, carry, method=method, **options)
        return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(jnp.cos(leaf)) for leaf in jax.tree.leaves(carry)), (carry, ys)

    return jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(params, carry, xs)


@pytest.mark.sampled
@pytest.mark.usefixtures("x64", "quick_compilation", "in_segments")
@pytest.mark.parametrize(("name", "reverse"), DIRECTIONS)
def test_segments_equal_the_whole(name, reverse):
    """In reverse one stands for all, which get flipped inputs."""
    cell = CELLS[name]()
    params = cell.init(jax.random.key(0), D)
    k_xs, k_carry = jax.random.split(jax.random.key(1))
    carry = jax.tree.map(lambda leaf: leaf + jax.random.uniform(k_carry, leaf.shape), cell.init_carry(params, (B,)))
    xs = jax.random.normal(k_xs, (T, B, D))
    flags = {"mask": jnp.arange(T * B).reshape(T, B) % 5 > 0, "resets": jnp.arange(T * B).reshape(T, B) % 7 == 3}
    program = jax.make_jaxpr(lambda xs: jaxrnn.unroll(cell, params, xs, carry, reverse=reverse))(xs)
    assert "length=5" in str(program)  # of two steps each, and one that is left over
    got, expected = (
        value_and_gradients(cell, params, carry, xs, how, reverse=reverse, **flags) for how in ("auto", "scan")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), got, expected)


@pytest.mark.usefixtures("in_segments")
@pytest.mark.parametrize("remat", [None, 1])
def test_gradients_of_half_precision_are_summed_in_single(remat):
    """A thousand equal terms, which bfloat16 could not count."""
    cell = jaxrnn.min_gru(1, param_dtype=jnp.bfloat16)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))

    def loss(params):
        return jaxrnn.unroll(cell, params, jnp.ones((1000, 1, 1), jnp.bfloat16), remat=remat)[1].astype(float).sum()

    assert jax.grad(loss)(params)["kernel"].ravel().tolist() == [0, 1000]


@pytest.mark.every
@pytest.mark.usefixtures("quick_compilation")
def test_a_large_recurrence_holds_a_segment_at_a_time():
    cell = jaxrnn.mamba(64, states=8)
    params, xs = cell.init(jax.random.key(0), 8), jnp.ones((256, 32, 8))

    def temporaries(method):
        gradient = jit(jax.grad(lambda params: jaxrnn.unroll(cell, params, xs, method=method)[1].sum()))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporaries("auto") < 0.4 * temporaries("scan")
