"""Parameters of our cells from the weights of torchrecurrent's, by the names of our cells.

The benchmark of all cells and the tests of the golden file read weights with these.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

H = 5  # features of each cell whose weights are read


def by_gate(weights: Any, name: str) -> list[np.ndarray]:
    """The rows of each gate of a weight or a bias, inputs first."""
    weight = weights[name]
    return [rows.T for rows in np.split(weight, len(weight) // H)]


def plain(
    weights: Any, inputs: tuple[int, ...], states: tuple[int, ...], biases: tuple[tuple[int | None, int | None], ...]
) -> dict[str, np.ndarray]:
    """Parameters of gates at these places; a bias is the sum of one of the input and one of the state."""
    W, U, b, c = (by_gate(weights, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    sums = [(0 if i is None else b[i]) + (0 if j is None else c[j]) for i, j in biases]
    return {
        "kernel": np.stack([W[i] for i in inputs], axis=1),
        "recurrent_kernel": np.stack([U[i] for i in states], axis=1),
        "bias": np.stack(sums),
    }


def minimal(weights: Any) -> dict[str, np.ndarray]:
    return {
        "kernel": weights["weight_ih"].T[:, None],
        "recurrent_kernel": np.stack([weights["weight_mm"].T, weights["weight_hh"].T], axis=1),
        "bias": np.stack([weights["bias_ih"], weights["bias_hh"]]),
    }


def fast(weights: Any, count: int, *numbers: str) -> dict[str, np.ndarray]:
    bias = (weights["bias_ih"] + weights["bias_hh"]).reshape(count, H)
    kernels = {"kernel": weights["weight_ih"].T[:, None], "recurrent_kernel": weights["weight_hh"].T[:, None]}
    return kernels | {"bias": bias} | {name: weights[name][0] for name in numbers}


def multiplicative(weights: Any) -> dict[str, np.ndarray]:
    """The first gate of the input is `m` there; its bias is zero."""
    W, b = by_gate(weights, "weight_ih"), by_gate(weights, "bias_ih")
    U = [*by_gate(weights, "weight_mh"), weights["weight_hh"].T]
    return {
        "kernel": np.stack([*W[1:], W[0]], axis=1),
        "recurrent_kernel": np.stack(U, axis=1),
        "bias": np.stack(b[1:]) + np.stack(by_gate(weights, "bias_mh")),
    }


def deep(weights: Any) -> dict[str, np.ndarray]:
    params = plain(weights, (0, 1), (0, 1), same(0, 1))
    recurrent = np.concatenate([params["recurrent_kernel"], weights["weight_ho"].T[:, None]], axis=1)
    return params | {"recurrent_kernel": recurrent}


def simple_gated(weights: Any) -> dict[str, np.ndarray]:
    kernels = {"kernel": weights["weight_ih"].T[:, None], "recurrent_kernel": weights["weight_hh"].T[:, None]}
    return kernels | {"recurrent_bias": weights["bias_hh"]}


def typed(weights: Any) -> dict[str, np.ndarray]:
    """The weights of the state are those of the last input there."""
    taps = [np.stack(by_gate(weights, name), axis=1) for name in ("weight_ih", "weight_hh")]
    return {"kernel": np.stack(taps), "bias": (weights["bias_ih"] + weights["bias_hh"]).reshape(-1, H)}


def residual(weights: Any) -> dict[str, np.ndarray]:
    params = plain(weights, (0, 1, 2, 3), (0, 1, 2, 3), same(0, 1, 2, 3))
    kernel = np.concatenate([params["kernel"], weights["weight_res"].T[:, None]], axis=1)
    own = {"peephole": weights["weight_ph"].reshape(3, H), "projection": weights["weight_proj"].T}
    return params | own | {"kernel": kernel}


def oscillators(weights: Any) -> dict[str, np.ndarray]:
    return {
        "kernel": weights["weight_ih"].T[:, None],
        "recurrent_kernel": weights["weight_hh"][None],
        "dt_logit": weights["weight_ch"],
        "bias": (weights["bias_ih"] + weights["bias_hh"])[None],
    }


def same(*gates: int) -> tuple[tuple[int, int], ...]:
    return tuple((g, g) for g in gates)


READ = {
    "ugrnn": lambda w: plain(w, (1, 0), (1, 0), same(1, 0)),
    "intersection_rnn": lambda w: plain(w, (0, 1, 2, 3), (0, 1, 2, 3), same(0, 1, 2, 3)),
    "fast_rnn": lambda w: fast(w, 1, "alpha", "beta"),
    "fast_grnn": lambda w: fast(w, 2, "zeta", "nu"),
    "li_gru": lambda w: plain(w, (0, 1), (0, 1), same(0, 1)),
    "star": lambda w: plain(w, (1, 0), (0,), ((1, 0), (0, None))),
    "minimal_rnn": minimal,
    "ran": lambda w: plain(w, (1, 2, 0), (0, 1), same(0, 1)),
    "atr": lambda w: plain(w, (0,), (0,), same(0)),
    "cfn": lambda w: plain(w, (0, 1, 2), (0, 1), same(0, 1)),
    "mut1": lambda w: plain(w, (1, 0, 2), (0, 1), ((1, 0), (0, None))) | {"recurrent_bias": by_gate(w, "bias_hh")[1]},
    "mut2": lambda w: plain(w, (0, 2, 1), (0, 2, 1), same(0, 2, 1)),
    "mut3": lambda w: plain(w, (0, 1, 2), (0, 1, 2), same(0, 1, 2)),
    "original_lstm": lambda w: plain(w, (0, 1, 2), (0, 1, 2), same(0, 1, 2)),
    "multiplicative_lstm": multiplicative,
    "sgu": lambda w: plain(w, (0, 1), (0, 1), same(0, 1)),
    "dsgu": deep,
    "nbr": lambda w: plain(w, (0, 1, 2), (0, 1), ((0, 0), (1, 1), (2, None))),
    "light_ru": lambda w: plain(w, (1, 0), (0,), ((1, 0),)),
    "sgrn": simple_gated,
    "mi_ru1": lambda w: plain(w, (0, 1), (0, 1), same(0, 1)),
    "mi_ru2": lambda w: plain(w, (0,), (0,), same(0)),
    "t_rnn": lambda w: {
        "kernel": np.stack(by_gate(w, "weight_ih")[::-1], axis=1),
        "bias": by_gate(w, "bias_ih")[1][None],
    },
    "t_gru": typed,
    "t_lstm": typed,
    "res_lstm": residual,
    "unicornn": oscillators,
    "wmc_lstm": lambda w: (
        plain(w, (0, 1, 2, 3), (0, 1, 2, 3), same(0, 1, 2, 3))
        | {"cell_kernel": np.stack(by_gate(w, "weight_mh"), axis=1)}
    ),
    "memory_controller_lstm": lambda w: plain(w, (1, 0, 4, 2, 3), (1, 0, 4, 2, 3), same(1, 0, 4, 2, 3)),
    "tau_gru": lambda w: plain(w, (0, 2, 3, 1), (0, 2, 3, 1), same(0, 2, 3, 1)),
}
# Where its nonlinearities are not the paper's, and the numbers that the script gives.
OPTIONS = {
    "original_lstm": {"activation": jnp.tanh, "output_activation": jnp.tanh},
    "sgu": {"gate_activation": jax.nn.hard_sigmoid},
    "dsgu": {"gate_activation": jax.nn.hard_sigmoid},
    "unicornn": {"dt": 0.3, "stiffness": 2.0},
    "tau_gru": {"delay": 3},
}
