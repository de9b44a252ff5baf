"""Writes `transformers.npz`: what the blocks of Mamba-2, Gated DeltaNet and Kimi Linear are in Hugging Face's library.

    pip install torch==2.13.0 transformers==5.23.0 numpy
    python tests/golden/make_transformers.py

The file holds `made` as `store.py` tells, `xs [T, B, D]`, `cotangents [T, B, D]`, and for each block, `mamba2`,
`gated_delta_net` (that of Qwen3-Next) and `kda`, its `weights` in its own names and layout, its outputs `ys [T, B, D]`,
and `gradients`, those cotangents pulled back to `weights` and `xs`. Results are computed in float64, where that library
does not cast to float32, and stored in float32. A second run on the same machine writes the same bytes.

Epsilons of norms are such that those of jaxrnn, 1e-6, say the same: there queries of length 1 are divided by √K.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
import store
import torch
from transformers.models.kimi_linear.configuration_kimi_linear import KimiLinearConfig
from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearDeltaAttention
from transformers.models.mamba2.configuration_mamba2 import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

SEED = 2025
T, B, D, HEADS, KEYS, VALUES = 9, 2, 6, 2, 4, 3
EPSILON = 1e-6


def mamba2() -> torch.nn.Module:
    sizes = {"num_heads": HEADS, "head_dim": VALUES, "state_size": KEYS, "expand": HEADS * VALUES // D, "n_groups": 1}
    return Mamba2Mixer(Mamba2Config(hidden_size=D, layer_norm_epsilon=EPSILON, num_hidden_layers=1, **sizes), 0)


def gated_delta_net() -> torch.nn.Module:
    heads = {"linear_num_key_heads": HEADS, "linear_num_value_heads": HEADS}
    sizes = {"linear_key_head_dim": KEYS, "linear_value_head_dim": VALUES, "num_hidden_layers": 1}
    config = Qwen3NextConfig(hidden_size=D, rms_norm_eps=EPSILON / KEYS, **heads, **sizes)
    return Qwen3NextGatedDeltaNet(config, 0)


def kda() -> torch.nn.Module:
    sizes = {"linear_num_heads": HEADS, "linear_head_dim": KEYS, "num_hidden_layers": 1}
    return KimiLinearDeltaAttention(KimiLinearConfig(hidden_size=D, rms_norm_eps=EPSILON / KEYS, **sizes), 0)


def golden(block: torch.nn.Module, rng: np.random.Generator, xs: np.ndarray, cotangents: np.ndarray) -> dict[str, Any]:
    """The weights, outputs and gradients of one block."""
    block = block.double()
    named = dict(block.named_parameters())
    weights = store.draw(rng, {name: tuple(p.shape) for name, p in named.items()})
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(torch.from_numpy(weights[name]))
    inputs = torch.tensor(xs, dtype=torch.float64, requires_grad=True)
    ys = block(inputs.transpose(0, 1))
    ys = (ys[0] if isinstance(ys, tuple) else ys).transpose(0, 1)
    pulled = torch.autograd.grad(ys, [*named.values(), inputs], torch.tensor(cotangents, dtype=torch.float64))
    *of_weights, of_xs = (g.numpy().astype(np.float32) for g in pulled)
    gradients = {"weights": dict(zip(named, of_weights, strict=True)), "xs": of_xs}
    return {"weights": weights, "ys": ys.detach().numpy().astype(np.float32), "gradients": gradients}


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    xs, cotangents = store.draw(rng, (T, B, D)), store.draw(rng, (T, B, D))
    versions = f"transformers {version('transformers')}, torch {version('torch').partition('+')[0]}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_transformers.py"}
    blocks = {make.__name__: golden(make(), rng, xs, cotangents) for make in (mamba2, gated_delta_net, kda)}
    store.save("transformers", {"xs": xs, "cotangents": cotangents, **blocks}, **made)


if __name__ == "__main__":
    main()
