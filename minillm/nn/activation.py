"""Activation functions as modules; each calls the op of the same name, where it is documented."""

from __future__ import annotations

from minillm import ops
from minillm.nn.module import Module
from minillm.tensor import Tensor


class ReLU(Module):
    """``functional.relu``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace  # accepted: a module's result never shares memory with its input here

    def forward(self, input: Tensor) -> Tensor:
        """Return the larger of the input and 0."""
        return ops.relu(input)

    def extra_repr(self) -> str:
        """Return the settings."""
        return "inplace=True" if self.inplace else ""


class ReLU6(ReLU):
    """``functional.relu6``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input between 0 and 6."""
        return ops.relu6(input)


class SiLU(ReLU):
    """``functional.silu``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input times its sigmoid."""
        return ops.silu(input)


class LeakyReLU(Module):
    """``functional.leaky_relu``."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, times the slope where it is negative."""
        return ops.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(Module):
    """``functional.elu``."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, bent towards -alpha where it is negative."""
        return ops.elu(input, self.alpha)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """``functional.gelu``."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Return the input times the probability of a smaller normal number."""
        return ops.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """``tanh``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the hyperbolic tangent."""
        return ops.tanh(input)


class Sigmoid(Module):
    """``sigmoid``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return 1 / (1 + e^-x)."""
        return ops.sigmoid(input)


class LogSigmoid(Module):
    """``functional.logsigmoid``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the logarithm of the sigmoid."""
        return ops.logsigmoid(input)


class Softplus(Module):
    """``functional.softplus``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """Return a smooth relu of the input."""
        return ops.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """``functional.hardtanh``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the input between the two values."""
        return ops.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class Softmax(Module):
    """``functional.softmax``."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return probabilities along the axis."""
        return ops.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """``functional.log_softmax``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return log-probabilities along the axis."""
        return ops.log_softmax(input, self.dim)
