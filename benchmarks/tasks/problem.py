"""What a problem is: the data, the models that learn it and at which rates, what chance scores, what was published."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.tasks import training
from benchmarks.tasks.models import Contender
from benchmarks.tasks.training import Data
from jaxrnn.types import Array


class Size(NamedTuple):
    """How much is drawn and learned."""

    width: int
    batch: int
    updates: int
    trial: int  # updates of the run that tries a learning rate
    chunk: int = 100


class Problem(NamedTuple):
    """One task as it is learned here.

    Attributes:
      title: its name in tables.
      metric: what is reported: "accuracy", "cross-entropy" or "squared error".
      data: makes what draws it; a data set is read when this is called.
      alphabet: the number of tokens; None for real inputs.
      outputs: of the readout.
      contenders: the models, by name.
      rates: the learning rates that are tried.
      size: of models and runs.
      chance: the score without learning.
      goal: the score that ends a run; None: each has all of its updates.
      published: what the literature says, and where.
      patience: how many times running, a chunk of updates apart, a run has to reach the goal.
      ranked_by_loss: whether rates are ranked by the loss on validation data, not by the metric.
      falling: whether the learning rate falls along half a cosine.
    """

    title: str
    metric: str
    data: Callable[[], Data]
    alphabet: int | None
    outputs: int
    contenders: dict[str, Contender]
    rates: tuple[float, ...]
    size: Size
    chance: float
    goal: float | None
    published: str
    patience: int = 1
    ranked_by_loss: bool = False
    falling: bool = False

    @property
    def more_is_better(self) -> bool:
        return self.metric == "accuracy"

    @property
    def score(self) -> Callable[[Array, Array, Array], Array]:
        names = {"accuracy": training.accuracy, "squared error": training.squared_error}
        return names.get(self.metric, training.cross_entropy)

    @property
    def loss(self) -> Callable[[Array, Array, Array], Array]:
        return training.squared_error if self.metric == "squared error" else training.cross_entropy

    def solved(self, score: float) -> bool:
        if self.goal is None:
            return False
        return score >= self.goal if self.more_is_better else score <= self.goal


TINY = Size(4, 2, 2, 1, 1)  # of everything, to see that it runs
