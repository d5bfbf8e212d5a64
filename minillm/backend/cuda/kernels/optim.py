"""Adam's update and the norm of the gradients, for all parameters at once; the kernels are in ``optim.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minillm.backend.base import Array

FAMILY = "optim"
BLOCK = 256


def fits(*arrays: Array) -> bool:
    """Tell whether the kernels can work on arrays that belong together: float32 or float64, contiguous, not empty."""
    dtype = arrays[0].dtype
    return dtype.name in ("float32", "float64") and all(
        a.dtype == dtype and a.flags.c_contiguous and a.size for a in arrays
    )


class Adam:
    """The update of ``minillm.optim.Adam`` and ``AdamW``, without amsgrad."""

    fits = staticmethod(fits)

    @staticmethod
    def update(
        backend: Any, parameters: Sequence[tuple[Array, ...]], *, beta1: float, beta2: float, **more: float
    ) -> None:
        """Change weights and moments in place.

        Args:
            parameters: (weight, gradient, first moment, second moment) of each, all of one type.
            more: ``size, eps, shrink, penalty, sign``; see ``optim.cu``.
        """
        table, blocks, V = backend.launch.pieces("adam", parameters)
        settings = (
            beta1,
            1 - beta1,
            beta2,
            1 - beta2,
            *(more[k] for k in ("size", "eps", "shrink", "penalty", "sign")),
        )
        T = parameters[0][0].dtype
        backend.launch(FAMILY, "adam", blocks, BLOCK, table, *map(float, settings), T=T, V=V)


class GradientNorm:
    """The 2-norm of all gradients as one vector, and clipping by it, without waiting for the device."""

    fits = staticmethod(fits)

    @staticmethod
    def norm(backend: Any, gradients: Sequence[Array]) -> Array:
        """Return the norm, a 0-d array."""
        T, xp = gradients[0].dtype, backend.xp
        table, blocks, V = backend.launch.pieces("gradients", [(g,) for g in gradients])
        parts, norm = xp.empty(blocks, dtype=T), xp.empty((), dtype=T)
        backend.launch(FAMILY, "sums_of_squares", blocks, BLOCK, table, parts, T=T, V=V)
        backend.launch(FAMILY, "norm_of_parts", 1, 1024, parts, norm, blocks, T=T)
        return norm

    @staticmethod
    def clip(backend: Any, gradients: Sequence[Array], norm: Array, max_norm: float) -> None:
        """Scale the gradients in place so that their norm is at most ``max_norm``."""
        table, blocks, V = backend.launch.pieces("gradients", [(g,) for g in gradients])
        backend.launch(FAMILY, "clip", blocks, BLOCK, table, norm, max_norm, T=gradients[0].dtype, V=V)
