"""`jaxrnn.nnx.RNN`: Flax's calls with Flax's numbers, one parameter tree, and a state of parameters alone."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from laws import cells

import jaxrnn
from compare import assert_close, assert_equal
from flax_modules.examples import CELLS, LENGTHS, B, D, H, T, X, normal, perturbed

pytestmark = pytest.mark.usefixtures("quick_compilation")


STACK = jaxrnn.stack(jaxrnn.rnn(jaxrnn.gru(H)), jaxrnn.dropout(0.5), jaxrnn.dense(2))


def model_of(cell: Any, params: Any = None, **attributes: Any) -> Any:
    model = jaxrnn.nnx.RNN(cell, D, rngs=nnx.Rngs(0), **attributes)
    if params is not None:
        nnx.update(model, params)
    return model


def tree_of(model: Any) -> Any:
    return nnx.to_pure_dict(nnx.state(model))


def flax_peer(name: str, params: Any) -> Any:
    """Flax's cell of that name with `params`; its GRU has no `recurrent_bias`, which must be zero."""
    kernel, recurrent, bias = params["kernel"], params["recurrent_kernel"], params["bias"]
    rngs = nnx.Rngs(0)
    if name == "lstm":
        cell = nnx.LSTMCell(D, H, rngs=rngs)
        inputs = {g: {"kernel": kernel[:, k]} for k, g in enumerate(("ii", "if_", "ig", "io"))}
        states = {g: {"kernel": recurrent[:, k], "bias": bias[k]} for k, g in enumerate(("hi", "hf", "hg", "ho"))}
        nnx.update(cell, {**inputs, **states})
        return cell
    cell = {"elman": nnx.SimpleCell, "gru": nnx.GRUCell}[name](D, H, rngs=rngs)
    inputs = {"kernel": kernel.reshape(D, -1), "bias": bias.ravel()}
    nnx.update(cell, {"dense_i": inputs, "dense_h": {"kernel": recurrent.reshape(H, -1)}})
    return cell


@pytest.mark.sampled
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"seq_lengths": LENGTHS},
        {"seq_lengths": LENGTHS, "reverse": True},
        {"seq_lengths": LENGTHS, "reverse": True, "keep_order": True, "time_major": True},
    ],
    ids=lambda call: "-".join(call) or "plain",
)
@pytest.mark.parametrize("name", CELLS)
def test_numbers_are_flaxs(name: str, call: dict[str, Any]) -> None:
    cell = CELLS[name]
    params = perturbed(cell)
    if name == "gru":
        params["recurrent_bias"] = np.zeros(H, np.float32)
    x = X.swapaxes(0, 1) if call.get("time_major") else X
    start = normal(2, len(jax.tree.leaves(cell.init_carry(params))), B, H)
    ours_start = type(cell.init_carry(params))(*start)
    peer_start = tuple(start) if len(start) > 1 else start[0]

    carry, ys = model_of(cell, params)(x, initial_carry=ours_start, return_carry=True, **call)
    peer = nnx.RNN(flax_peer(name, params), rngs=False)
    peer_carry, peer_ys = peer(x, initial_carry=peer_start, return_carry=True, **call)

    lengths = call.get("seq_lengths", np.full(B, T))
    valid = (np.arange(T) < lengths[:, None])[..., None]
    valid = valid.swapaxes(0, 1) if call.get("time_major") else valid
    assert_close(ys, np.where(valid, peer_ys, 0), 1e-5)
    assert_close(jax.tree.leaves(carry), jax.tree.leaves(peer_carry), 1e-5)


CALLS: list[dict[str, Any]] = [
    {"return_carry": True},
    {"return_carry": True, "reverse": True, "seq_lengths": LENGTHS},
    {
        "time_major": True,
        "reverse": True,
        "keep_order": True,
        "mask": jnp.arange(T)[:, None] != 1 + jnp.arange(B)[None],
    },
    {"resets": jnp.arange(T)[None] == jnp.array([[1], [2], [0]]), "return_carry": True},
]


