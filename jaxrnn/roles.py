"""`roles`: what each parameter is there for, by its name, so that an optimizer can treat it accordingly."""

from typing import Any

import jax
import numpy as np
from jax.tree_util import DictKey

# For each role the names of the package's own parameters that have it.
NAMES: dict[str, tuple[str, ...]] = {
    # Matrices `[..., inputs, gates, outputs]`, one for each gate, head, tap of a convolution, or real and imaginary
    # part, and plain ones `[inputs, outputs]`. They mix features, so Muon and weight decay are meant for them.
    "kernel": (
        *("kernel", "backbone_kernel", "head_kernel"),  # of gates; between the layers within a step of `cfc`
        *("query", "key", "value", "gate", "input", "read", "readout"),  # what a state is written and read with
        *("rate", "step"),  # an input's share of how strongly to write or to forget
        *("decay_down", "decay_up", "rate_down", "rate_up", "gate_down", "gate_up", "step_down", "step_up"),  # low rank
        "skip",  # from the input to the output, past the state; a vector in some cells
    ),
    # The same from the state, in a loop: what it does to the eigenvalues of a step decides how long a cell remembers.
    "recurrent_kernel": ("recurrent_kernel", "velocity_kernel"),
    # Matrices `[..., inputs, outputs]` that come after the recurrence; the axes before, if any, are heads.
    "projection": ("out", "projection"),
    # What multiplies each feature by itself, a diagonal matrix: it mixes nothing, and near 0 it says something else
    # than "unused", so it is treated as a vector whatever its number of axes.
    "diagonal": ("peephole", "depthwise_kernel", "mix", "erase", "replace", "bonus", "amplitude"),
    "bias": (
        *("bias", "recurrent_bias", "reset_bias", "norm_bias", "cell_bias"),
        *("rate_bias", "gate_bias", "head_bias", "backbone_bias", "out_bias"),
    ),
    # Scales of normalised features or weights: they start at the length that is meant to be kept.
    "norm": ("scale", "norm_scale", "cell_scale", "kernel_scale", "recurrent_kernel_scale"),
    # How long linear recurrences remember: eigenvalues of their step, and γ, which normalises by them. Decayed, they
    # would all drift to one time scale; LRU, S5 and Mamba train them without weight decay, the first two more slowly.
    "decay": ("decay", "decay_bias", "log_rate", "nu", "theta", "gamma", "lambda_real", "lambda_imag"),
    # Steps of time, as logarithms or under a softplus: likewise.
    "step_size": ("log_dt", "step_bias"),
    # A table that is read by index, as Flax's `Embed` has it: a row is a vector, and most gradients are zero.
    "embedding": ("embedding",),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
ENDINGS = {"kernel": "kernel", "bias": "bias", "scale": "norm"}
CARRY = "initial_"  # a learned first carry, field by field: a value of the state, which 0 is not closer to
MATRICES = ("kernel", "recurrent_kernel", "projection")


def roles(params: Any) -> Any:
    """What each parameter is there for: labels for optimizers, whatever the model.

    With the gates on an axis of their own, the number of axes does not tell a matrix from a bias; the role does:

    * `"kernel"`, `"recurrent_kernel"`: matrices `[..., inputs, gates, outputs]`, where heads may stand for gates, or
      `[inputs, outputs]`; the latter lead from the state;
    * `"projection"`: matrices `[..., inputs, outputs]` after the recurrence, one a head where there are heads;
    * `"diagonal"`: what multiplies each feature by itself, diagonal recurrent kernels and depthwise convolutions too;
    * `"bias"`; `"norm"`, the scales of normalisations; `"embedding"`;
    * `"decay"` and `"step_size"`: for how long a linear recurrence remembers;
    * `"carry"`: the first carry of a `learned_carry`;
    * `"other"`: anything else.

    Only the last name on the way to a leaf counts, so that `params` may be a cell's, a layer's or a Flax model's with
    such in it. Parameters of your own cells and of other modules go by the same names; names that are not the package's
    by how they end: `…_kernel`, `…_bias`, `…_scale`; what begins with `initial_` is a carry. A kernel without two axes
    is diagonal, and so is a `recurrent_kernel` with fewer axes than the `kernel` beside it. Kernels of other libraries
    with more than two axes, those of Flax's `Conv` for one, have other orders of axes: give them numbers of their own.

    Args:
      params: nested dicts of arrays or of shapes, Flax's containers included.

    Returns:
      A pytree of the structure of `params` whose leaves are strings.

    Example:
      >>> import jax, jaxrnn, optax
      >>> from optax.contrib import MuonDimensionNumbers as Numbers
      >>> layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.slstm(8, heads=2)), jaxrnn.rnn(jaxrnn.lru(8)), jaxrnn.dense(2))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> roles = jaxrnn.roles(params)
      >>> roles["layer_0"]
      {'bias': 'bias', 'kernel': 'kernel', 'recurrent_kernel': 'recurrent_kernel'}

      Weight decay for matrices alone; groups with optimizers of their own; and Muon, which takes the axes that inputs
      and outputs run along, and makes the update of each gate and of each head an orthogonal matrix:

      >>> axis = {"kernel": -3, "recurrent_kernel": -3, "projection": -2}
      >>> mask = jax.tree.map(lambda role: role in axis, roles)
      >>> groups = jax.tree.map(lambda role: "slow" if role in ("decay", "step_size") else "rest", roles)
      >>> numbers = jax.tree.map(lambda r, p: Numbers(max(axis[r], -p.ndim), -1) if r in axis else None, roles, params)

      >>> adamw = optax.adamw(1e-3, weight_decay=0.1, mask=mask)
      >>> two = optax.multi_transform({"slow": optax.adam(1e-4), "rest": optax.adam(1e-3)}, groups)
      >>> muon = optax.contrib.muon(0.02, weight_decay=0.1, muon_weight_dimension_numbers=numbers)
      >>> updates, state = muon.update(params, muon.init(params), params)
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    places = [_place(path) for path, _ in leaves]
    axes = dict(zip(places, (np.ndim(leaf) for _, leaf in leaves), strict=True))
    return jax.tree.unflatten(structure, [_role(place, axes) for place in places])


def _place(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names on the way to a leaf, without what boxes add: Flax's keep the array in an attribute."""
    return tuple(str(entry.key) for entry in path if isinstance(entry, DictKey))


def _role(place: tuple[str, ...], axes: dict[tuple[str, ...], int]) -> str:
    name, count = place[-1] if place else "", axes[place]
    if name.startswith(CARRY):
        return "carry"
    role = ROLES.get(name) or ENDINGS.get(name.rpartition("_")[-1], "other")
    if role in MATRICES and count < 2:
        return "decay" if name == "rate" else "diagonal"  # `cfc` has a vector of decay rates
    if name == "recurrent_kernel" and count < axes.get((*place[:-1], "kernel"), 0):
        return "diagonal"
    return role
