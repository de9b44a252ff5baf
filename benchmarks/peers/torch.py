"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, time-major; on the CPU its LSTM runs in oneDNN, on a GPU all run in cuDNN."""

from typing import Any

import jax
import numpy as np
import torch

from benchmarks.environment import cores
from benchmarks.peers import Contender, NotOffered
from benchmarks.problems import GATES, Case

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}

torch.set_num_threads(cores())  # as many as XLA's pool has


def contender(case: Case) -> Contender:
    kernel, recurrent, bias = case.joined(GATES[case.cell])
    states_bias = np.zeros_like(bias)
    if case.cell == "gru":
        states_bias[2 * case.shape.H :] = case.params["recurrent_bias"]
    weights = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias, "bias_hh_l0": states_bias}
    return of_weights(case, weights)


def of_weights(case: Case, weights: dict[str, np.ndarray], **options: Any) -> Contender:
    """The module of the case's cell made with `options`, with these weights."""
    device = {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend())
    if device is None or (device == "cuda" and not torch.cuda.is_available()):
        raise NotOffered(f"it does not run on the {jax.default_backend()}")
    dtype = getattr(torch, case.dtype)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, device=device)

    model = MODULES[case.cell](case.shape.D, case.shape.H, **options).to(device, dtype)
    model.load_state_dict({name: tensor(weight) for name, weight in weights.items()})
    xs, cotangent = tensor(case.xs).requires_grad_(), tensor(case.cotangent)
    params = list(model.parameters())

    def finished(result: Any) -> Any:
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return finished(model(xs)[0])

    def training() -> tuple[Any, torch.Tensor]:
        gradient, *gradients = torch.autograd.grad(model(xs)[0], [xs, *params], cotangent)
        return finished((gradients, gradient))

    def time_major(array: torch.Tensor) -> np.ndarray:
        return array.detach().float().cpu().numpy()

    return Contender("torch", "torch", forward, training, time_major, case.cell)
