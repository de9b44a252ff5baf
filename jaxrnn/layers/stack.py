"""`stack`: layers one after another."""

import jax

from jaxrnn import checks, trees
from jaxrnn.layers.width import width
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Layer, Params


@checked
def stack(*layers: Layer) -> Layer:
    """Layers one after another, each fed with the output of the one before.

    Parameters are `{"layer_0": …, "layer_1": …}`, without an entry for a layer that has none; the carry is
    the tuple of the layers' carries. Lengths, masks and resets reach every layer; a `key` is split among them.

    Args:
      *layers: what `rnn`, `dense`, `dropout`, `stack` … return.

    Returns:
      A `Layer`, with a `step` if every layer has one.

    Raises:
      ValueError: no layers, or one that is not a `Layer`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.gru(8)), jaxrnn.rnn(jaxrnn.lstm(4)), jaxrnn.dense(2))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = layer.apply(params, None, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, len(carry)
      ((5, 2, 2), 3)
    """
    trees.check_layers("stack", layers)
    names = [f"layer_{i}" for i in range(len(layers))]

    def init(key: Array, in_features: int) -> Params:
        params = {}
        for name, layer, k in zip(names, layers, jax.random.split(key, len(layers)), strict=True):
            made = layer.init(k, in_features)
            if name != names[-1]:
                in_features = width("stack", name, layer, made, in_features)
            if made:  # states and checkpoints that know leaves alone would lose an empty dict
                params[name] = made
        return params

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        carries = []
        for name, layer in zip(names, layers, strict=True):
            carries.append(layer.init_carry(params.get(name, {}), batch_shape))
            batch_shape = _outputs(layer, carries[-1], batch_shape)
        return tuple(carries)

    def apply(
        params: Params,
        carry: Carry | None,
        xs: Array,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Carry, Array]:
        xs = checks.xs_of("stack", xs)
        trees.check_params("stack", whole, params, xs.shape[-1], checks.shape_words(xs))
        carries = [None] * len(layers) if carry is None else carry
        trees.check_count("stack", "carry", carries, len(layers))
        keys = [None] * len(layers) if key is None else jax.random.split(key, len(layers))
        after = []
        for name, layer, before, k in zip(names, layers, carries, keys, strict=True):
            c, xs = layer.apply(params.get(name, {}), before, xs, lengths=lengths, mask=mask, resets=resets, key=k)
            after.append(c)
        return tuple(after), xs

    steps = [layer.step for layer in layers if layer.step is not None]

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        x = checks.xs_of("stack", x, name="x", axes=1, layout="[*batch, D]")
        trees.check_params("stack", whole, params, x.shape[-1], f"x of shape {x.shape}")
        trees.check_count("stack", "carry", carry, len(layers))
        after = []
        for name, layer_step, before in zip(names, steps, carry, strict=True):
            c, x = layer_step(params.get(name, {}), before, x)
            after.append(c)
        return tuple(after), x

    ahead = [(name, *layer.looks_ahead) for name, layer in zip(names, layers, strict=True) if layer.step is None]
    whole = Layer(
        init,
        init_carry,
        apply,
        None if ahead else step,
        num_feature_axes=max(layer.num_feature_axes for layer in layers),
        draws=any(layer.draws for layer in layers),
        looks_ahead=ahead[0] if ahead else (),
        timed=layers[0].timed,
    )
    return whole


def _outputs(layer: Layer, carry: Carry, batch_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes before the features of what `layer` gives: images may be smaller, and states have their size."""
    if layer.num_feature_axes == 1:
        return batch_shape
    found = [leaf.shape[:-1] for leaf in jax.tree.leaves(carry) if leaf.ndim == 1 + len(batch_shape)]
    return found[-1] if found else batch_shape
