"""torchrecurrent: its layers as they come, which loop over the steps in Python, in PyTorch's eager mode.

`torch.compile` unrolls that loop. For 16 steps of its UGRNN it took 27 seconds of CPU time, and a call was then twice
as fast. For the 128 steps that are timed here it had not ended after 25 minutes on a busy machine, so it takes no part.
"""

from typing import Any

import jax
import numpy as np
import torch
import torchrecurrent

import jaxrnn
from benchmarks.catalogue_peers import Peer, matched
from benchmarks.catalogue_peers.weights import OPTIONS, READ, H
from benchmarks.parity import TOLERANCES, deviation
from benchmarks.problems import Shape
from jaxrnn.cells import CONSTRUCTORS

NAME = "torchrecurrent"
RENAMED = {"antisymmetric": "AntisymmetricRNN", "memory_controller_lstm": "MCLSTM"}
THEIRS: dict[str, dict[str, Any]] = {  # which `OPTIONS` are ours of
    "fast_grnn": {"nonlinearity": "sigmoid"},  # the paper's, and what its documentation says
    "unicornn": {"dt": 0.3, "alpha": 2.0, "recurrent_bias": True},
    "tau_gru": {"delay": 3},
}
SQUARE = ("intersection_rnn",)  # whose inputs have to be as wide as the cell there
SMALL = Shape(2, 5, 3, H)


def names() -> dict[str, str]:
    """Its layers by our names."""
    layers = {name for name in dir(torchrecurrent) if hasattr(torchrecurrent, f"{name}Cell")}
    return matched(CONSTRUCTORS, layers, RENAMED)


def peer(name: str, shape: Shape, seed: int) -> Peer:
    """The layer of one cell, after its values were compared where its weights can be copied.

    Raises:
      ParityError: it computes something else than ours.
    """
    checked = "values" if name in READ else "counts"
    if name in READ:
        compare(name, seed)
    layer = made(name, shape)
    xs, cotangent = data(shape, seed)
    params = list(layer.parameters())

    def training() -> Any:
        value = (layer(xs)[0] * cotangent).sum()
        return value, torch.autograd.grad(value, [xs, *params])

    return Peer(NAME, names()[name], training, sum(it.numel() for it in params), checked)


def made(name: str, shape: Shape) -> Any:
    """The layer with its own initial weights."""
    torch.manual_seed(0)
    return getattr(torchrecurrent, names()[name])(shape.D, shape.H, **THEIRS.get(name, {}))


def data(shape: Shape, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and the weights of the outputs' sum, time-major."""
    rng = np.random.default_rng([seed, *shape])
    xs, cotangent = (
        torch.tensor(rng.standard_normal((shape.T, shape.B, n)), dtype=torch.float32) for n in (shape.D, shape.H)
    )
    return xs.requires_grad_(), cotangent


def compare(name: str, seed: int) -> float:
    """The deviation of outputs and of the inputs' gradient from ours with the same weights, at a small size.

    Raises:
      ParityError: it is too large.
    """
    cell = CONSTRUCTORS[name](H, **OPTIONS.get(name, {}))
    shape = SMALL._replace(D=H) if name in SQUARE else SMALL
    layer, (xs, cotangent) = made(name, shape), data(shape, seed)
    outputs = layer(xs)[0]
    (gradient,) = torch.autograd.grad((outputs * cotangent).sum(), xs)
    params = READ[name]({key: weight.numpy() for key, weight in layer.cells[0].state_dict().items()})

    def weighed(xs: jax.Array) -> Any:
        ys = jaxrnn.unroll(cell, params, xs)[1]
        return (ys * cotangent.numpy()).sum(), ys

    slope, ys = jax.jit(jax.grad(weighed, has_aux=True))(xs.detach().numpy())
    ours = {"outputs": np.asarray(ys), "gradients of inputs": np.asarray(slope)}
    theirs = {"outputs": outputs.detach().numpy(), "gradients of inputs": gradient.numpy()}
    return deviation(NAME, theirs, ours, TOLERANCES["float32"], name, "jaxrnn")
