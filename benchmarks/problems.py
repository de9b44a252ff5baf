"""What is timed: shapes, and cases with fresh random data in jaxrnn's layout."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CELLS = ("lstm", "gru", "elman")
TITLES = {"lstm": "LSTM", "gru": "GRU", "elman": "Elman"}
GATES = {"lstm": "ifgo", "gru": "rzn", "gru_before": "rzn", "elman": "h"}  # the order of the parameters' gate axis


class Shape(NamedTuple):
    """Batch, time, input features, hidden features."""

    B: int
    T: int
    D: int
    H: int


SHAPES = {
    "small": Shape(32, 128, 64, 128),
    "medium": Shape(64, 64, 256, 256),
    "large": Shape(32, 32, 512, 1024),
    "stream": Shape(1, 500, 128, 256),
}
ACCELERATOR_SHAPES = {  # large enough that a GPU has something to do
    "deep": Shape(16, 1024, 768, 768),
    "wide": Shape(256, 256, 512, 512),
    "rows": Shape(1024, 128, 128, 128),
    "16k": Shape(8, 16384, 256, 256),  # for linear recurrences
}
QUICK_SHAPES = {"tiny": Shape(2, 5, 3, 4)}


def shape_of(text: str) -> Shape:
    """A shape by its name, or as four numbers: `32,128,64,128`."""
    known = SHAPES | ACCELERATOR_SHAPES | QUICK_SHAPES
    if text in known:
        return known[text]
    sizes = text.split(",")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise ValueError(f"shape is {text!r}, expected one of {', '.join(known)}, or B,T,D,H as in 32,128,64,128")
    return Shape(*map(int, sizes))


@dataclass(frozen=True, eq=False)
class Case:
    """One recurrent layer with its data, all NumPy float32: `xs [T, B, D]`, a cotangent of its outputs `[T, B, H]`."""

    cell: str
    shape: Shape
    params: dict[str, np.ndarray]
    xs: np.ndarray
    cotangent: np.ndarray
    dtype: str = "float32"

    def joined(self, gates: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`kernel [D, G * H]`, `recurrent_kernel [H, G * H]` and `bias [G * H]`, gates in the order given."""
        order = [GATES[self.cell].index(gate) for gate in gates]
        kernel, recurrent, bias = (self.params[name] for name in ("kernel", "recurrent_kernel", "bias"))
        rows, hidden = self.shape.D, self.shape.H
        return kernel[:, order].reshape(rows, -1), recurrent[:, order].reshape(hidden, -1), bias[order].reshape(-1)

    def gate(self, gate: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One gate's `kernel [D, H]`, `recurrent_kernel [H, H]` and `bias [H]`."""
        return self.joined(gate)

    @property
    def forward_flops(self) -> float:
        """Of the matrix products of a forward pass; training takes three times as many."""
        return 2.0 * len(GATES[self.cell]) * self.shape.B * self.shape.T * self.shape.H * (self.shape.D + self.shape.H)


def make_case(cell: str, shape: Shape, seed: int, dtype: str = "float32") -> Case:
    """A case drawn from `seed`.

    GRU's `recurrent_bias` is zero, because `flax.nnx` has none; all else is random.
    """
    rng = np.random.default_rng([seed, *shape, *cell.encode()])
    gates = len(GATES[cell])

    def draw(*sizes: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(sizes)).astype(np.float32)

    params = {
        "kernel": draw(shape.D, gates, shape.H, scale=shape.D**-0.5),
        "recurrent_kernel": draw(shape.H, gates, shape.H, scale=shape.H**-0.5),
        "bias": draw(gates, shape.H, scale=0.1),
    }
    if cell == "gru":
        params["recurrent_bias"] = np.zeros(shape.H, np.float32)
    return Case(cell, shape, params, draw(shape.T, shape.B, shape.D), draw(shape.T, shape.B, shape.H), dtype)
