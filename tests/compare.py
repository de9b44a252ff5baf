"""Comparisons of pytrees, by which all tests measure."""

from typing import Any

import jax
import numpy as np


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-10) -> None:
    """Compares two pytrees, leaf by leaf, relative to the largest entry of each expected leaf if that exceeds 1."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        wide = np.complex128 if np.iscomplexobj(e) else np.float64
        a, e = np.asarray(a, wide), np.asarray(e, wide)
        bound = tolerance * max(1.0, np.abs(e[np.isfinite(e)]).max(initial=0.0))
        np.testing.assert_allclose(a, e, rtol=0, atol=bound, err_msg=jax.tree_util.keystr(path))


def assert_equal(actual: Any, expected: Any) -> None:
    """Compares two pytrees whose numbers are the same to the last digit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
