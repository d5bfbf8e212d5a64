"""Matrix products: matmul with all of PyTorch's shape rules, the fused linear layer, einsum."""

from __future__ import annotations

from typing import Any

from minillm.autograd import Function
from minillm.backend import Array
from minillm.ops.arithmetic import add, mul
from minillm.ops.common import promote, unbroadcast
from minillm.tensor import Tensor

__all__ = ["addmm", "baddbmm", "bmm", "dot", "einsum", "linear", "matmul", "mm", "mv", "outer"]


# --- matmul: z = x @ y ----------------------------------------------------------------------------------------------
class MatMul(Function):
    """``z = x @ y``; ``dx = dz @ y^T``, ``dy = x^T @ dz``, summed over broadcast batch axes."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array) -> Array:
        needs_x, needs_y = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_y else None, y if needs_x else None)
        ctx.shapes = x.shape, y.shape
        return ctx.backend.matmul(x, y)

    @staticmethod
    def backward(ctx: Any, dz: Array) -> tuple[Array | None, Array | None]:
        x, y = ctx.saved_arrays
        (x_shape, y_shape), matmul = ctx.shapes, ctx.backend.matmul
        # A vector stands for a matrix with one row (left) or one column (right), and the result lacks that axis.
        if len(x_shape) == 1:
            dz = dz[..., None, :] if len(y_shape) > 1 else dz[None, None]
        if len(y_shape) == 1 and len(x_shape) > 1:
            dz = dz[..., None]
        dx = dy = None
        if ctx.needs_input_grad[0]:
            right = y[:, None] if len(y_shape) == 1 else y
            dx = matmul(dz, right.swapaxes(-1, -2))
            dx = unbroadcast(dx[..., 0, :], x_shape) if len(x_shape) == 1 else unbroadcast(dx, x_shape)
        if ctx.needs_input_grad[1]:
            left = x[None] if len(x_shape) == 1 else x
            if len(y_shape) <= 2 and left.ndim > 2:
                # One matrix for the whole batch: rows of all batches are rows of one product.
                left, dz = left.reshape(-1, left.shape[-1]), dz.reshape(-1, dz.shape[-1])
            dy = matmul(left.swapaxes(-1, -2), dz)
            dy = unbroadcast(dy[..., 0], y_shape) if len(y_shape) == 1 else unbroadcast(dy, y_shape)
        return dx, dy


def matmul(input: Tensor, other: Tensor) -> Tensor:
    r"""Matrix product $z = x y$ over the last two axes; the axes before them broadcast.

    $\partial L/\partial x = \partial L/\partial z \; y^T$, $\partial L/\partial y = x^T \, \partial L/\partial z$.
    A 1-d input is a row on the left, a column on the right; its axis is missing from the result.

    Shape:
        (..., n, k) and (..., k, m) to (..., n, m).

    Raises:
        RuntimeError: if the inner lengths differ or an input is 0-d.
    """
    x, y = _same_type("matmul", input, other)
    if not x.ndim or not y.ndim:
        raise RuntimeError("matmul: expected tensors with at least one axis; use * for a number")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise RuntimeError(
            f"matmul: inner lengths differ: {tuple(x.shape)} @ {tuple(y.shape)} "
            f"({x.shape[-1]} against {y.shape[-2 if y.ndim > 1 else 0]})"
        )
    return MatMul.apply(x, y)


def _same_type(what: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{what}: expected Tensors, got {type(t).__name__}")
    if len({t.dtype for t in tensors}) > 1:
        raise RuntimeError(f"{what}: expected one dtype, got {' and '.join(str(t.dtype) for t in tensors)}")
    return tensors


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices, (n, k) and (k, m) to (n, m); see ``matmul``."""
    _check_ndim("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two batches of matrices, (B, n, k) and (B, k, m) to (B, n, m); see ``matmul``."""
    _check_ndim("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: batches of {input.shape[0]} and {mat2.shape[0]} matrices")
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix and a vector, (n, k) and (k,) to (n,); see ``matmul``."""
    _check_ndim("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Product of two vectors, (k,) and (k,) to (); see ``matmul``."""
    _check_ndim("dot", (input, 1), (tensor, 1))
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Every element of one vector times every element of another, (n,) and (m,) to (n, m)."""
    _check_ndim("outer", (input, 1), (vec2, 1))
    return mul(input.unsqueeze(1), vec2)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    return add(mul(input, beta), mm(mat1, mat2), alpha=alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2)``."""
    return add(mul(input, beta), bmm(batch1, batch2), alpha=alpha)


def _check_ndim(what: str, *pairs: tuple[Tensor, int]) -> None:
    for t, ndim in pairs:
        if t.ndim != ndim:
            raise RuntimeError(f"{what}: expected a tensor with {ndim} dimensions, got shape {tuple(t.shape)}")


# --- linear: y = x w^T + b --------------------------------------------------------------------------------------------
def linear_formula(xp: Any, x: Any, w: Any, b: Any = None) -> Any:
    """``y = x w^T + b``."""
    y = xp.matmul(x, xp.swapaxes(w, -1, -2) if w.ndim > 1 else w)
    return y if b is None else y + b


class Linear(Function):
    """``y = x w^T + b`` as one product over all rows; ``dx = dy w``, ``dw = dy^T x``, ``db = sum of dy``."""

    @staticmethod
    def forward(ctx: Any, x: Array, w: Array, b: Array | None) -> Array:
        needs_x, needs_w, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_w else None, w if needs_x else None)
        ctx.x_shape = x.shape
        y = ctx.backend.matmul(x.reshape(-1, x.shape[-1]), w.T)  # (rows, out): one GEMM, w.T is not copied
        if b is not None:
            y += b
        return y.reshape(*x.shape[:-1], w.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Array) -> tuple[Array | None, Array | None, Array | None]:
        x, w = ctx.saved_arrays
        needs_x, needs_w, needs_b = ctx.needs_input_grad
        dy = dy.reshape(-1, dy.shape[-1])  # (rows, out)
        dx = ctx.backend.matmul(dy, w).reshape(ctx.x_shape) if needs_x else None
        dw = ctx.backend.matmul(dy.T, x.reshape(-1, x.shape[-1])) if needs_w else None
        return dx, dw, _column_sums(ctx.xp, dy) if needs_b else None


