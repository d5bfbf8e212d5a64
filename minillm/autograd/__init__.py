"""Floor 2: the tape (function.py), the backward pass (engine.py) and their switches (modes.py). Knows no op and no
Tensor.
"""

from minillm.autograd.engine import add_hook, grad, retain_grad, run_backward, start_gradient
from minillm.autograd.function import Context, Function, Variable, set_tensor_class, wrap
from minillm.autograd.modes import (
    AnomalyError,
    decorated,
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_enabled,
    is_grad_enabled,
    modes,
    no_grad,
    set_autocast,
    set_grad_enabled,
)

__all__ = [
    "AnomalyError",
    "Context",
    "Function",
    "Variable",
    "add_hook",
    "decorated",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "modes",
    "no_grad",
    "retain_grad",
    "run_backward",
    "set_autocast",
    "set_grad_enabled",
    "set_tensor_class",
    "start_gradient",
    "wrap",
]
