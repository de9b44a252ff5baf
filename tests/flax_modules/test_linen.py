"""`jaxrnn.linen.RNN`: Flax's calls with Flax's numbers, and one parameter tree."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close, assert_equal
from flax_modules.examples import CELLS, LENGTHS, B, D, H, T, X, normal, perturbed

pytestmark = pytest.mark.usefixtures("quick_compilation")


STACK = jaxrnn.stack(jaxrnn.rnn(jaxrnn.gru(H)), jaxrnn.dropout(0.5), jaxrnn.rnn(jaxrnn.lstm(H)), jaxrnn.dense(2))


def run(cell: Any, params: Any, x: Any, **call: Any) -> Any:
    return jaxrnn.linen.RNN(cell).apply({"params": params}, x, **call)


def flax_peer(name: str, params: Any) -> tuple[Any, Any]:
    """Flax's cell of that name and `params` under Flax's names."""
    kernel, recurrent, bias = params["kernel"], params["recurrent_kernel"], params["bias"]
    if name == "elman":
        return nn.SimpleCell(H), {"i": {"kernel": kernel[:, 0], "bias": bias[0]}, "h": {"kernel": recurrent[:, 0]}}
    if name == "lstm":
        inputs = {f"i{g}": {"kernel": kernel[:, k]} for k, g in enumerate("ifgo")}
        states = {f"h{g}": {"kernel": recurrent[:, k], "bias": bias[k]} for k, g in enumerate("ifgo")}
        return nn.LSTMCell(H), {**inputs, **states}
    inputs = {f"i{g}": {"kernel": kernel[:, k], "bias": bias[k]} for k, g in enumerate("rzn")}
    states = {f"h{g}": {"kernel": recurrent[:, k]} for k, g in enumerate("rzn")}
    states["hn"]["bias"] = params["recurrent_bias"]
    return nn.GRUCell(H), {**inputs, **states}


@pytest.mark.sampled
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"reverse": True},
        {"reverse": True, "keep_order": True},
        {"seq_lengths": LENGTHS},
        {"seq_lengths": LENGTHS, "reverse": True},
        {"seq_lengths": LENGTHS, "reverse": True, "keep_order": True},
        {"seq_lengths": LENGTHS, "reverse": True, "time_major": True},
        {"keep_order": True, "init_key": jax.random.key(7)},
    ],
    ids=lambda call: "-".join(call) or "plain",
)
@pytest.mark.parametrize("name", CELLS)
def test_numbers_are_flaxs(name: str, call: dict[str, Any]) -> None:
    cell = CELLS[name]
    params = perturbed(cell)
    peer, peer_params = flax_peer(name, params)
    x = X.swapaxes(0, 1) if call.get("time_major") else X
    start = normal(2, len(jax.tree.leaves(cell.init_carry(params))), B, H)
    ours_start = type(cell.init_carry(params))(*start)
    peer_start = tuple(start) if len(start) > 1 else start[0]

    carry, ys = run(cell, params, x, initial_carry=ours_start, return_carry=True, **call)
    peer_apply = partial(nn.RNN(peer).apply, {"params": {"cell": peer_params}})
    peer_carry, peer_ys = peer_apply(x, initial_carry=peer_start, return_carry=True, **call)

    lengths = call.get("seq_lengths", np.full(B, T))
    valid = (np.arange(T) < lengths[:, None])[..., None]
    valid = valid.swapaxes(0, 1) if call.get("time_major") else valid
    assert_close(ys, np.where(valid, peer_ys, 0), 1e-5)
    assert_close(jax.tree.leaves(carry), jax.tree.leaves(peer_carry), 1e-5)


def test_attributes_mean_what_the_arguments_mean() -> None:
    cell, call = CELLS["gru"], {"time_major": True, "return_carry": True, "reverse": True, "keep_order": True}
    params = perturbed(cell)
    by_attribute = jaxrnn.linen.RNN(cell, **call)
    by_argument = run(cell, params, X, **call)
    assert_equal(by_attribute.apply({"params": params}, X), by_argument)
    overridden = by_attribute.apply({"params": params}, X, **dict.fromkeys(call, False))
    assert_equal(overridden, run(cell, params, X))


@pytest.mark.parametrize("reverse", [False, True])
def test_any_batch_axes_and_rows_of_length_0(reverse: bool) -> None:
    """Here Flax is wrong: a length of 0 takes the last carry, and several batch axes mis-index."""
    cell, lengths = CELLS["lstm"], np.array([[5, 0, 2], [2, 5, 9]])
    params = perturbed(cell)
    x = normal(3, 2, 3, T, D)
    start = jaxrnn.LSTMCarry(*normal(4, 2, 2, 3, H))
    flags = {"reverse": reverse, "return_carry": True}
    carry, ys = run(cell, params, x, initial_carry=start, seq_lengths=lengths, **flags)
    for row in np.ndindex(2, 3):
        length, begin = min(lengths[row], T), jax.tree.map(lambda leaf, row=row: leaf[row], start)
        alone_carry, alone = run(cell, params, x[row][:length], initial_carry=begin, **flags)
        jax.tree.map(lambda a, b, row=row: assert_close(a[row], b, 1e-5), carry, alone_carry)
        assert_close(ys[row], jnp.zeros((T, H)).at[:length].set(alone), 1e-5)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padding", ["mask", "lengths"])
def test_mask_and_resets_equal_unroll(padding: str, reverse: bool, time_major: bool) -> None:
    cell = CELLS["lstm"]
    params = perturbed(cell)
    resets, mask = normal(6, B, T) > 0.3, normal(5, B, T) > -0.5
    start = jaxrnn.LSTMCarry(*normal(4, 2, B, H))
    raw = {"mask": mask.T} if padding == "mask" else {"lengths": LENGTHS}
    expected = jaxrnn.unroll(cell, params, X.swapaxes(0, 1), start, resets=resets.T, reverse=reverse, **raw)

    lead = (lambda a: a.swapaxes(0, 1)) if time_major else (lambda a: a)
    steps = {"mask": lead(mask)} if padding == "mask" else {"seq_lengths": LENGTHS}
    flags = {"time_major": time_major, "return_carry": True, "reverse": reverse, "keep_order": True}
    carry, ys = run(cell, params, lead(X), initial_carry=start, resets=lead(resets), **steps, **flags)
    assert_close((carry, ys), (expected[0], expected[1] if time_major else expected[1].swapaxes(0, 1)), 1e-5)


def test_reverse_runs_a_layer_over_the_flipped_sequence() -> None:
    params = perturbed(STACK)
    flags = {"return_carry": True, "reverse": True}
    carry, ys = run(STACK, params, X, seq_lengths=LENGTHS, **flags)
    _, aligned = run(STACK, params, X, seq_lengths=LENGTHS, keep_order=True, **flags)
    for row, length in enumerate(LENGTHS):
        alone_carry, alone = jaxrnn.unroll(STACK, params, X[row, :length][::-1])
        jax.tree.map(lambda a, b, row=row: assert_close(a[row], b, 1e-5), carry, alone_carry)
        assert_close(ys[row], jnp.zeros((T, 2)).at[:length].set(alone), 1e-5)
        assert_close(aligned[row], jnp.zeros((T, 2)).at[:length].set(alone[::-1]), 1e-5)
    masked = run(STACK, params, X, mask=np.arange(T) < LENGTHS[:, None], **flags)
    assert_close(masked, (carry, aligned[:, ::-1]), 1e-5)  # a mask is flipped as it stands


@pytest.mark.parametrize("shape", [(0, T, D), (B, 0, D), (T, D)], ids=["no rows", "no steps", "no batch axes"])
def test_edges_of_shape(shape: tuple[int, ...]) -> None:
    params = perturbed(CELLS["lstm"])
    lengths = jnp.full(shape[:-2], 2)
    flags = {"reverse": True, "return_carry": True}
    carry, ys = run(CELLS["lstm"], params, jnp.ones(shape), seq_lengths=lengths, **flags)
    assert ys.shape == (*shape[:-1], H) and carry.h.shape == (*shape[:-2], H)
    if shape[-2] == 0:
        assert_equal(carry.c, jnp.zeros((B, H)))


@pytest.mark.sampled
@pytest.mark.parametrize("cell", [*CELLS.values(), STACK], ids=[*CELLS, "stack"])
def test_one_parameter_tree(cell: Any) -> None:
    variables = jaxrnn.linen.RNN(cell).init(jax.random.key(0), X)
    raw = cell.init(jax.random.key(0), D)
    assert list(variables) == ["params"]
    assert jax.tree.structure(variables["params"]) == jax.tree.structure(raw)
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, raw)

    layer = cell if isinstance(cell, jaxrnn.Layer) else jaxrnn.rnn(cell)
    for params in (variables["params"], raw):
        carry, ys = run(cell, params, X, return_carry=True)
        raw_carry, raw_ys = jaxrnn.unroll(layer, params, X.swapaxes(0, 1))
        assert_equal((carry, ys), (raw_carry, raw_ys.swapaxes(0, 1)))


def test_initial_parameters_are_the_cells_own_draw() -> None:
    """One `init` draws the whole tree: no two parameters share a key."""
    kernels = jaxrnn.linen.RNN(STACK).init(jax.random.key(0), X)["params"]
    assert_close(
        jnp.einsum("hgi,hgj->gij", *[kernels["layer_0"]["recurrent_kernel"]] * 2), np.stack([np.eye(H)] * 3), 1e-5
    )
    similar = jnp.corrcoef(kernels["layer_0"]["recurrent_kernel"].ravel(), kernels["layer_2"]["kernel"][:, :3].ravel())
    assert abs(similar[0, 1]) < 0.5
    other = jaxrnn.linen.RNN(STACK).init(jax.random.key(1), X)["params"]
    assert not np.array_equal(kernels["layer_0"]["kernel"], other["layer_0"]["kernel"])


class Shared(nn.Module):
    """One module, made in `setup`, called twice."""

    cell: Any

    def setup(self) -> None:
        self.rnn = jaxrnn.linen.RNN(self.cell)

    def __call__(self, x: Any) -> Any:
        return self.rnn(self.rnn(x))


def test_a_module_called_twice_shares_its_parameters() -> None:
    draws = []

    def counting(key: Any, shape: Any, dtype: Any) -> Any:
        draws.append(key)
        return jaxrnn.initializers.lecun_normal(key, shape, dtype)

    cell = jaxrnn.elman(D, kernel_init=counting)
    model = Shared(cell)
    variables = model.init(jax.random.key(0), X)
    params = variables["params"]["rnn"]
    assert list(variables["params"]) == ["rnn"]
    assert len(draws) == 2  # one for the values, and one for the shapes to check them against
    assert_equal(model.apply(variables, X), run(cell, params, run(cell, params, X)))


def test_modules_with_equal_fields_are_equal() -> None:
    model = jaxrnn.linen.RNN(STACK, reverse=True)
    assert model == model.clone() == jaxrnn.linen.RNN(STACK).copy(reverse=True)
    assert hash(model) == hash(model.clone())
    assert isinstance(model.clone().cell, jaxrnn.Layer) and model.clone().cell is not None
    assert model != jaxrnn.linen.RNN(STACK)


@pytest.mark.every
def test_lifted_transformations() -> None:
    cell = CELLS["gru"]
    params = perturbed(cell)

    def loss(module: Any, params: Any) -> Any:
        return (module.apply({"params": params}, X) ** 2).sum()

    plain = jax.grad(partial(loss, jaxrnn.linen.RNN(cell)))(params)
    rematted = jax.jit(jax.grad(partial(loss, nn.remat(jaxrnn.linen.RNN)(cell))))(params)
    assert_close(rematted, plain, 1e-5)

    axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": None, "axis_size": 2}
    ensemble = nn.vmap(jaxrnn.linen.RNN, **axes)(cell)
    variables = ensemble.init(jax.random.key(0), X)
    members = [jax.tree.map(lambda p, k=k: p[k], variables["params"]) for k in range(2)]
    assert not np.array_equal(members[0]["kernel"], members[1]["kernel"])
    assert_close(ensemble.apply(variables, X), jnp.stack([run(cell, member, X) for member in members]), 1e-5)


@pytest.mark.every
def test_inside_flaxs_own_containers() -> None:
    """Flax's `Bidirectional` of two modules is `jaxrnn.bidirectional` of their cells."""
    forward, backward = CELLS["gru"], CELLS["lstm"]
    both = nn.Bidirectional(jaxrnn.linen.RNN(forward), jaxrnn.linen.RNN(backward))
    params = {"forward": perturbed(forward), "backward": perturbed(backward)}
    variables = {"params": {f"{name}_rnn": tree for name, tree in params.items()}}
    ys = both.apply(variables, X, seq_lengths=LENGTHS)
    assert_close(ys, run(jaxrnn.bidirectional(forward, backward), params, X, seq_lengths=LENGTHS), 1e-5)
    for row, length in enumerate(LENGTHS):
        x = X[row, :length]
        there, back = run(forward, params["forward"], x), run(backward, params["backward"], x[::-1])[::-1]
        assert_close(ys[row], jnp.zeros((T, 2 * H)).at[:length].set(jnp.concatenate([there, back], -1)), 1e-5)
    model = nn.Sequential([both, nn.Dense(2)])
    assert model.apply(model.init(jax.random.key(0), X), X).shape == (B, T, 2)


