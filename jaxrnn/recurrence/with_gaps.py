"""`with_gaps` makes a cell of features into one whose inputs carry the time gap as a further feature, the last one."""

from jaxrnn.precision import accumulator
from jaxrnn.types import Array, Cell, Params


def with_gaps(where: str, cell: Cell) -> Cell:
    """Returns a timed cell whose projected inputs are those of `cell`, and the gap `[..., 1]` after them.

    No weight sees the gap, which keeps the dtype of sums, since a time has more digits than a feature needs.

    Args:
      where: the constructor's name, for errors.
      cell: a cell whose `project` returns a tuple of arrays, and whose `step` takes them with the gap as the last one.
    """

    def init(key: Array, in_features: int) -> Params:
        if in_features < 2:
            raise ValueError(
                f"{where}: inputs have {in_features} feature, expected 2 or more: the last one is the time gap"
            )
        return cell.init(key, in_features - 1)

    def project(params: Params, xs: Array) -> tuple[Array, ...]:
        zs = cell.project(params, xs[..., :-1])
        return (*zs, xs[..., -1:].astype(accumulator(zs[0].dtype)))

    return cell._replace(init=init, project=project, timed=True)
