"""All contenders compute the same, or nothing is timed."""

from contextlib import nullcontext
from dataclasses import replace

import jax
import numpy as np

from benchmarks.peers import Contender, Field
from benchmarks.peers.jaxrnn import contender as ours
from benchmarks.problems import Case

TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-1, "float16": 2e-2}


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
        reference = self._reference(contender.computes)
        return deviation(contender.name, results(contender), reference, self._tolerance, of, "jaxrnn's scan")

    def _reference(self, cell: str) -> dict[str, np.ndarray]:
        if cell not in self._references:
            case = replace(self._case, cell=cell, dtype="float32")
            self._references[cell] = results(ours(case, method="scan"))
        return self._references[cell]


def compared(contender: Contender, other: Contender, what: str) -> float:
    """As `Parity.check`, of two contenders that compute `what` in float32."""
    found, tolerance = results(other), TOLERANCES["float32"]
    return deviation(other.name, found, results(contender), tolerance, what, contender.name)


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


def deviation(
    name: str,
    found: dict[str, np.ndarray],
    reference: dict[str, np.ndarray],
    tolerance: float,
    of: str,
    whose: str,
) -> float:
    """The largest deviation of what `name` computes, each relative to the largest value of its reference.

    Raises:
      ParityError: it exceeds the tolerance, or is not a number.
    """
    deviations = {
        what: float(np.abs(array - reference[what]).max() / np.abs(reference[what]).max())
        for what, array in found.items()
    }
    for what, largest in deviations.items():
        if not largest <= tolerance:
            raise ParityError(
                f"{name}: {what} of {of} deviate by {largest:.1e} from {whose}, expected at most {tolerance:.0e}"
            )
    return max(deviations.values())


def results(contender: Contender, *, weights: bool = False) -> dict[str, np.ndarray]:
    """Outputs and the inputs' gradient; with `weights` also the gradients of parameters in a dict."""
    # GPUs and TPUs round the inputs of float32 products by default; that is no matter of parity.
    with nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest"):
        outputs, (gradients, gradient) = contender.forward(), contender.training()
    found = {"outputs": contender.time_major(outputs), "gradients of inputs": contender.time_major(gradient)}
    if weights:
        found |= {f"gradients of {name}": np.asarray(array, np.float32) for name, array in gradients.items()}
    return found
