"""`fold` equals `unroll` and then the loss, whatever the chunks, and never holds all outputs."""

import functools
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxrnn
from compare import assert_close
from jaxrnn.recurrence.segments import lengths_of
from quick import jit
from tiers import tiered

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H = 13, 2, 3, 4
CHUNKS = ("sqrt", T + 7, (6, 2))
WIDE = {"param_dtype": jnp.float64}
MASK = np.array([[t % 4 != 3, t < 9] for t in range(T)])
RESETS = np.array([[t in (0, 6), t == 4] for t in range(T)])
TARGETS = jax.random.normal(jax.random.key(2), (T, B, H))


def squares(ys, targets):
    """A loss that is not 0 for an output of 0."""
    return jnp.sum((ys - targets - 1) ** 2)


def noisy():
    return jaxrnn.stack(
        jaxrnn.dropout(0.2),
        jaxrnn.dropout(0.3, per_sequence=True),
        jaxrnn.zoneout(jaxrnn.weight_dropout(jaxrnn.recurrent_dropout(jaxrnn.elman(H, **WIDE), 0.2), 0.1), 0.1),
    )


MODELS = {
    "dense engine": lambda: jaxrnn.gru(H, **WIDE),
    "plain loop": lambda: jaxrnn.gru(H, reset="before", **WIDE),
    "linear": lambda: jaxrnn.rg_lru(H, **WIDE),
    "times": lambda: jaxrnn.cfc(H, **WIDE),
    "learned carry": lambda: jaxrnn.learned_carry(jaxrnn.elman(H, **WIDE)),
    "stack": lambda: jaxrnn.stack(jaxrnn.causal_conv(3, param_dtype=jnp.float64), jaxrnn.elman(H, **WIDE), jnp.tanh),
    "random": noisy,
}


@functools.cache
def case(name):
    model = MODELS[name]()
    params = jax.tree.map(lambda p: p + 0.1, model.init(jax.random.key(0), D))
    xs = jnp.abs(jax.random.normal(jax.random.key(1), (T, B, D)))
    carry = jax.tree.map(lambda leaf: leaf + 0.2, model.init_carry(params, (B,)))
    return model, params, xs, carry


@functools.cache
def outcome(name, chunk=None, seed=None):
    """The carry, the total and their gradients, by `unroll` for no chunk."""
    model, params, xs, carry = case(name)
    flags = {"mask": MASK, "resets": RESETS, "key": None if seed is None else jax.random.key(seed)}

    def run(params, xs, carry):
        if chunk is None:
            carry, ys = jaxrnn.unroll(model, params, xs, carry, **flags)
            total = squares(ys, TARGETS)
        else:
            carry, total = jaxrnn.fold(model, params, xs, squares, carry, targets=TARGETS, chunk=chunk, **flags)
        return total + sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry)), (carry, total)

    return jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))(params, xs, carry)


@pytest.mark.parametrize("name", tiered([name for name in MODELS if name != "random"], ("dense engine", "linear")))
def test_chunks_of_every_kind_of_model_equal_the_whole(name):
    assert_close(outcome(name, 5), outcome(name))


@pytest.mark.sampled
@pytest.mark.parametrize("chunk", CHUNKS, ids=str)
def test_every_chunk_draws_and_gives_the_same(chunk):
    assert_close(outcome("random", chunk, seed=3), outcome("random", seed=3))


def test_the_key_has_influence():
    assert np.abs(outcome("random")[0][0] - outcome("random", seed=3)[0][0]) > 1e-3


def test_a_layer_of_ones_own_draws_the_same_as_documented():
    def run(params, carry, xs, steps):
        keys = jax.vmap(lambda t: jax.random.fold_in(steps.key, steps.first + t))(jnp.arange(xs.shape[0]))
        return carry, xs + jax.vmap(lambda key: jax.random.normal(key, xs.shape[1:]))(keys)

    noise = jaxrnn.layer("noise", lambda key, d: {}, run, lambda params, carry, x: (carry, x), draws=True)
    xs, key = jnp.zeros((T, B, D)), jax.random.key(0)
    _, ys = jaxrnn.unroll(noise, {}, xs, key=key)
    _, total = jaxrnn.fold(noise, {}, xs, lambda ys: jnp.sum(jnp.sin(ys)), chunk=3, key=key)
    assert_close(total, jnp.sum(jnp.sin(ys)))


@pytest.mark.parametrize("total", [0, 1, 2, 13])
@pytest.mark.parametrize("chunk", ["sqrt", 3, (9, 4, 2)], ids=str)
def test_each_step_counts_once(total, chunk):
    model, params, xs, _ = case("dense engine")

    def steps(ys):
        return jnp.float32(ys.shape[0])

    def outputs(ys):
        return jnp.sum(ys == 0) + 0.0  # of padding there would be zeros

    for loss, wanted in ((steps, total), (outputs, 0)):
        carry, found = jaxrnn.fold(model, params, xs[:total], loss, chunk=chunk)
        assert (found, found.dtype) == (wanted, loss(xs).dtype)
    assert_close(carry, jaxrnn.unroll(model, params, xs[:total])[0])


