"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, time-major; on the CPU its LSTM runs in oneDNN, on a GPU all run in cuDNN."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch

from benchmarks.environment import cores
from benchmarks.peers import Contender, NotOffered
from benchmarks.problems import GATES, Case

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}

torch.set_num_threads(cores())  # as many as XLA's pool has


@dataclass(frozen=True, eq=False)
class Launched:
    """A function on PyTorch's device; a call returns finished results."""

    launch: Callable[[], Any]
    device: str

    def __call__(self) -> Any:
        result = self.launch()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return result

    def temporary_bytes(self) -> int | None:
        """What a call allocates besides arguments and results; None where nothing tells."""
        if self.device != "cuda":
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        results = jax.tree.leaves(self())
        return torch.cuda.max_memory_allocated() - before - sum(it.numel() * it.element_size() for it in results)


def contender(case: Case) -> Contender:
    kernel, recurrent, bias = case.joined(GATES[case.cell])
    states_bias = np.zeros_like(bias)
    if case.cell == "gru":
        states_bias[2 * case.shape.H :] = case.params["recurrent_bias"]
    weights = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias, "bias_hh_l0": states_bias}
    return of_weights(case, weights)


def of_weights(case: Case, weights: dict[str, np.ndarray], **options: Any) -> Contender:
    """The module of the case's cell made with `options`, with these weights."""
    model = MODULES[case.cell](case.shape.D, case.shape.H, **options).to(device_of_jax(), getattr(torch, case.dtype))
    model.load_state_dict({name: tensor(weight, case.dtype) for name, weight in weights.items()})
    return of_torch("torch", lambda xs: model(xs)[0], model.parameters(), case)


def of_torch(
    name: str,
    apply: Callable[[torch.Tensor], torch.Tensor],
    params: Iterable[torch.Tensor],
    case: Case,
    *,
    batch_major: bool = False,
    note: str = "",
) -> Contender:
    """A contender from `apply(xs) -> ys`, both time-major or both batch-major, with the parameters in it."""
    device = device_of_jax()
    xs, cotangent = (
        tensor(a.swapaxes(0, 1) if batch_major else a, case.dtype).contiguous() for a in (case.xs, case.cotangent)
    )
    xs.requires_grad_()
    params = list(params)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return apply(xs)

    def training() -> tuple[Any, torch.Tensor]:
        gradient, *gradients = torch.autograd.grad(apply(xs), [xs, *params], cotangent)
        return gradients, gradient

    def time_major(array: torch.Tensor) -> np.ndarray:
        found = array.detach().float().cpu().numpy()
        return found.swapaxes(0, 1) if batch_major else found

    calls = (Launched(call, device) for call in (forward, training))
    return Contender(name, "torch", *calls, time_major, case.cell, note)


def device_of_jax() -> str:
    """PyTorch's name of the device that JAX computes on.

    Raises:
      NotOffered: PyTorch does not compute there.
    """
    device = {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend())
    if device is None or (device == "cuda" and not torch.cuda.is_available()):
        raise NotOffered(f"it does not run on the {jax.default_backend()}")
    return device


def tensor(array: np.ndarray, dtype: str) -> torch.Tensor:
    return torch.tensor(array, dtype=getattr(torch, dtype), device=device_of_jax())