@pytest.mark.parametrize("call", CALLS, ids="-".join)
def test_both_faces_are_equal(call: dict[str, Any]) -> None:
    """linen's numbers are checked against `unroll` and Flax; here, that nnx's are the same in every call."""
    params, x = perturbed(STACK), X.swapaxes(0, 1) if call.get("time_major") else X
    flags = {name: flag for name, flag in call.items() if isinstance(flag, bool)}
    steps = {name: value for name, value in call.items() if name not in flags}
    ours = model_of(STACK, params)(x, **call)
    assert_equal(ours, model_of(STACK, params, **flags)(x, **steps))
    assert_equal(ours, jaxrnn.linen.RNN(STACK).apply({"params": params}, x, **call))


@pytest.mark.parametrize("cell", [*CELLS.values(), STACK], ids=[*CELLS, "stack"])
def test_one_parameter_tree(cell: Any) -> None:
    model, raw = model_of(cell), cell.init(jax.random.key(0), D)
    tree = tree_of(model)
    assert jax.tree.structure(tree) == jax.tree.structure(raw)
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, raw)

    layer = cell if isinstance(cell, jaxrnn.Layer) else jaxrnn.rnn(cell)
    assert_equal(model(X), jaxrnn.unroll(layer, tree, X.swapaxes(0, 1))[1].swapaxes(0, 1))
    linen = jaxrnn.linen.RNN(cell)
    assert_equal(model(X), linen.apply({"params": tree}, X))
    variables = linen.init(jax.random.key(2), X)
    nnx.update(model, variables["params"])
    assert_equal(model(X), linen.apply(variables, X))
    nnx.update(model, raw)
    assert_equal(model(X), jaxrnn.unroll(layer, raw, X.swapaxes(0, 1))[1].swapaxes(0, 1))


def test_parameters_are_the_cells_own_draw() -> None:
    key = nnx.Rngs(0).params()
    assert_equal(tree_of(model_of(STACK)), STACK.init(key, D))


@pytest.mark.sampled
@pytest.mark.parametrize("name", jaxrnn.cells.CONSTRUCTORS)
def test_no_parameter_of_a_cell_hides_what_a_module_has(name: str) -> None:
    """A module has parameters as attributes, and one named as a method would take its place."""
    names = jax.eval_shape(lambda key: cells.make(name).init(key, D), jax.random.key(0)).keys()
    assert not names & {"cell", *dir(jaxrnn.nnx.RNN), *inspect.signature(jaxrnn.nnx.RNN).parameters}


def test_parameters_may_be_called_cell() -> None:
    """Then the attribute of this name is theirs; calls, carries and steps know the layer by another one."""
    layer = jaxrnn.skip(jaxrnn.elman(H))
    model = model_of(layer)
    expected = jaxrnn.unroll(layer, tree_of(model), X[0])
    assert_close(model(X[0], return_carry=True), expected, 1e-6)
    _, y = model.step(model.initialize_carry((D,)), X[0, 0])
    assert_close(y, expected[1][0], 1e-6)


