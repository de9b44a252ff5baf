"""What inputs add to later steps: all at once against one step after another, under every kind of flag."""

import jax
import numpy as np
import pytest

from jaxrnn.recurrence import delayed

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, F = 9, 3, 2


def looped(pending, parts, valid, resets, fresh):
    """Of one row, in NumPy: the definition."""
    sums = []
    for t in range(len(parts)):
        pending = fresh if resets[t] else pending
        sums.append(np.zeros(F))
        if valid[t]:
            due = parts[t] + np.concatenate([pending, np.zeros((1, F))])
            sums[t], pending = due[0], due[1:]
    return pending, np.array(sums).reshape(-1, F)


@pytest.mark.parametrize(
    ("total", "taps", "flags"),
    [
        (0, 2, "both"),
        (2, 4, "none"),
        (2, 4, "both"),
        (T, 1, "both"),
        *((T, 3, flags) for flags in ("none", "valid", "resets", "both")),
    ],
)
def test_all_at_once_is_one_step_after_another(total, taps, flags):
    rng = np.random.default_rng(taps)
    valid = rng.random((total, B)) < (0.6 if flags in ("valid", "both") else 2)
    resets = rng.random((total, B)) < (0.3 if flags in ("resets", "both") else 0)
    parts = np.where(valid[..., None, None], rng.normal(size=(total, B, taps, F)), 0)
    pending, fresh = rng.normal(size=(2, B, taps - 1, F))
    given = {
        "valid": valid if flags in ("valid", "both") else None,
        "resets": resets if flags in ("resets", "both") else None,
        "fresh": fresh if flags in ("resets", "both") else None,
    }
    after, sums = jax.jit(delayed.over_time)(pending, parts, **given)
    for b in range(B):
        expected = looped(pending[b], parts[:, b], valid[:, b], resets[:, b], fresh[b])
        np.testing.assert_allclose(after[b], expected[0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(np.where(valid[:, b, None], sums[:, b], 0), expected[1], rtol=0, atol=1e-14)


def test_one_step_is_the_definition():
    rng = np.random.default_rng(0)
    pending, parts = rng.normal(size=(B, 2, F)), rng.normal(size=(B, 3, F))
    after, sums = jax.jit(delayed.step)(pending, parts)
    np.testing.assert_allclose(sums, pending[:, 0] + parts[:, 0])
    np.testing.assert_allclose(after, np.stack([pending[:, 1] + parts[:, 1], parts[:, 2]], axis=1))
