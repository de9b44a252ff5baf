"""`residual`: a layer beside the identity."""

from jaxrnn import checks
from jaxrnn.layers.rnn import as_layer
from jaxrnn.layers.width import width, width_of
from jaxrnn.options import checked
from jaxrnn.recurrence.loop import silence, valid_steps
from jaxrnn.types import Array, Carry, Cell, Layer, Params


@checked
def residual(layer: Cell | Layer) -> Layer:
    """`yₜ = xₜ + layer(x)ₜ`; parameters and carry are the layer's own.

    He et al. 2016, "Deep residual learning for image recognition".

    Args:
      layer: a `Layer` as wide as its input, or a `Cell`.

    Returns:
      A `Layer`, with a `step` if `layer` has one.

    Raises:
      ValueError: `layer` is neither a cell nor a layer.

    Example:
      >>> import jax, jaxrnn
      >>> block = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.rnn(jaxrnn.gru(8)), jaxrnn.dense(3)))
      >>> params = block.init(jax.random.key(0), 3)
      >>> carry, ys = block.apply(params, None, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 3)
    """
    inner = as_layer("residual", layer, name="layer")

    def init(key: Array, in_features: int) -> Params:
        params = inner.init(key, in_features)
        _check_width(in_features, width("residual", "layer", inner, params, in_features))
        return params

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
        xs = checks.xs_of("residual", xs)
        carry, ys = inner.apply(params, carry, xs, lengths=lengths, mask=mask, resets=resets, key=key)
        _check_width(xs.shape[-1], width_of("residual", "layer", ys))
        return carry, silence(valid_steps(lengths, mask, xs.shape[0]), xs) + ys

    inner_step = inner.step
    if inner_step is None:
        return inner._replace(init=init, apply=apply)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        x = checks.xs_of("residual", x, name="x", axes=1, layout="[*batch, D]")
        carry, y = inner_step(params, carry, x)
        _check_width(x.shape[-1], width_of("residual", "layer", y))
        return carry, x + y

    return inner._replace(init=init, apply=apply, step=step)


def _check_width(given: int, found: int) -> None:
    if given != found:
        raise checks.ShapeError(
            f"residual: layer gives {found} features for {given}, expected equally many; "
            f"residual(stack(layer, dense({given}))) has them"
        )
