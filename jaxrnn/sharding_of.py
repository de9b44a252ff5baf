"""`sharding_of` says how parameters lie on a mesh, by their names and axes: for tensor parallelism and FSDP."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxrnn.checks import spelled
from jaxrnn.roles import ends_of, place_of, roles

Entry = str | tuple[str, ...] | None  # an entry of a `PartitionSpec`

# The axis that tensor parallelism splits, by name and number of axes. Others stay whole.
STATE = {2: -1, 3: -1}
HEADS = {3: -2}
ROWS = {2: 0, 3: 0}
FEATURES = {1: -1}
SYSTEMS = {1: 0, 2: 0}  # with two axes, each feature has a system of its own
AXES: dict[str, dict[int, int]] = {
    "kernel": {2: 0, 3: -1, 4: -1},  # without gates it follows a recurrence; with four axes it is a convolution's
    "recurrent_kernel": {**STATE, 4: 0},  # block-diagonal ones begin with their heads
    **dict.fromkeys(("velocity_kernel", "cell_kernel", "context_kernel", "transition_kernel", "input_kernel"), STATE),
    **dict.fromkeys(("bias", "transition_bias", "peephole", "depthwise_kernel", "rate", "step_kernel"), STATE),
    **dict.fromkeys(("query", "key", "value", "gate", "decay_up", "rate_up", "gate_up"), HEADS),
    **dict.fromkeys(("out", "projection", "readout"), ROWS),
    **dict.fromkeys(("recurrent_bias", "decay", "nu", "theta", "gamma"), FEATURES),
    **dict.fromkeys(("lambda_real", "log_dt", "dt_logit", "stiffness", "log_period", "shift", "open_logit"), FEATURES),
    **dict.fromkeys(("log_rate", "lambda_imag"), SYSTEMS),
    "modes": {3: 1},
    "embedding": STATE,
}


def sharding_of(
    params: Any,
    mesh: Mesh | AbstractMesh,
    rules: Mapping[str, tuple[Entry, ...] | None] | None = None,
    *,
    tensor: Entry = None,
    fsdp: Entry = None,
) -> Any:
    """Returns how parameters lie on the devices of a mesh: whole on each, split among them, or sharded at rest.

    `tensor` splits features, and never a gate. Matrices before an elementwise function are split by outputs and those
    after it by inputs (Shoeybi et al. 2019, "Megatron-LM: training multi-billion parameter language models using model
    parallelism"):

    * `kernel [D, G, H]`, `recurrent_kernel [H, G, H]`, `bias [G, H]` and what else each feature of a state has for
      itself by H, so that one step gathers the state and exchanges nothing else;
    * `query`, `key` and `value`, the gates beside them, and block-diagonal recurrent kernels by their heads, so that a
      step exchanges nothing;
    * what reads a state by its inputs, the state's features or heads: `out`, `projection`, `readout`, and a `kernel
      [H, outputs]`, as of `jaxrnn.dense`. Their products are summed over the devices;
    * `embedding [V, F]` by F, because V is a number such as 65, which hardly anything divides.

    All else lies whole on each device, and so does what would be split along an axis of length 1.

    `fsdp` splits the longest of the other axes that the mesh axis divides, if there is one. So parameters rest, and the
    state of an optimizer too; a program gathers them once, before it uses them: see the guide on several devices.

    Args:
      params: nested dicts of arrays or shapes: of a cell, a layer, or a Flax model that contains one. The state of an
        optimizer has the same names and is taken as well.
      mesh: the devices.
      rules: what else some parameters get, by role (see `jaxrnn.roles`), name, or path such as `"layer_0/kernel"`, the
        longest of which counts: a mesh axis, several, or None for each of the last axes of the parameter. So
        `("model",)` splits the last one, and None leaves all of them whole.
      tensor: the mesh axis of tensor parallelism, or a tuple of several; None: there is none.
      fsdp: the mesh axis over which parameters are sharded at rest, as a rule that of the batch; None: there is none.

    Returns:
      A pytree of the structure of `params` whose leaves are `jax.sharding.NamedSharding`, for `jax.device_put`, and for
      `in_shardings` and `out_shardings` of `jax.jit`.

    Raises:
      ValueError: `mesh` lacks a mesh axis, or one does not divide the axis that it should split; `rules` names no
        parameter, has more entries than a parameter has axes, or a mesh axis twice; `tensor` and `fsdp` share one; a
        leaf has no shape.

    Example:
      >>> import jax, jaxrnn
      >>> from jax.sharding import AbstractMesh, AxisType
      >>> mesh = AbstractMesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)  # of devices: jax.make_mesh
      >>> model = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dense(3))
      >>> params = model.init(jax.random.key(0), 6)
      >>> shardings = jaxrnn.sharding_of(params, mesh, tensor="model")
      >>> shardings["layer_0"]["kernel"].spec, shardings["layer_1"]["kernel"].spec
      (P(None, None, 'model'), P('model', None))
      >>> at_rest = jaxrnn.sharding_of(params, mesh, {"layer_1/kernel": None}, tensor="model", fsdp="data")
      >>> at_rest["layer_0"]["kernel"].spec, at_rest["layer_1"]["kernel"].spec
      (P('data', None, 'model'), P(None, None))
    """
    if not isinstance(mesh, Mesh | AbstractMesh):
        raise ValueError(f"sharding_of: mesh is {spelled(mesh)}, expected a mesh; jax.make_mesh makes one")
    rules = {} if rules is None else dict(rules)
    asked = {"tensor": (tensor,), "fsdp": (fsdp,)} | {f"rules[{key!r}]": rule for key, rule in rules.items()}
    for argument, entries in asked.items():
        _check_entries(argument, entries, mesh)
    if both := sorted(set(_names(tensor)) & set(_names(fsdp))):
        raise ValueError(f"sharding_of: tensor and fsdp both name {both}, expected different axes of the mesh")
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    labels, used, made = jax.tree.leaves(roles(params)), set(), []
    for (path, leaf), role in zip(leaves, labels, strict=True):
        names = place_of(path)
        where = "/".join(names) or f"params{jax.tree_util.keystr(path)}"
        if not hasattr(leaf, "shape"):
            raise ValueError(f"sharding_of: {where} is {spelled(leaf)}, expected an array or a shape")
        found = [key for key in (*ends_of(names), role) if key in rules]
        used.update(found[:1])
        if found:
            spec = _by_rule(where, leaf.shape, found[0], rules[found[0]] or (), mesh)
        else:
            axis = AXES.get(names[-1] if names else "", {}).get(len(leaf.shape))
            spec = _by_default(where, leaf.shape, axis, tensor, fsdp, mesh)
        made.append(NamedSharding(mesh, PartitionSpec(*spec)))
    if unknown := sorted(set(rules) - used):
        known = sorted({*labels, *("/".join(place_of(path)) for path, _ in leaves)})
        raise ValueError(f"sharding_of: rules names {unknown}, expected roles, names or paths among {known}")
    return jax.tree.unflatten(structure, made)


def _by_rule(
    where: str, shape: tuple[int, ...], key: str, rule: tuple[Entry, ...], mesh: Mesh | AbstractMesh
) -> list[Entry]:
    """Returns an entry per axis: those of `rule` are of the last ones."""
    if len(rule) > len(shape):
        raise ValueError(
            f"sharding_of: rules[{key!r}] is {rule}, expected at most {len(shape)} entries, one an axis of {where} of "
            f"shape {shape}; a longer path names it alone"
        )
    spec: list[Entry] = [*[None] * (len(shape) - len(rule)), *rule]
    for axis, entry in enumerate(spec):
        _check_divides(where, shape, axis, entry, mesh)
    return spec


def _by_default(
    where: str, shape: tuple[int, ...], axis: int | None, tensor: Entry, fsdp: Entry, mesh: Mesh | AbstractMesh
) -> list[Entry]:
    """Returns an entry per axis: `tensor` for this axis, and `fsdp` for the longest other one that it divides."""
    spec: list[Entry] = [None] * len(shape)
    if tensor is not None and axis is not None and shape[axis] != 1:
        axis %= len(shape)
        _check_divides(where, shape, axis, tensor, mesh)
        spec[axis] = tensor
    others = [i for i, n in enumerate(shape) if spec[i] is None and n > 1 and n % _devices(fsdp, mesh) == 0]
    if fsdp is not None and others:
        spec[max(others, key=lambda i: shape[i])] = fsdp
    return spec


def _devices(entry: Entry, mesh: Mesh | AbstractMesh) -> int:
    return math.prod(mesh.shape[name] for name in _names(entry))


def _names(entry: Entry) -> tuple[str, ...]:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


def _check_entries(argument: str, entries: Any, mesh: Mesh | AbstractMesh) -> None:
    """Checks that entries of a `PartitionSpec` name axes of the mesh, each of them once."""
    if not (entries is None or isinstance(entries, tuple)):
        remedy = f"; ({entries!r},) splits the last axis" if isinstance(entries, str) else ""
        raise ValueError(f"sharding_of: {argument} is {spelled(entries)}, expected a tuple or None{remedy}")
    said = next(iter(entries or ()), None) if argument in ("tensor", "fsdp") else entries
    names = [name for entry in entries or () for name in _names(entry)]
    if any(name not in mesh.axis_names for name in names) or len(set(names)) < len(names):
        raise ValueError(
            f"sharding_of: {argument} is {said!r}, expected axes of the mesh, each once, among {mesh.axis_names}"
        )


def _check_divides(where: str, shape: tuple[int, ...], axis: int, entry: Entry, mesh: Mesh | AbstractMesh) -> None:
    count = _devices(entry, mesh)
    if shape[axis] % count:
        raise ValueError(
            f"sharding_of: {where} has shape {shape}, whose axis {axis} cannot be split over the {count} devices of "
            f"mesh axis {entry!r}, expected a multiple of {count}; rules={{{where!r}: None}} leaves it whole"
        )
