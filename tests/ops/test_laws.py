"""Laws of the ops on drawn inputs: what must hold whatever the shapes, the layout and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.testing import gradcheck
from minillm.testing.strategies import (
    AttentionCase,
    CrossEntropyCase,
    arrays,
    attention_cases,
    axes,
    broadcast_shapes,
    cross_entropy_cases,
    indices,
    layouts,
    matmul_shapes,
    shapes,
)

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

Data = st.DataObject


def same(ours: Callable, theirs: Callable, *inputs: np.ndarray, rtol: float = 1e-9) -> None:
    """Compare a result and all gradients, for a random incoming gradient, with PyTorch's; inputs must not change."""
    kept = [x.copy() for x in inputs]
    leaves = [minillm.from_numpy(x).requires_grad_() for x in inputs]
    other = [torch.tensor(x.copy()).requires_grad_() for x in inputs]
    y, z = ours(*leaves), theirs(*other)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=rtol, atol=1e-9)
    v = np.random.default_rng(y.ndim).standard_normal(tuple(y.shape))
    v = np.asarray(v)
    y.backward(minillm.tensor(v))
    z.backward(torch.tensor(v))
    for t, u, x, before in zip(leaves, other, inputs, kept, strict=True):
        assert t.grad is not None and tuple(t.grad.shape) == x.shape
        expected = np.zeros(x.shape) if u.grad is None else u.grad.numpy()
        np.testing.assert_allclose(t.grad.numpy(), expected, rtol=rtol, atol=1e-9)
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum", "atan2"])
@given(data=st.data())
def test_broadcasting(name: str, data: Data) -> None:
    a, b = (
        data.draw(layouts(data.draw(arrays(shape, low=0.5, unique=True)))) for shape in data.draw(broadcast_shapes())
    )
    same(getattr(minillm, name), getattr(torch, name), a, b)


@given(st.data())
def test_three_operands_broadcast(data: Data) -> None:
    a, b, c = (data.draw(arrays(shape)) for shape in data.draw(broadcast_shapes(3)))
    same(lambda x, y, z: minillm.where(x > 0, y, z) + x * y * z, lambda x, y, z: torch.where(x > 0, y, z) + x * y * z,
         a, b, c)  # fmt: skip


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "logsumexp", "var", "std", "prod"])
@given(data=st.data())
def test_reductions(name: str, data: Data) -> None:
    # An empty maximum and a variance of one number are edges; test_edges.py has them.
    shape = data.draw(shapes(0 if name in ("sum", "mean", "prod") else 1, 4, 4, empty=name == "sum"))
    if name in ("var", "std"):
        shape = tuple(n + 1 for n in shape)
    dim = data.draw(axes(len(shape)))
    if dim is None or name == "prod":
        dim = tuple(range(len(shape))) if name != "prod" else 0
    options = {"dim": dim, "keepdim": data.draw(st.booleans())}
    if name == "prod" and not shape:
        options = {}
    x = data.draw(layouts(data.draw(arrays(shape, unique=True))))
    same(lambda t: getattr(t, name)(**options), lambda t: getattr(t, name)(**options), x)


@given(st.data())
def test_products(data: Data) -> None:
    a, b = (data.draw(layouts(data.draw(arrays(shape)))) for shape in data.draw(matmul_shapes()))
    same(minillm.matmul, torch.matmul, a, b)


@given(st.data())
def test_indexing(data: Data) -> None:
    x = data.draw(layouts(data.draw(arrays(shapes()))))
    index = data.draw(indices(x.shape))
    convert = lambda package: package.tensor(index) if isinstance(index, np.ndarray) else index
    same(lambda t: t[convert(minillm)] * 2, lambda t: t[convert(torch)] * 2, x)


@given(st.data())
def test_assignment_is_numpys(data: Data) -> None:
    x = data.draw(arrays(shapes()))
    index = data.draw(indices(x.shape))
    t = minillm.tensor(x)
    value = data.draw(arrays(x[index].shape))
    t[minillm.tensor(index) if isinstance(index, np.ndarray) else index] = minillm.tensor(value)
    if not isinstance(index, np.ndarray) or index.dtype == bool or len(np.unique(index % len(x))) == index.size:
        x[index] = value
        np.testing.assert_array_equal(t.numpy(), x)


@given(st.data())
def test_views_share_memory_and_copies_do_not(data: Data) -> None:
    x = minillm.tensor(data.draw(arrays(shapes(1, 3, 3, empty=False))))
    for view in (x.reshape(-1), x.unsqueeze(0), x.transpose(0, -1), x[0], x.view(x.shape), x.expand(2, *x.shape)):
        assert np.shares_memory(view.numpy(), x.numpy())
    for copy in (x.clone(), x + 0, x[[0]], x.repeat(1, *x.shape)):
        assert not np.shares_memory(copy.numpy(), x.numpy())


@given(cross_entropy_cases())
def test_cross_entropy(case: CrossEntropyCase) -> None:
    logits, target, options = case
    same(
        lambda x: F.cross_entropy(x, minillm.tensor(target), **options),
        lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(target), **options),
        logits,
    )
    x = minillm.tensor(logits, requires_grad=True)
    F.cross_entropy(x, minillm.tensor(target), **{**options, "reduction": "sum"}).backward()
    # Raising all scores of a row alike changes nothing, so the gradients of a row add up to 0.
    np.testing.assert_allclose(x.grad.numpy().sum(-1), 0, atol=1e-12)