def _column_sums(xp: Any, dy: Array) -> Array:
    if dy.dtype.kind == "f" and dy.dtype.itemsize >= 4:
        # A product with ones runs at the speed of memory; sum(axis=0) takes three times as long (768 x 512).
        return xp.ones(dy.shape[0], dtype=dy.dtype) @ dy
    return dy.sum(axis=0, dtype="float32").astype(dy.dtype)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Apply a linear layer: $y = x W^T + b$.

    $\partial L/\partial x = \partial L/\partial y \, W$, $\partial L/\partial W = (\partial L/\partial y)^T x$, and the
    gradient of b is the sum over rows.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features), or (in_features,) for a single output without its axis.
        bias: (out_features,) or ``None``.

    Returns:
        (..., out_features).

    Raises:
        RuntimeError: if lengths or dtypes do not fit.
    """
    tensors = _same_type("linear", input, weight, *(() if bias is None else (bias,)))
    if weight.ndim not in (1, 2) or not input.ndim or input.shape[-1] != weight.shape[-1]:
        last = input.shape[-1] if input.ndim else "none"
        hint = " (did you transpose?)" if weight.ndim == 2 and last == weight.shape[0] else ""
        raise RuntimeError(
            f"linear: input has last dim {last}, weight expects {weight.shape[-1] if weight.ndim else 'none'}{hint}"
        )
    if weight.ndim == 1:
        y = matmul(input, weight)
        return y if bias is None else add(y, bias)
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        if bias.ndim > 1 or bias.numel() not in (1, weight.shape[0]):
            raise RuntimeError(f"linear: bias has shape {tuple(bias.shape)}, expected ({weight.shape[0]},)")
        return add(Linear.apply(input, weight, None), bias)
    return Linear.apply(*tensors[:2], bias)


# --- einsum -----------------------------------------------------------------------------------------------------------
def einsum(equation: str, *operands: Any) -> Tensor:
    r"""Sum products over named axes: ``einsum("bqd,bkd->bqk", q, k)``.

    Written with transposes, products and sums of tensors, so that its gradient is theirs. Two operands at a time, from
    left to right.

    Args:
        equation: letters for the axes of each operand, and after ``->`` those of the result; without ``->`` the letters
            that occur once, in alphabetical order. ``...`` stands for the axes that are not named.

    Raises:
        RuntimeError: if the equation does not fit the operands.
        NotImplementedError: for a letter that occurs twice in one operand (a diagonal).
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    names, result = _parse(equation.replace(" ", ""), tensors)
    x, axes = tensors[0], names[0]
    for i, (y, y_axes) in enumerate(zip(tensors[1:], names[1:], strict=True), start=1):
        later = set(result).union(*names[i + 1 :]) if names[i + 1 :] else set(result)
        x, axes = _contract(x, axes, y, y_axes, later)
    gone = [i for i, a in enumerate(axes) if a not in result]
    if gone:
        x, axes = x.sum(gone), [a for a in axes if a in result]
    return x.permute([axes.index(a) for a in result]) if axes != result else x


