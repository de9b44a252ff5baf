"""Programs that leave the process: exported with unknown sizes or for other platforms, stored, read and run."""

import ast
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import jaxrnn
from jaxrnn import linen as jaxrnn_linen
from jaxrnn import nnx as jaxrnn_nnx
from jaxrnn.recurrence import segments
from quick import jit
from tests.laws import cells
from tests.laws.families import one_of_each_family
from tests.laws.reference import floating
from tests.layers import cases
from tiers import tiered

pytestmark = pytest.mark.usefixtures("quick_compilation")
PACKAGE = Path(jaxrnn.__file__).parent
for name in ("odd", "counting", "from_contributing"):  # as users do for carries of their own
    carry = type(cells.inputs(name, dtype=np.float32)[-1])
    export.register_namedtuple_serialization(carry, serialized_name=f"tests.{carry.__name__}")


def carried(program, args, sizes):
    """`program`, stored by a process that knows `sizes` of `args` as symbols alone, and read again."""
    shapes = export.symbolic_args_specs(args, sizes)
    stored = export.export(jax.jit(program))(*shapes).serialize()
    return export.deserialize(stored).call


def close(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, expected)


def with_gradients(run, count):
    """`run`, a sum of curves of all that it returns differentiated in its first `count` arguments."""

    def loss(*args):
        out = run(*args)
        return sum(jnp.sum(jnp.sin(leaf + 0.1)) for leaf in jax.tree.leaves(out)), out

    def run_and_grads(*args):
        value, grads = jax.value_and_grad(loss, range(count), has_aux=True, allow_int=True)(*args)
        return value, floating(grads)  # integers have none

    return run_and_grads


# One of each engine, and of each form of its carry: what these compile to is compared, that of the others is not.
RUN = ("odd", "gru_before", "rg_lru", "gla", "qrnn", "conv_lstm")


@one_of_each_family
def test_every_cell_where_batch_and_time_are_unknown(name):
    cell, args = cells.make(name), cells.inputs(name, dtype=np.float32)
    program = with_gradients(lambda params, xs, carry: jaxrnn.unroll(cell, params, xs, carry), 3)
    moved = carried(program, args, (None, "t, b, ...", "b, ..."))
    if name in RUN:
        close(moved(*args), jit(program)(*args))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "sizes", "options"),
    [("odd", "t, ...", {"remat": "carries"}), ("rg_lru", f"{cells.T}, b, ...", {"remat": 2, "reverse": True})],
)
def test_one_unknown_size_under_flags(name, sizes, options):
    cell, (params, xs, _) = cells.make(name), cells.inputs(name, dtype=np.float32)
    mask, resets = cells.FLOWS["packed_holes"]
    program = with_gradients(
        lambda params, xs, mask, resets: jaxrnn.unroll(cell, params, xs, mask=mask, resets=resets, **options), 2
    )
    args = (params, xs, mask, resets)
    close(carried(program, args, (None, sizes, sizes, sizes))(*args), jit(program)(*args))


@pytest.mark.parametrize("method", ["scan", "associative", "chunked"])
def test_every_way_through_a_linear_recurrence_of_unknown_length(method):
    a, b = (np.random.default_rng(i).uniform(size=(70, 3)).astype(np.float32) for i in range(2))

    def run(a, b):
        return jaxrnn.linear_scan(a, b, method=method)[1]

    close(carried(run, (a, b), "t, ...")(a, b), run(a, b))


@pytest.mark.parametrize("name", tiered(cases.LAYERS, ("blocks", "bidirectional", "attention")))
def test_every_layer_where_batch_and_time_are_unknown(name):
    params, xs = jax.tree.map(lambda x: x.astype(np.float32), cases.numbers(name))
    program = with_gradients(lambda params, xs: cases.unroll(name, params, xs), 2)
    moved = carried(program, (params, xs), (None, "t, b, ..."))
    if name in ("blocks", "bidirectional"):  # the others are made of the same parts
        close(moved(params, xs), jit(program)(params, xs))


@pytest.mark.every
def test_strides_where_batch_and_time_are_unknown():
    layer = jaxrnn.stack(jaxrnn.conv(4, 3, stride=2), jaxrnn.pool(2), jaxrnn.gru(3))
    params = layer.init(jax.random.key(0), 3)
    xs = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)
    program = with_gradients(lambda params, xs, lengths: jaxrnn.unroll(layer, params, xs, lengths=lengths), 2)
    args = (params, xs, np.array([9, 4], np.int32))
    close(carried(program, args, (None, "t, b, ...", "b"))(*args), jit(program)(*args))


@pytest.mark.every
@pytest.mark.parametrize("face", ["linen", "nnx"])
def test_both_faces_where_batch_and_time_are_unknown(face):
    cell, xs = jaxrnn.lstm(4), np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    options, lengths = {"reverse": True, "return_carry": True}, np.array([5, 3], np.int32)
    if face == "linen":
        model = jaxrnn_linen.RNN(cell, **options)
        params = model.init(jax.random.key(0), xs)

        def run(params, xs, lengths):
            return model.apply(params, xs, seq_lengths=lengths)
    else:
        graph, state = nnx.split(jaxrnn_nnx.RNN(cell, 3, **options, rngs=nnx.Rngs(0)))
        params = nnx.to_pure_dict(state)

        def run(params, xs, lengths):
            return nnx.merge(graph, params)(xs, seq_lengths=lengths)

    program = with_gradients(run, 2)
    args = (params, xs, lengths)
    close(carried(program, args, (None, "b, t, ...", "b"))(*args), jit(program)(*args))


def test_a_step_can_be_stored_with_its_carry():
    layer = jaxrnn.stack(jaxrnn.causal_conv(3), jaxrnn.rnn(jaxrnn.lstm(4)))
    params = layer.init(jax.random.key(0), 3)
    args = (params, layer.init_carry(params, (2,)), np.ones((2, 3), np.float32))
    close(carried(layer.step, args, (None, "b, ...", "b, ..."))(*args), layer.step(*args))


def test_each_platform_takes_its_way(monkeypatch):
    """A gradient of a linear recurrence has loops over segments on the CPU, and none elsewhere."""
    monkeypatch.setattr(segments, "LARGE", 0)
    cell = jaxrnn.min_gru(4)
    params = cell.init(jax.random.key(0), 3)
    gradient = jax.jit(jax.grad(lambda params, xs: jaxrnn.unroll(cell, params, xs)[1].sum()))

    def loops(*platforms):
        program = export.export(gradient, platforms=platforms)(params, np.ones((1024, 2, 3), np.float32))
        return len(re.findall(r"stablehlo\.while", program.mlir_module()))

    assert loops("cuda") == loops("tpu") == 0 < loops("cpu") <= loops("cpu", "cuda", "tpu")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_asks_where_it_is_traced(path):
    """What is traced on one machine may be compiled for another."""
    names = {n.attr for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Attribute)}
    assert not names & {"default_backend", "local_devices", "device_count"}
