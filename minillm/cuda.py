"""What programs ask of CUDA; asking never fails where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minillm.autograd.graphed import Graphed
from minillm.backend import get_backend

__all__ = ["device_count", "empty_cache", "graphed", "is_available", "manual_seed_all", "synchronize"]


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
    """Give memory back to the card that is not in use, but kept for the next tensor."""
    if is_available():
        get_backend("cuda").empty_cache()


def manual_seed_all(seed: int) -> None:
    """Seed every device: random numbers come from the host's generator, so this is ``minillm.manual_seed``."""
    from minillm.backend.random import manual_seed

    manual_seed(seed)


def graphed(function: Callable[..., Any], parameters: Sequence[Any] = ()) -> Callable[..., Any]:
    """Return a function that does the same in less time: the card repeats a recording of it (a CUDA graph).

    Python needs some 50 microseconds a launch, tape and all, and a step of GPT-2 has 1,100 of them. The first two
    calls with inputs of some shapes and types are made as usual, the third is recorded, and from then on one launch
    does all of it. On the CPU, and under ``detect_anomaly``, nothing is recorded. The numbers are the same, bit for
    bit; where a gradient is added to another one, to rounding.

    Args:
        function: gets tensors that need no gradient, at least one, and returns a tensor or a tuple of them, which need
            none, either (``loss.detach()``). Only what it gives the card to do is repeated: it must give it the same
            every time, whatever the inputs hold. It may call ``backward``, which adds to ``.grad`` as usual, and draw
            dropout; it cannot look at results (``item``, ``if``), and lists, hooks and counters of Python see the first
            three calls only.
        parameters: the tensors whose gradients it adds up. Where one of them gets another array (``.to``, ``.data =``)
            a new recording is made; a change in place, as optimizers and ``load_state_dict`` make, is seen.

    Raises:
        ValueError: when it is called with a tensor that requires a gradient.

    Warns:
        UserWarning: if it cannot be recorded; it is then called as usual.

    >>> import minillm
    >>> w = minillm.ones(2, requires_grad=True)
    >>> def step(x):
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     return loss.detach()
    >>> minillm.cuda.graphed(step, [w])(minillm.tensor([1.0, 2.0])), w.grad
    (tensor(3.), tensor([1., 2.]))
    """
    return Graphed(function, parameters)
