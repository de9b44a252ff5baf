"""FlashRNN: LSTMs as CUDA kernels for PyTorch, batch-major. It leaves the product with the inputs to its caller."""

import torch
from flashrnn import flashrnn

from benchmarks.peers import Contender, NotOffered
from benchmarks.peers.torch import device_of_jax, of_torch, tensor
from benchmarks.problems import GATES, Case

BACKENDS = {"cuda": "cuda_fused", "cpu": "vanilla"}


def contender(case: Case) -> Contender:
    if case.cell != "lstm":
        raise NotOffered("its LSTM alone is compared")
    gates, hidden = len(GATES[case.cell]), case.shape.H
    kernel, recurrent, bias = case.joined(GATES[case.cell])
    backend = BACKENDS[device_of_jax()]
    weights = tensor(kernel.T, case.dtype)
    # Gates, one head, outputs, inputs.
    recurrent_weights = tensor(recurrent.T.reshape(gates, 1, hidden, hidden), case.dtype)
    biases = tensor(bias.reshape(gates, 1, hidden), case.dtype)
    params = [weights, recurrent_weights, biases]
    for array in params:
        array.requires_grad_()

    def apply(xs: torch.Tensor) -> torch.Tensor:
        products = torch.nn.functional.linear(xs, weights).unflatten(-1, (gates, 1, hidden))
        states, _ = flashrnn(products, recurrent_weights, biases, function="lstm", backend=backend, dtype=case.dtype)
        return states[0].flatten(-2)

    return of_torch("flashrnn", apply, params, case, batch_major=True, note="its product with the inputs is PyTorch's")
