"""jaxrnn: recurrent networks in JAX as records of pure functions.

The `step` of a cell defines it; unrolling, fused gradients, layers and Flax modules are derived from it and may only be
faster.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from jaxrnn import cells, diagnose, initializers, interop, tasks
from jaxrnn.allocator import tune_cpu_allocator
from jaxrnn.carries import (
    BegunCarry,
    ComplexCarry,
    HiddenCarry,
    LSTMCarry,
    MatrixCarry,
    MLSTMCarry,
)
from jaxrnn.cell_options import CellOptions, DTypeOptions, KernelOptions, LinearOptions, MatrixOptions
from jaxrnn.cells import *  # noqa: F403
from jaxrnn.checks import ShapeError
from jaxrnn.decode.beam_search import beam_search
from jaxrnn.decode.generate import generate
from jaxrnn.decode.scheduled_sampling import scheduled_sampling
from jaxrnn.fold import fold
from jaxrnn.initial_carry import initial_carry
from jaxrnn.last import last
from jaxrnn.layers.act import act
from jaxrnn.layers.attending import AttendingCarry, attending
from jaxrnn.layers.attention import Memory, attention, init_attention
from jaxrnn.layers.bidirectional import BidirectionalCarry, bidirectional
from jaxrnn.layers.blocks import griffin_block, mamba_block
from jaxrnn.layers.causal_conv import CausalConvCarry, causal_conv
from jaxrnn.layers.conv import conv
from jaxrnn.layers.dense import dense
from jaxrnn.layers.dropout import dropout
from jaxrnn.layers.embedding import embedding
from jaxrnn.layers.gated_mlp import gated_mlp
from jaxrnn.layers.griffin import griffin
from jaxrnn.layers.layer import layer, stepwise
from jaxrnn.layers.layer_norm import layer_norm
from jaxrnn.layers.local_attention import local_attention
from jaxrnn.layers.matrix_block import matrix_block
from jaxrnn.layers.mlstm_block import mlstm_block
from jaxrnn.layers.pool import pool
from jaxrnn.layers.residual import residual
from jaxrnn.layers.rms_norm import rms_norm
from jaxrnn.layers.rnn import rnn
from jaxrnn.layers.skip import SkipCarry, skip
from jaxrnn.layers.stack import stack
from jaxrnn.recurrence.linear import linear_cell
from jaxrnn.recurrence.linear_scan import linear_scan
from jaxrnn.recurrence.matrix import matrix_cell
from jaxrnn.recurrence.matrix_scan import matrix_scan
from jaxrnn.recurrence.pointwise import pointwise_cell, step_cell
from jaxrnn.recurrence.ring import LocalAttentionCarry
from jaxrnn.roles import roles
from jaxrnn.sharding_of import sharding_of
from jaxrnn.transforms.heads import heads
from jaxrnn.transforms.learned_carry import learned_carry
from jaxrnn.transforms.recurrent_dropout import recurrent_dropout
from jaxrnn.transforms.weight_dropout import weight_dropout
from jaxrnn.transforms.weight_norm import weight_norm
from jaxrnn.transforms.with_carry import with_carry
from jaxrnn.transforms.zoneout import zoneout
from jaxrnn.types import Cell, Flow, Layer, Noise, Steps
from jaxrnn.unroll import methods, step, unroll, unroll_with_aux
from jaxrnn.wavefront import wavefront

if TYPE_CHECKING:
    from jaxrnn import linen, nnx

__all__ = [
    "AttendingCarry",
    "BegunCarry",
    "BidirectionalCarry",
    "CausalConvCarry",
    "Cell",
    "CellOptions",
    "ComplexCarry",
    "DTypeOptions",
    "Flow",
    "HiddenCarry",
    "KernelOptions",
    "LSTMCarry",
    "Layer",
    "LinearOptions",
    "LocalAttentionCarry",
    "MLSTMCarry",
    "MatrixCarry",
    "MatrixOptions",
    "Memory",
    "Noise",
    "ShapeError",
    "SkipCarry",
    "Steps",
    "act",
    "attending",
    "attention",
    "beam_search",
    "bidirectional",
    "causal_conv",
    "conv",
    "dense",
    "diagnose",
    "dropout",
    "embedding",
    "fold",
    "gated_mlp",
    "generate",
    "griffin",
    "griffin_block",
    "heads",
    "init_attention",
    "initial_carry",
    "initializers",
    "interop",
    "last",
    "layer",
    "layer_norm",
    "learned_carry",
    "linear_cell",
    "linear_scan",
    "linen",
    "local_attention",
    "mamba_block",
    "matrix_block",
    "matrix_cell",
    "matrix_scan",
    "methods",
    "mlstm_block",
    "nnx",
    "pointwise_cell",
    "pool",
    "recurrent_dropout",
    "residual",
    "rms_norm",
    "rnn",
    "roles",
    "scheduled_sampling",
    "sharding_of",
    "skip",
    "stack",
    "step",
    "step_cell",
    "stepwise",
    "tasks",
    "tune_cpu_allocator",
    "unroll",
    "unroll_with_aux",
    "wavefront",
    "weight_dropout",
    "weight_norm",
    "with_carry",
    "zoneout",
]
__all__ += cells.__all__


def __getattr__(name: str) -> ModuleType:
    """Imports the Flax modules on first use: importing Flax takes half as long as all the rest."""
    if name in ("linen", "nnx"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
