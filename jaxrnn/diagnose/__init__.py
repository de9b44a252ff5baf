"""Shows what a model does: whether its gradients and its memory last, and where values stop being finite."""

from jaxrnn.diagnose.gate_timescales import gate_timescales
from jaxrnn.diagnose.gradient_profile import gradient_profile
from jaxrnn.diagnose.jacobian_spectrum import jacobian_spectrum
from jaxrnn.diagnose.lyapunov_spectrum import lyapunov_spectrum
from jaxrnn.diagnose.nonfinite import NonFinite, all_finite, first_nonfinite
from jaxrnn.diagnose.plot import plot
from jaxrnn.diagnose.report import LayerReport, Report, report
from jaxrnn.diagnose.saturation import saturation

__all__ = [
    "LayerReport",
    "NonFinite",
    "Report",
    "all_finite",
    "first_nonfinite",
    "gate_timescales",
    "gradient_profile",
    "jacobian_spectrum",
    "lyapunov_spectrum",
    "plot",
    "report",
    "saturation",
]
