"""Recompute instead of store: a part of the network runs its forward pass again during the backward pass.

Memory for time: the activations inside are not kept, only the inputs. Source: Chen et al., "Training Deep Nets with
Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minillm.autograd import Function, enable_grad, is_grad_enabled, modes, no_grad, run_backward, set_autocast, wrap
from minillm.backend import Array, get_backend
from minillm.backend.random import default_generator
from minillm.tensor import Tensor

__all__ = ["checkpoint"]


class Checkpoint(Function):
    """``y = function(*inputs)`` whose backward pass runs the function again, with the same random numbers."""

    @staticmethod
    def forward(ctx: Any, anchor: Array, *arrays: Array, function: Callable, others: list[Any]) -> Any:
        ctx.function_to_run, ctx.others = function, others
        ctx.random_state = default_generator.get_state()
        ctx.autocast = modes.autocast  # the second run computes in the types of the first
        ctx.save_for_backward(*arrays)
        with no_grad():
            results = function(*_merged(others, map(wrap, arrays)))
        if isinstance(results, Tensor):
            return results.array
        return tuple(t.array for t in results)

    @staticmethod
    def backward(ctx: Any, *dys: Array) -> tuple:
        after = default_generator.get_state()
        default_generator.set_state(ctx.random_state)  # dropout draws the mask of the forward pass again
        inputs = [wrap(a) for a in ctx.saved_arrays]
        for x, needed in zip(inputs, ctx.needs_input_grad[1:], strict=True):
            x.requires_grad = needed
        try:
            with enable_grad(), set_autocast(ctx.autocast):
                results = ctx.function_to_run(*_merged(ctx.others, iter(inputs)))
        finally:
            default_generator.set_state(after)
        results = (results,) if isinstance(results, Tensor) else results
        roots = [(y, dy) for y, dy in zip(results, dys, strict=True) if y.requires_grad]
        run_backward([y for y, _ in roots], [dy for _, dy in roots])  # parameters inside get their gradients here
        return (None, *(None if x.grad is None else x.grad.array for x in inputs))


_TENSOR = object()


def _merged(others: list[Any], tensors: Any) -> list[Any]:
    return [next(tensors) if x is _TENSOR else x for x in others]


def checkpoint(function: Callable, *args: Any, use_reentrant: bool = True, **kwargs: Any) -> Any:
    """Run ``function(*args)`` without keeping what it computes inside; the backward pass computes it again.

    Gradients equal those of the plain call, bit for bit in float64. Parameters that the function uses receive their
    gradients in the backward pass itself, so ``autograd.grad`` does not see them.

    Args:
        function: maps tensors to a tensor or a tuple of tensors; it must give the same when it is called again.
        args: its arguments; tensors among them get gradients.
        use_reentrant: accepted for PyTorch's sake; both mean the same here.
        kwargs: more arguments, without gradients.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    tensors = [x for x in args if isinstance(x, Tensor)]
    others = [_TENSOR if isinstance(x, Tensor) else x for x in args]
    # The parameters inside are not among the inputs; the anchor asks for a gradient in their name, so that the call is
    # recorded even if no input needs one.
    where = tensors[0].backend if tensors else get_backend()
    anchor = wrap(where.xp.zeros(())).requires_grad_()
    call = (lambda *a: function(*a, **kwargs)) if kwargs else function
    return Checkpoint.apply(anchor, *tensors, function=call, others=others)