def _parse(equation: str, tensors: list[Tensor]) -> tuple[list[list[str]], list[str]]:
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise RuntimeError(f"einsum: {equation!r} names {len(terms)} operands, got {len(tensors)}")
    extra = 0
    names: list[list[str]] = []
    for term, t in zip(terms, tensors, strict=True):
        letters = term.replace("...", "")
        free = t.ndim - len(letters)
        if free < 0 or (free and "..." not in term):
            raise RuntimeError(f"einsum: {term!r} names {len(letters)} axes, its operand has {t.ndim}")
        extra = max(extra, free)
        if len(set(letters)) != len(letters):
            raise NotImplementedError(f"einsum: {term!r} names an axis twice (a diagonal); use diagonal()")
        start, _, end = term.partition("...")
        names.append([*start, *(f".{free - i}" for i in range(free)), *end] if "..." in term else [*term])
    dots = [f".{extra - i}" for i in range(extra)]
    if arrow:
        start, found, end = right.partition("...")
        return names, [*start, *(dots if found else []), *end]
    count: dict[str, int] = {}
    for a in (a for term in names for a in term if not a.startswith(".")):
        count[a] = count.get(a, 0) + 1
    return names, [*dots, *sorted(a for a, n in count.items() if n == 1)]


def _contract(x: Tensor, x_axes: list[str], y: Tensor, y_axes: list[str], keep: set[str]) -> tuple[Tensor, list[str]]:
    """Multiply two operands and sum over the axes that nobody needs later: one batched matrix product."""
    for a in [a for a in x_axes if a not in keep and a not in y_axes]:
        x, x_axes = x.sum(x_axes.index(a)), [b for b in x_axes if b != a]
    for a in [a for a in y_axes if a not in keep and a not in x_axes]:
        y, y_axes = y.sum(y_axes.index(a)), [b for b in y_axes if b != a]
    both = [a for a in x_axes if a in y_axes]
    batch, inner = [a for a in both if a in keep], [a for a in both if a not in keep]
    only_x, only_y = [a for a in x_axes if a not in both], [a for a in y_axes if a not in both]
    size = {a: n for axes, t in ((x_axes, x), (y_axes, y)) for a, n in zip(axes, t.shape, strict=True) if n != 1}
    for axes, t in ((x_axes, x), (y_axes, y)):
        for a, n in zip(axes, t.shape, strict=True):
            if n not in (1, size.get(a, 1)):
                raise RuntimeError(f"einsum: axis {a!r} has length {n} in one operand and {size[a]} in another")

    def ready(t: Tensor, axes: list[str], order: list[list[str]]) -> Tensor:
        t = t.permute([axes.index(a) for group in order for a in group])
        t = t.expand([size.get(a, 1) if a in both else t.shape[i] for i, a in enumerate(a for g in order for a in g)])
        shape = [t.shape[i] for i in range(len(batch))]
        at = len(batch)
        for group in order[1:]:
            n = 1
            for i in range(len(group)):
                n *= t.shape[at + i]
            shape.append(n)
            at += len(group)
        return t.reshape(shape)

    left, right = ready(x, x_axes, [batch, only_x, inner]), ready(y, y_axes, [batch, inner, only_y])
    z = matmul(left, right)
    lengths = [dict(zip(x_axes, x.shape, strict=True)).get(a, 1) for a in only_x]
    lengths += [dict(zip(y_axes, y.shape, strict=True)).get(a, 1) for a in only_y]
    return z.reshape([size.get(a, 1) for a in batch] + lengths), [*batch, *only_x, *only_y]
