"""Synthetic sequence tasks whose answers are known exactly, with the levels of chance and of the best model.

Each is a pure function `task(key, batch, length, …) -> (inputs, targets, mask)`, time first, of exactly `length` steps.
`mask` is True at the steps that are scored. Sizes are static, so a task may be drawn inside `jax.jit`.

`mnist1d`, `japanese_vowels` and `text` are data sets instead: they return arrays of NumPy, in a part to learn from and
one to be scored on. The first two need `pip install "jaxrnn[tasks]"`.
"""

from jaxrnn.tasks.adding import adding
from jaxrnn.tasks.associative_recall import associative_recall
from jaxrnn.tasks.copying import copying, selective_copying
from jaxrnn.tasks.counting import modular_counting, parity
from jaxrnn.tasks.datasets import japanese_vowels, mnist1d, text
from jaxrnn.tasks.series import irregular, noisy_sine
from jaxrnn.tasks.word_problems import s3, s5

__all__ = [
    "adding",
    "associative_recall",
    "copying",
    "irregular",
    "japanese_vowels",
    "mnist1d",
    "modular_counting",
    "noisy_sine",
    "parity",
    "s3",
    "s5",
    "selective_copying",
    "text",
]