@pytest.mark.every
def test_token_ids_a_context_and_targets_of_several_arrays():
    decoder = jaxrnn.stack(jaxrnn.embedding(5, D), jaxrnn.attending(jaxrnn.gru(H), memory_features=3))
    memory = jaxrnn.Memory(jax.random.normal(jax.random.key(0), (6, B, 3)), jnp.ones((6, B), bool))
    params = decoder.init(jax.random.key(1), None)
    ids = jax.random.randint(jax.random.key(2), (T, B), 0, 5)
    targets = {"weights": MASK.astype(float), "ids": np.asarray(ids)}

    def loss(ys, targets):
        scores = jnp.take_along_axis(ys, targets["ids"][..., None] % H, -1)[..., 0]
        return jnp.sum(targets["weights"] * scores)

    _, total = jaxrnn.fold(decoder, params, ids, loss, targets=targets, context=memory, chunk=4)
    assert_close(total, loss(jaxrnn.unroll(decoder, params, ids, context=memory)[1], targets), 1e-5)


@pytest.mark.sampled
@pytest.mark.parametrize("chunk", [4, (4, 2), T], ids=str)
def test_truncation_keeps_values_and_stops_gradients_between_chunks(chunk):
    model, params, xs, carry = case("dense engine")
    length = chunk[0] if isinstance(chunk, tuple) else chunk

    def folded(params, carry):
        carry, total = jaxrnn.fold(model, params, xs, squares, carry, targets=TARGETS, chunk=chunk, truncate=True)
        return total + jnp.sum(carry.h), total

    def by_hand(params, carry):
        total = 0
        for t in range(0, T, length):
            carry = jax.lax.stop_gradient(carry) if t else carry
            carry, ys = jaxrnn.unroll(model, params, xs[t : t + length], carry)
            total += squares(ys, TARGETS[t : t + length])
        return total + jnp.sum(carry.h), total

    found, wanted = (jit(jax.value_and_grad(f, (0, 1), has_aux=True))(params, carry) for f in (folded, by_hand))
    assert_close(found, wanted)
    assert np.abs(found[1][1].h).min() > 1e-3  # the first chunk has a gradient in the initial carry
    whole = squares(jaxrnn.unroll(model, params, xs, carry)[1], TARGETS)
    assert_close(found[0][1], whole)


@pytest.mark.every
def test_derivatives_of_second_order_and_forward_mode():
    model, params, xs, _ = case("plain loop")
    bias = params["bias"]

    def total(chunk):
        def of_bias(bias):
            given = params | {"bias": bias}
            if chunk is None:
                return squares(jaxrnn.unroll(model, given, xs)[1], TARGETS)
            return jaxrnn.fold(model, given, xs, squares, targets=TARGETS, chunk=chunk)[1]

        return of_bias

    for derivative in (jax.hessian, jax.jacfwd):
        assert_close(jit(derivative(total((6, 2))))(bias), jit(derivative(total(None)))(bias), 1e-9)


def test_vmap_and_a_mesh():
    model, params, xs, carry = case("stack")

    def total(xs, carry, targets):
        return jaxrnn.fold(model, params, xs, squares, carry, targets=targets, chunk=4)[1]

    wanted = total(xs, carry, TARGETS)
    alone = jit(jax.vmap(total, (1, 0, 1)))(xs, carry, TARGETS)
    assert_close(alone.sum(), wanted)
    rows, mesh = P(None, "batch"), jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,))
    for check in (True, False):
        mapped = jax.shard_map(
            lambda *a: jax.lax.psum(total(*a), "batch"),
            mesh=mesh,
            in_specs=(rows, P("batch"), rows),
            out_specs=P(),
            check_vma=check,
        )
        assert_close(jit(jax.grad(mapped))(xs, carry, TARGETS), jit(jax.grad(total))(xs, carry, TARGETS))


def test_gradients_of_half_precision_are_summed_in_single():
    """A thousand equal terms, which bfloat16 could not count."""
    cell = jaxrnn.elman(1, activation=lambda x: x, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))

    def total(params):
        return jaxrnn.fold(cell, params, jnp.ones((1000, 1, 1), jnp.bfloat16), jnp.sum, chunk=1)[1]

    assert total(params).dtype == jnp.float32
    assert jax.grad(total)(params)["kernel"].ravel().tolist() == [1000]