@given(attention_cases())
def test_attention(case: AttentionCase) -> None:
    q, k, v, options = case
    mask = options.pop("attn_mask", None)

    def call(package: Any) -> Callable:
        given = {} if mask is None else {"attn_mask": package.tensor(mask)}
        return lambda *qkv: package.nn.functional.scaled_dot_product_attention(*qkv, **given, **options)

    if mask is None or mask.dtype == bool:
        same(call(minillm), call(torch), q, k, v)
    else:
        # Where a float mask hides everything PyTorch gives NaN, we give 0.
        hidden = np.isneginf(mask).all(-1)
        y = call(minillm)(*map(minillm.tensor, (q, k, v))).numpy()
        z = call(torch)(*map(torch.tensor, (q, k, v))).numpy()
        np.testing.assert_allclose(y[..., ~hidden, :], z[..., ~hidden, :], rtol=1e-9, atol=1e-9)
        assert not y[..., hidden, :].any()


@given(attention_cases(), st.data())
def test_attention_does_not_see_what_is_hidden(case: AttentionCase, data: Data) -> None:
    q, k, v, options = case
    j = data.draw(st.integers(0, k.shape[2] - 1))
    seen = np.ones((q.shape[2], k.shape[2]), dtype=bool)
    if options.get("is_causal"):
        seen = np.tril(seen)
    elif "attn_mask" in options:
        mask = options["attn_mask"]
        seen = mask if mask.dtype == bool else ~np.isneginf(mask)
        options["attn_mask"] = minillm.tensor(mask)
    before = F.scaled_dot_product_attention(*map(minillm.tensor, (q, k, v)), **options).numpy()
    k[:, :, j], v[:, :, j] = 1.5, -2.5
    after = F.scaled_dot_product_attention(*map(minillm.tensor, (q, k, v)), **options).numpy()
    np.testing.assert_array_equal(before[:, :, ~seen[:, j]], after[:, :, ~seen[:, j]])


ROWS: dict[str, Callable] = {
    "softmax": lambda t: F.softmax(t, -1),
    "log_softmax": lambda t: F.log_softmax(t, -1),
    "layer_norm": lambda t: F.layer_norm(t, t.shape[-1:]),
    "rms_norm": lambda t: F.rms_norm(t, t.shape[-1:]),
    "gelu": F.gelu,
    "cumsum": lambda t: t.cumsum(-1),
    "sort": lambda t: t.sort(-1).values,
    "linear": lambda t: F.linear(t, minillm.ones(2, t.shape[-1], dtype=t.dtype)),
}
every_row_op = pytest.mark.parametrize("op", ROWS.values(), ids=ROWS)


@every_row_op
@given(data=st.data())
def test_rows_do_not_know_of_each_other(op: Callable, data: Data) -> None:
    x = data.draw(arrays((data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))), unique=True))
    order = data.draw(st.permutations(range(len(x))))
    together, permuted = op(minillm.tensor(x)).numpy(), op(minillm.tensor(x[list(order)])).numpy()
    np.testing.assert_allclose(together[list(order)], permuted, rtol=1e-12, atol=1e-14)
    # One row alone gives the same numbers: the batch is no more than a loop.
    np.testing.assert_allclose(op(minillm.tensor(x[:1])).numpy(), together[:1], rtol=1e-12, atol=1e-14)


@every_row_op
@given(data=st.data())
def test_gradients_are_linear_in_the_incoming_one(op: Callable, data: Data) -> None:
    x = data.draw(arrays((2, 3), unique=True))

    def gradient(v: np.ndarray) -> np.ndarray:
        t = minillm.tensor(x, requires_grad=True)
        y = op(t)
        y.backward(minillm.tensor(v[: y.numel()].reshape(tuple(y.shape))))
        return t.grad.numpy()

    u, w = data.draw(arrays((6,))), data.draw(arrays((6,)))
    np.testing.assert_allclose(gradient(2 * u - 3 * w), 2 * gradient(u) - 3 * gradient(w), rtol=1e-9, atol=1e-9)
    assert gradcheck(op, minillm.tensor(x, requires_grad=True))


@given(st.data(), st.floats(-5, 5), st.floats(0.5, 5))
def test_layer_norm_does_not_see_shift_and_scale(data: Data, shift: float, scale: float) -> None:
    x = data.draw(arrays((3, 5), unique=True))
    norm = lambda a: F.layer_norm(minillm.tensor(a), (5,), eps=0.0).numpy()
    np.testing.assert_allclose(norm(x), norm(scale * x + shift), rtol=1e-9, atol=1e-9)
    rms = lambda a: F.rms_norm(minillm.tensor(a), (5,), eps=0.0).numpy()
    np.testing.assert_allclose(rms(x), rms(scale * x), rtol=1e-9, atol=1e-9)


@given(st.data())
def test_gradients_of_a_softmax_add_up_to_0(data: Data) -> None:
    x = minillm.tensor(data.draw(arrays(shapes(1, 3, empty=False))), requires_grad=True)
    (F.softmax(x, -1) * minillm.tensor(data.draw(arrays(tuple(x.shape))))).sum().backward()
    np.testing.assert_allclose(x.grad.numpy().sum(-1), 0, atol=1e-12)
