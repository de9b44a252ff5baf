"""Defines the options that cells have in common; a constructor takes them as `**options: Unpack[CellOptions]`.

Each entry is annotated with its type and its default. `options.checked` checks the type, fills in the default, and
shows both in the constructor's signature. `options.defaults` marks a cell whose defaults differ.
"""

from typing import Annotated, Any, TypedDict

import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.initializers import Initializer


class DTypeOptions(TypedDict, total=False):
    """The options of every cell.

    Attributes:
      dtype: the type of the computation; by default None, promoted from inputs and parameters. Carries are float32 at
        least.
      param_dtype: the type of the parameters; by default float32.
    """

    dtype: Annotated[Any, None]
    param_dtype: Annotated[Any, jnp.float32]


class KernelOptions(DTypeOptions, total=False):
    """`DTypeOptions`, and the initializer of kernels.

    Attributes:
      kernel_init: `(key, shape, dtype) -> Array`, which draws each matrix that is applied to the input, per gate or
        per head; by default `initializers.lecun_normal`.
    """

    kernel_init: Annotated[Initializer, initializers.lecun_normal]


class MatrixOptions(KernelOptions, total=False):
    """`KernelOptions`, and the sizes of a state of matrices.

    Attributes:
      heads: the number of matrices in the state; by default 4.
      keys: K, the rows of each matrix; by default None, `H / heads`.
      values: V, the columns of each matrix; by default None, `H / heads`.
      chunk: the number of steps that the method `"chunked"` runs as matrix products; by default 64.
    """

    heads: Annotated[int, 4]
    keys: Annotated[int | None, None]
    values: Annotated[int | None, None]
    chunk: Annotated[int, 64]


class LinearOptions(KernelOptions, total=False):
    """`KernelOptions`, and the bias: the options of cells whose gates do not see the state.

    Attributes:
      use_bias: whether there are biases; by default True. Without them nothing is added to a gate's initial bias, such
        as `forget_bias`.
      bias_init: draws the bias of all gates as a whole, `(key, (G, H), dtype) -> Array`; by default zeros.
    """

    use_bias: Annotated[bool, True]
    bias_init: Annotated[Initializer, initializers.zeros]


class CellOptions(LinearOptions, total=False):
    """`LinearOptions`, and the recurrent kernel: the options of cells whose gates see the state.

    Attributes:
      recurrent_kernel_init: `(key, (H, H), dtype) -> Array`, which draws the recurrent kernel per gate; by default
        `initializers.orthogonal`.
    """

    recurrent_kernel_init: Annotated[Initializer, initializers.orthogonal]
