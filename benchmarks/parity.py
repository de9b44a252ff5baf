"""All contenders compute the same, or nothing is timed."""

from contextlib import nullcontext
from dataclasses import replace

import jax
import numpy as np

from benchmarks.peers import Contender, Field
from benchmarks.peers.jaxrnn import contender as ours
from benchmarks.problems import Case

TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-1}


class ParityError(AssertionError):
    """Two contenders do not compute the same."""


class Parity:
    """Compares contenders of one case with jaxrnn's plain float32 scan of the function that each computes."""

    def __init__(self, case: Case) -> None:
        self._case, self._tolerance = case, TOLERANCES[case.dtype]
        self._references: dict[str, dict[str, np.ndarray]] = {}

    def check(self, contender: Contender) -> float:
        """The largest deviation of outputs and of the inputs' gradient, each relative to its largest value.

        Raises:
          ParityError: it exceeds the tolerance, or is not a number.
        """
        of = f"{contender.computes} {tuple(self._case.shape)}"
        return _deviation(contender, self._reference(contender.computes), self._tolerance, of, "jaxrnn's scan")

    def _reference(self, cell: str) -> dict[str, np.ndarray]:
        if cell not in self._references:
            case = replace(self._case, cell=cell, dtype="float32")
            self._references[cell] = _results(ours(case, method="scan"))
        return self._references[cell]


def compared(contender: Contender, other: Contender, what: str) -> float:
    """As `Parity.check`, of two contenders that compute `what` in float32."""
    return _deviation(other, _results(contender), TOLERANCES["float32"], what, contender.name)


def admitted(case: Case, field: Field) -> dict[Contender, float]:
    """jaxrnn and the peers that take part in `case`, with their deviations. A peer that breaks down is left out aloud.

    Raises:
      ParityError: one of them computes something else.
    """
    parity = Parity(case)
    entrants = [ours(case), *field.contenders(case)]
    found = {}
    for entrant in entrants:
        try:
            found[entrant] = parity.check(entrant)
        except Exception as error:  # whatever another library may raise: one peer does not end the run
            if entrant.kind == "ours" or isinstance(error, ParityError):
                raise
            field.skip(entrant.name, case, f"failed with {type(error).__name__}: {str(error).splitlines()[0]}")
    return found


def _deviation(contender: Contender, reference: dict[str, np.ndarray], tolerance: float, of: str, whose: str) -> float:
    deviations = {
        what: float(np.abs(found - reference[what]).max() / np.abs(reference[what]).max())
        for what, found in _results(contender).items()
    }
    for what, deviation in deviations.items():
        if not deviation <= tolerance:
            raise ParityError(
                f"{contender.name}: {what} of {of} deviate by {deviation:.1e} from {whose}, expected at most "
                f"{tolerance:.0e}"
            )
    return max(deviations.values())


def _results(contender: Contender) -> dict[str, np.ndarray]:
    # GPUs and TPUs round the inputs of float32 products by default; that is no matter of parity.
    with nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest"):
        outputs, (_, gradient) = contender.forward(), contender.training()
    return {"outputs": contender.time_major(outputs), "gradients of inputs": contender.time_major(gradient)}