def test_calling_again_compiles_nothing() -> None:
    traces = []

    def activation(x: Any) -> Any:
        traces.append(x)
        return jnp.tanh(x)

    cell = jaxrnn.elman(H, activation=activation)
    params = cell.init(jax.random.key(0), D)
    first = run(cell, params, X)
    once = len(traces)
    assert_equal(run(cell, params, X), first)
    assert once > 0 and len(traces) == once


CARRY = jaxrnn.LSTMCarry(jnp.zeros((B, H)), jnp.zeros((B, H)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"inputs": X[0, 0]}, r"linen.RNN: inputs has shape \(3,\), expected \[\*batch, T, D\]"),
        ({"inputs": X[0, 0], "time_major": True}, r"linen.RNN: inputs has shape \(3,\), expected \[T, \*batch, D\]"),
        ({"inputs": jnp.ones((B, T, D), int)}, "linen.RNN: inputs has dtype int32, expected a floating one; one-hot"),
        ({"inputs": X[..., :2]}, r"linen.RNN: params\['kernel'\] has shape \(3, 4, 4\), expected \(2, 4, 4\)"),
        (
            {"initial_carry": CARRY._replace(h=jnp.zeros((T, H)))},
            r"linen.RNN: initial_carry.h has shape \(5, 4\), expected \(3, 4\) from inputs of shape \(3, 5, 3\)",
        ),
        ({"initial_carry": tuple(CARRY)}, r"linen.RNN: initial_carry lacks .* expected LSTMCarry\(c, h\)"),
        ({"seq_lengths": jnp.ones(T, int)}, r"linen.RNN: seq_lengths has shape \(5,\), expected \(3,\)"),
        ({"seq_lengths": jnp.ones(B)}, "linen.RNN: seq_lengths has dtype float32, expected an integer one"),
        ({"mask": jnp.ones((T, B), bool)}, r"linen.RNN: mask has shape \(5, 3\), expected \(3, 5\)"),
        ({"resets": jnp.ones((B, T), int)}, "linen.RNN: resets has dtype int32, expected bool"),
        (
            {"seq_lengths": LENGTHS, "mask": jnp.ones((B, T), bool)},
            "linen.RNN: seq_lengths and mask are both given, expected at most one",
        ),
    ],
)
def test_errors_name_the_argument(call: dict[str, Any], message: str) -> None:
    cell = CELLS["lstm"]
    with pytest.raises(ValueError, match=message):
        run(cell, cell.init(jax.random.key(0), D), **{"x": call.pop("inputs", X), **call})


def test_only_cells_and_layers_are_taken() -> None:
    with pytest.raises(ValueError, match=r"linen.RNN: cell is of type LSTMCell, expected a Cell or a Layer"):
        jaxrnn.linen.RNN(nn.LSTMCell(H)).init(jax.random.key(0), X)
