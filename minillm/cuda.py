"""What programs ask about CUDA; asking never fails where there is none."""

from __future__ import annotations

from minillm.backend import get_backend

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed_all", "synchronize"]


def is_available() -> bool:
    """Tell whether tensors can be put on a CUDA device."""
    try:
        get_backend("cuda")
    except RuntimeError:
        return False
    return True


def device_count() -> int:
    """Return how many CUDA devices can be used: 0 or 1."""
    return int(is_available())


def synchronize() -> None:
    """Wait until the CUDA device has finished."""
    get_backend("cuda").synchronize()


def empty_cache() -> None:
    """Do nothing: memory that is not in use is kept for the next tensor."""


def manual_seed_all(seed: int) -> None:
    """Seed every device: random numbers come from the host's generator, so this is ``minillm.manual_seed``."""
    from minillm.backend.random import manual_seed

    manual_seed(seed)
