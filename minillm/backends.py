"""Switches of the libraries below, under PyTorch's names: ``minillm.backends.cuda.matmul.allow_tf32 = True``."""

from minillm.backend.device import matmul_settings

__all__ = ["cuda"]


class cuda:
    """Switches of the GPU.

    Attributes:
        matmul: of matrix products, see ``minillm.backend.device.MatMulSettings``.
    """

    matmul = matmul_settings