@pytest.mark.parametrize("scheme", ["sqrt", "recursive"])
@pytest.mark.parametrize("total", [2, 3, 63, 64, 65, 4_096, 4_099, 100_000, 1_000_000])
def test_lengths_are_small_and_shrink(scheme, total):
    lengths = lengths_of(scheme, total)
    assert len(lengths) == (1 if scheme == "sqrt" or total <= 4_096 else {4_099: 2, 100_000: 2, 1_000_000: 3}[total])
    for whole, part in pairwise((total, *lengths)):
        assert 1 <= part < whole and whole / part <= (1.5 * total**0.5 + 1 if scheme == "sqrt" else 100)
    assert [lengths_of(scheme, short) for short in (0, 1)] == [(), ()]


def energy(ys):
    return jnp.sum(ys**2)


@functools.cache
def temporaries(how, total=20_000, features=16):
    cell = jaxrnn.lstm(features)
    params = cell.init(jax.random.key(0), 4)

    def loss(params, xs):
        if isinstance(how, str) and how.startswith("fold"):
            return jaxrnn.fold(cell, params, xs, energy, chunk=how.removeprefix("fold "))[1]
        return energy(jaxrnn.unroll(cell, params, xs, remat=how)[1])

    shapes = jax.ShapeDtypeStruct((total, 1, 4), jnp.float32)
    compiled = jax.jit(jax.grad(loss)).lower(params, shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_compiled_programs_hold_what_they_should():
    """The outputs of the whole sequence and their gradients take `2 * 20_000 * features` floats."""
    outputs = 2 * 20_000 * 16 * 4
    assert temporaries(None) > 3 * outputs
    assert outputs < temporaries("recursive") <= temporaries("sqrt") < temporaries("carries") < temporaries(None)
    assert temporaries("sqrt") < 1.2 * outputs
    assert temporaries("fold recursive") < temporaries("fold sqrt") < 0.1 * outputs


def test_memory_grows_as_the_root():
    longer, shorter = temporaries("fold sqrt", 320_000), temporaries("fold sqrt")
    assert longer < 5 * shorter  # for 16 times as many steps
    assert temporaries("fold recursive", 320_000) < longer


CELL, XS = jaxrnn.gru(H), np.ones((5, B, D), np.float32)
PARAMS = CELL.init(jax.random.key(0), D)


def fold(**given):
    arguments = {"model": CELL, "params": PARAMS, "xs": XS, "loss": jnp.sum} | given
    return jaxrnn.fold(**arguments)


CHUNK = "expected 'sqrt', 'recursive', an int of 1 or more, or a tuple of such ints, each smaller than the one before"
AHEAD = jaxrnn.stack(jaxrnn.bidirectional(CELL), jaxrnn.dense(2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fold(chunk=0), f"fold: chunk is 0, {CHUNK}"),
        (lambda: fold(chunk=True), "fold: chunk is True, expected 'sqrt'"),
        (lambda: fold(chunk=()), "fold: chunk is (), expected 'sqrt'"),
        (lambda: fold(chunk=(2, 50)), "fold: chunk is (2, 50), expected 'sqrt'"),
        (lambda: fold(chunk=2.5), "fold: chunk is 2.5, expected 'sqrt'"),
        (lambda: fold(chunk=[4, 2]), "fold: chunk is [4, 2], expected 'sqrt'"),
        (lambda: fold(chunk="log"), "fold: chunk is 'log', expected 'sqrt'"),
        (lambda: fold(truncate=1), "fold: truncate is 1, expected"),
        (lambda: fold(loss=None), "fold: loss is None, expected a function (ys, targets) -> scalar"),
        (
            lambda: fold(loss=lambda ys: ys.sum(-1)),
            "fold: loss returns shape (2, 2) and dtype float32, expected one floating number; a sum over the chunk's "
            "outputs is one",
        ),
        (lambda: fold(loss=lambda ys: ys.shape[0]), "fold: loss returns an int, expected one floating number"),
        (lambda: fold(loss=lambda ys: None), "fold: loss returns None, expected one floating number"),
        (
            lambda: fold(targets={"y": jnp.ones((4, B))}),
            "fold: targets['y'] has shape (4, 2), expected one that begins with T from xs of shape (T=5, 2, 3)",
        ),
        (lambda: fold(targets=["a"]), "fold: targets[0] is"),
        (lambda: fold(xs=XS[..., :2]), "fold: params['kernel'] has shape"),
        (lambda: fold(lengths=jnp.ones(3, int)), "fold: lengths has shape (3,), expected (2,)"),
        (lambda: fold(model=AHEAD, params=AHEAD.init(jax.random.key(0), D)), "fold: the layer is not causal"),
        (lambda: fold(context=1), "fold: context is given, expected None"),
    ],
)
def test_bad_input_is_one_line(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
