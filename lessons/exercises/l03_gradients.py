"""Exercises of lesson 03: backward passes on arrays. ``minillm check 03`` says how far you are.

Everywhere ``dz`` (or ``dy``) is the gradient of the loss in the result, and what you return is the gradient of the loss
in the inputs. A gradient has the shape of what it is the gradient of. Each function has a specification (the docstring)
and a ladder of hints (the comments): read one more only when you are stuck.
"""

from __future__ import annotations

import numpy as np


def unbroadcast(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the gradient of an array of a shape that was broadcast to the shape of ``dy``.

    A number that was used in k places gets the sum of the gradients of these places. Broadcasting adds axes in front,
    and repeats along axes of length 1.
    """
    # Hint 1: two steps. First sum over the axes in front that the shape does not have.
    # Hint 2: then sum over the axes where the shape has a 1 and dy has not, with keepdims=True.
    # Hint 3: dy.ndim - len(shape) axes are in front; a shape of () has none left.
    raise NotImplementedError("unbroadcast")


def mul_backward(x: np.ndarray, y: np.ndarray, dz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients in x and y of z = x * y, which broadcasts.

    dz has the shape that x and y have together.
    """
    # Hint 1: the slope of the product in one factor is the other factor.
    # Hint 2: the result of that has the shape of dz; unbroadcast brings it to the shape of the factor.
    raise NotImplementedError("mul_backward")


def matmul_backward(a: np.ndarray, b: np.ndarray, dc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients in a and b of c = a @ b, for matrices and for stacks of them.

    Shape:
        a (..., N, K), b (..., K, M), dc (..., N, M). The axes in front broadcast: one matrix may meet a whole stack.
    """
    # Hint 1: for two matrices da = dc b^T and db = a^T dc; the lesson says so, and the shapes allow nothing else.
    # Hint 2: .T turns all axes around; of a stack only the last two must change places: np.swapaxes(b, -1, -2).
    # Hint 3: a matrix that met a stack was used once for each matrix of it; there is a function for that above.
    raise NotImplementedError("matmul_backward")


def logsumexp_backward(x: np.ndarray, axis: int, dy: np.ndarray) -> np.ndarray:
    """Return the gradient in x of y = log(sum(exp(x))) along one axis.

    The result must be right for large numbers too, such as 1e4, whose exponential no computer can hold.

    Shape:
        dy has the shape of x without that axis.
    """
    # Hint 1: the slope of y in x_i is exp(x_i) / sum_j exp(x_j): shares that sum to 1, called softmax.
    # Hint 2: subtract the largest x along the axis before exp; the shares stay the same, and nothing overflows.
    # Hint 3: np.expand_dims(dy, axis) gives dy its lost axis back, so that it broadcasts against the shares.
    raise NotImplementedError("logsumexp_backward")