def test_state_holds_parameters_alone() -> None:
    model = model_of(STACK, deterministic=False)
    leaves = jax.tree.leaves(nnx.state(model), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    assert len(leaves) == 6 and all(type(leaf) is nnx.Param for leaf in leaves)
    before = tree_of(model)
    model(X, rngs=nnx.Rngs(dropout=0))
    assert_equal(tree_of(model), before)


def test_split_merge_and_clone() -> None:
    model = model_of(STACK, perturbed(STACK), reverse=True)
    graph, state = nnx.split(model)
    assert hash(graph) == hash(nnx.split(model)[0]) and graph == nnx.split(nnx.clone(model))[0]
    expected = model(X)
    assert_equal(nnx.merge(graph, state)(X), expected)
    copy = nnx.clone(model)
    nnx.update(copy, jax.tree.map(jnp.zeros_like, tree_of(copy)))
    assert_equal(model(X), expected)
    assert not np.array_equal(copy(X), expected)


def test_checkpoint_round_trip() -> None:
    """What a checkpoint keeps is a pure dict of arrays."""
    model = model_of(STACK, perturbed(STACK))
    kept = jax.tree.map(np.asarray, tree_of(model))
    graph, state = nnx.split(model_of(STACK))
    nnx.replace_by_pure_dict(state, kept)
    assert_equal(nnx.merge(graph, state)(X), model(X))


def test_transformations() -> None:
    cell = CELLS["gru"]
    model, params = model_of(cell, perturbed(cell)), perturbed(cell)
    assert_equal(
        nnx.jit(lambda model, x: model(x))(model, X), jax.jit(jaxrnn.linen.RNN(cell).apply)({"params": params}, X)
    )

    gradient = nnx.jit(nnx.grad(lambda model: (model(X) ** 2).sum()))(model)
    xs = X.swapaxes(0, 1)
    expected = jax.jit(jax.grad(lambda params: (jaxrnn.unroll(cell, params, xs)[1] ** 2).sum()))(params)
    assert_close(nnx.to_pure_dict(gradient), expected, 1e-5)

    make = nnx.split_rngs(splits=2)(nnx.vmap(lambda rngs: jaxrnn.nnx.RNN(cell, D, rngs=rngs)))
    ensemble = make(nnx.Rngs(0))
    assert nnx.to_pure_dict(nnx.state(ensemble))["kernel"].shape == (2, D, 3, H)
    ys = nnx.vmap(lambda model, x: model(x), in_axes=(0, None))(ensemble, X)
    for k in range(2):
        member = jax.tree.map(lambda p, k=k: p[k], tree_of(ensemble))
        assert_close(ys[k], model_of(cell, member)(X), 1e-5)
    assert not np.array_equal(ys[0], ys[1])


def test_inside_flaxs_bidirectional() -> None:
    """Which hands both directions a random stream: a layer that is deterministic leaves it alone."""
    params = {"forward": perturbed(STACK), "backward": perturbed(CELLS["lstm"])}
    forward, backward = model_of(STACK, params["forward"]), model_of(CELLS["lstm"], params["backward"])
    model = nnx.Bidirectional(forward, backward, rngs=nnx.Rngs(0))
    expected = model_of(jaxrnn.bidirectional(STACK, CELLS["lstm"]), params)(X, seq_lengths=LENGTHS)
    assert_close(nnx.jit(lambda model, x: model(x, seq_lengths=LENGTHS))(model, X), expected, 1e-5)


def test_calling_again_compiles_nothing() -> None:
    traces = []

    def activation(x: Any) -> Any:
        traces.append(x)
        return jnp.tanh(x)

    model = model_of(jaxrnn.elman(H, activation=activation))
    first = model(X)
    once = len(traces)
    assert_equal(nnx.clone(model)(X), first)
    assert once > 0 and len(traces) == once


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"inputs": X[0, 0]}, r"nnx.RNN: inputs has shape \(3,\), expected \[\*batch, T, D\]"),
        ({"inputs": jnp.ones((B, T, D), int)}, "nnx.RNN: inputs has dtype int32, expected a floating one"),
        ({"inputs": X[..., :2]}, r"nnx.RNN: params\['kernel'\] has shape \(3, 4, 4\), expected \(2, 4, 4\)"),
        (
            {"initial_carry": jaxrnn.LSTMCarry(jnp.zeros((B, H)), jnp.zeros((T, H)))},
            r"nnx.RNN: initial_carry.h has shape \(5, 4\), expected \(3, 4\) from inputs of shape \(3, 5, 3\)",
        ),
        ({"seq_lengths": jnp.ones(T, int)}, r"nnx.RNN: seq_lengths has shape \(5,\), expected \(3,\)"),
        ({"seq_lengths": LENGTHS, "mask": jnp.ones((B, T), bool)}, "nnx.RNN: seq_lengths and mask are both given"),
    ],
)
def test_errors_name_the_argument(call: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(CELLS["lstm"])(call.pop("inputs", X), **call)


def test_only_cells_and_layers_are_taken() -> None:
    with pytest.raises(ValueError, match=r"nnx.RNN: cell is of type function, expected a Cell or a Layer"):
        jaxrnn.nnx.RNN(jaxrnn.lstm, D, rngs=nnx.Rngs(0))


def test_there_has_to_be_an_input() -> None:
    with pytest.raises(ValueError, match=r"nnx.RNN: in_features is 0, expected an int of 1 or more"):
        jaxrnn.nnx.RNN(CELLS["lstm"], 0, rngs=nnx.Rngs(0))
