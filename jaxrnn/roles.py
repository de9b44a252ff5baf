"""`roles` labels each parameter by its purpose, so that an optimizer can treat it accordingly."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import DictKey

# Each role has the names of the package's own parameters.
NAMES: dict[str, tuple[str, ...]] = {
    # These are matrices `[..., inputs, gates, outputs]`, one for each gate, head, tap of a convolution, or real and
    # imaginary part, and plain ones `[inputs, outputs]`. They mix features: Muon and weight decay suit them.
    "kernel": (
        *("kernel", "backbone_kernel", "head_kernel"),  # the last two are of the layers within a step of `cfc`
        *("query", "key", "value", "gate", "input", "read", "readout"),  # they write and read a state
        *("rate", "step_kernel"),  # they map an input to the strength of writing or forgetting
        *("decay_down", "decay_up", "rate_down", "rate_up", "gate_down", "gate_up", "step_down", "step_up"),  # low rank
        *("kernel_down", "kernel_up"),  # a kernel of low rank is their product
        "output_kernel",  # it maps an input to the output and its gate
        *("query_kernel", "memory_kernel"),  # the two sides of additive scores
        "input_kernel",  # the inputs' way to the context units of `scrn`
        *("mask_kernel", "state_decay"),  # of `gru_d`: what is missing, and for how long
        "skip",  # it leads from the input to the output, past the state; in some cells it is a vector
    ),
    # These lead from the state to the gates: their eigenvalues decide how long a cell remembers.
    "recurrent_kernel": (
        *("recurrent_kernel", "velocity_kernel", "cell_kernel", "context_kernel"),
        *("recurrent_kernel_down", "recurrent_kernel_up"),
        "transition_kernel",  # of the further layers within a step of `recurrent_highway`
    ),
    # These are matrices `[..., inputs, outputs]` after the recurrence; leading axes are heads.
    "projection": ("out", "projection"),
    # These multiply each feature by itself: they mix nothing, and near 0 does not mean unused, so an optimizer should
    # treat them as vectors whatever their number of axes.
    "diagonal": (
        *("peephole", "depthwise_kernel", "mix", "erase", "replace", "bonus", "amplitude", "score", "modes"),
        *("encoder", "recurrent_encoder", "memory_encoder"),  # of `lmu`: each maps a vector to one number
    ),
    "bias": (
        *("bias", "recurrent_bias", "reset_bias", "norm_bias", "cell_bias"),
        *("rate_bias", "gate_bias", "head_bias", "backbone_bias", "out_bias", "output_bias", "readout_bias"),
        *("transition_bias", "redistribution_bias"),
    ),
    # These scale normalised features or weights: they start at the length that should be kept.
    "norm": ("scale", "norm_scale", "cell_scale", "kernel_scale", "recurrent_kernel_scale"),
    # These decide how long linear recurrences remember: eigenvalues of a step, and γ, which normalises by them. Weight
    # decay would drive all to one time scale; LRU, S5 and Mamba train without it, the first two more slowly.
    "decay": (
        *("decay", "decay_bias", "log_rate", "nu", "theta", "gamma", "lambda_real", "lambda_imag", "stiffness"),
        *("input_decay", "input_decay_bias", "state_decay_bias"),  # of `gru_d`, over time
        *("log_period", "shift", "open_logit"),  # when a unit of `phased_lstm` may change
        "omega",  # the angles of `rot_rnn` and `ffm`
        "phase",  # of the cosines of `fru`
        *("alpha", "beta", "zeta"),  # the weights of the old and the new state in `fast_rnn` and `fast_grnn`
    ),
    # These are time steps, as logarithms or under a softplus or a sigmoid; the same holds for them.
    "step_size": ("log_dt", "dt_logit", "step_bias"),
    # This table is read by index, as in Flax's `Embed`: most of its gradients are zero.
    "embedding": ("embedding",),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
ENDINGS = {"kernel": "kernel", "bias": "bias", "scale": "norm"}
CARRY = "initial_"  # a learned initial carry is a value of the state: 0 is no better prior than others
MATRICES = ("kernel", "recurrent_kernel", "projection")


def roles(params: Any) -> Any:
    """Returns the role of each parameter of any model, as a label for optimizers.

    Since gates have an axis of their own, the number of axes does not distinguish a matrix from a bias; the role does:

    * `"kernel"`, `"recurrent_kernel"`: matrices `[..., inputs, gates, outputs]`, where heads may stand for gates, or
      `[inputs, outputs]`; recurrent kernels lead from the state;
    * `"projection"`: matrices `[..., inputs, outputs]` after the recurrence, one per head where there are heads;
    * `"diagonal"`: factors of each feature, diagonal recurrent kernels and depthwise convolutions too;
    * `"bias"`; `"norm"`, the scales of normalisations; `"embedding"`;
    * `"decay"` and `"step_size"`: parameters of how long a linear recurrence remembers;
    * `"carry"`: the initial carry of a `learned_carry`;
    * `"other"`: anything else.

    Only the last name in the path of a leaf counts, so `params` may be a cell's, a layer's or those of a Flax model
    that contains one. The same names hold for your own cells and other modules; other names have a role by their
    ending, `…_kernel`, `…_bias` or `…_scale`, or are a carry if they begin with `initial_`. A kernel without two axes
    is diagonal, and so is a `recurrent_kernel` with fewer axes than the `kernel` beside it. Kernels of other libraries
    with more than two axes, such as those of Flax's `Conv`, have other orders of axes: give them their own numbers.

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

      Weight decay for matrices alone; groups with optimizers of their own; and Muon, which takes the axes of inputs and
      outputs, and makes the update of each gate and head an orthogonal matrix:

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
    places = [place_of(path) for path, _ in leaves]
    axes = dict(zip(places, (np.ndim(leaf) for _, leaf in leaves), strict=True))
    return jax.tree.unflatten(structure, [_role(place, axes) for place in places])


def place_of(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns the names in the path of a leaf, without the attributes that boxes of Flax add."""
    return tuple(str(entry.key) for entry in path if isinstance(entry, DictKey))


def ends_of(names: Sequence[str]) -> list[str]:
    """Returns the path of these names and all its ends, down to the last name: `a/b`, `b`."""
    return ["/".join(names[i:]) for i in range(len(names))]


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
