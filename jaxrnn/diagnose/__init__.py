"""Measures the gradients and the memory of a model: whether they vanish, last or explode over its steps."""

from jaxrnn.diagnose.gate_timescales import gate_timescales
from jaxrnn.diagnose.gradient_profile import gradient_profile
from jaxrnn.diagnose.jacobian_spectrum import jacobian_spectrum
from jaxrnn.diagnose.lyapunov_spectrum import lyapunov_spectrum
from jaxrnn.diagnose.saturation import saturation

__all__ = ["gate_timescales", "gradient_profile", "jacobian_spectrum", "lyapunov_spectrum", "saturation"]
