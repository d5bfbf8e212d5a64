"""Answers at the edges: ties, zeros, infinities, empty and huge. The numbers are PyTorch's, which is asked again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the oracle; pip install torch to compare with it")

inf, nan = math.inf, math.nan


def both(call: Callable, x: Any, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return our value and gradient of ``call(package, x).sum()``, and PyTorch's."""
    ours = minillm.tensor(np.array(x, dtype=dtype), requires_grad=True)
    theirs = torch.tensor(np.array(x, dtype=dtype), requires_grad=True)
    y, z = call(minillm, ours), call(torch, theirs)
    y.sum().backward()
    z.sum().backward()
    return y.detach().numpy(), ours.grad.numpy(), z.detach().numpy(), theirs.grad.numpy()


Row = tuple[str, Callable, Any, Any, Any]
ROWS: list[Row] = [
    # name, call, input, expected value, expected gradient
    ("maximum of a tensor and itself", lambda t, x: t.maximum(x, x), [1.0, 2.0], [1, 2], [1, 1]),
    ("minimum of a tensor and itself", lambda t, x: t.minimum(x, x), [1.0, 2.0], [1, 2], [1, 1]),
    ("a tie with a number", lambda t, x: t.maximum(x, t.zeros_like(x)), [0.0, 1.0], [0, 1], [0.5, 1]),
    ("amax shares among ties", lambda t, x: x.amax(0), [3.0, 1, 3], 3, [0.5, 0, 0.5]),
    ("amin shares among ties", lambda t, x: x.amin(0), [1.0, 1, 1], 1, [1 / 3] * 3),
    ("max of all shares among ties", lambda t, x: x.max(), [3.0, 1, 3], 3, [0.5, 0, 0.5]),
    ("max along an axis takes the first", lambda t, x: x.max(0).values, [3.0, 1, 3], 3, [1, 0, 0]),
    ("min along an axis takes the first", lambda t, x: x.min(0).values, [1.0, 1, 3], 1, [1, 0, 0]),
    ("clamp of NaN", lambda t, x: x.clamp(-1, 1), [nan, 0.5, 3.0], [nan, 0.5, 1], [0, 1, 0]),
    ("clamp at its bounds", lambda t, x: x.clamp(-1, 1), [-2.0, -1, 0, 1, 2], [-1, -1, 0, 1, 1], [0, 1, 1, 1, 0]),
    ("relu at 0", lambda t, x: t.relu(x), [-0.0, 0.0], [0, 0], [0, 0]),
    ("abs at 0", lambda t, x: x.abs(), [0.0, -2], [0, 2], [0, -1]),
    ("sign", lambda t, x: x.sign(), [0.0, -2], [0, -1], [0, 0]),
    ("norm at 0", lambda t, x: x.norm(), [0.0, 0], 0, [0, 0]),
    ("norm of order 1 at 0", lambda t, x: x.norm(1), [0.0, -2], 2, [0, -1]),
    ("0 to the power 0", lambda t, x: x**0, [0.0, 2], [1, 1], [0, 0]),
    ("0 to the power 0.0 as a tensor", lambda t, x: t.tensor(0.0, dtype=x.dtype) ** x, [0.0, 2], [1, 0], [0, 0]),
    ("0 squared", lambda t, x: x**2, [0.0], [0], [0]),
    ("square root of 0", lambda t, x: x.sqrt(), [0.0, 4], [0, 2], [inf, 0.25]),
    ("log of 0", lambda t, x: x.log(), [0.0, 1], [-inf, 0], [inf, 1]),
    ("product with a zero", lambda t, x: x.prod(), [0.0, 2, 3], 0, [6, 0, 0]),
    ("product with two zeros", lambda t, x: x.prod(), [0.0, 2, 0], 0, [0, 0, 0]),
    ("product along an axis with a zero", lambda t, x: x.prod(0), [2.0, 0, 3], 0, [0, 6, 0]),
    ("cumprod through a zero", lambda t, x: x.cumprod(0), [2.0, 0, 4], [2, 0, 0], [1, 10, 0]),
    ("cumsum", lambda t, x: x.cumsum(0), [2.0, 0, 4], [2, 2, 6], [3, 2, 1]),
    ("variance of one number", lambda t, x: x.var(), [2.0], nan, [nan]),
    ("biased variance of one number", lambda t, x: x.var(correction=0), [2.0], 0, [0]),
    ("standard deviation of equals", lambda t, x: x.std(), [2.0, 2], 0, [0, 0]),
    ("mean of nothing", lambda t, x: x.mean(), [], nan, []),
    ("sum of nothing", lambda t, x: x.sum(), [], 0, []),
    ("product of nothing", lambda t, x: x.prod(), [], 1, []),
    ("where beside a pole", lambda t, x: t.where(x > 0, x.log(), 0.0), [0.0, 1], [0, 0], [nan, 1]),
    (
        "the safe way beside a pole",
        lambda t, x: t.where(x > 0, t.where(x > 0, x, 1.0).log(), 0.0), [0.0, 1], [0, 0], [0, 1],
    ),
    ("logsumexp of infinities", lambda t, x: t.logsumexp(x, 0), [inf, 1.0], inf, [nan, 0]),
    ("division by 0", lambda t, x: 1 / x, [0.0, -0.0], [inf, -inf], [-inf, -inf]),
    ("fmod and remainder", lambda t, x: t.fmod(x, 3) + t.remainder(x, 3), [-4.0, 4], [1, 2], [2, 2]),
    ("NaN passes a maximum", lambda t, x: t.maximum(x, t.ones_like(x)), [nan, 0.0], [nan, 1], None),
    ("sign of NaN", lambda t, x: x.sign(), [nan, -2.0], [0, -1], [0, 0]),
    ("absolute value of NaN", lambda t, x: x.abs(), [nan, -2.0], [nan, 2], [0, -1]),
    ("median with a NaN", lambda t, x: x.median(), [3.0, nan, 1, nan], nan, [0, 0.5, 0, 0.5]),
    ("median shares among ties", lambda t, x: x.median(), [2.0, 1, 1, 3], 1, [0, 0.5, 0.5, 0]),
    ("median along an axis", lambda t, x: x.median(1).values, [[3.0, nan, 1], [3, 1, 2]], [nan, 2], None),
    ("median along an axis, kept", lambda t, x: x.median(0, keepdim=True)[0], [3.0, 1, 2, 4], [2], [0, 0, 1, 0]),
    ("median of a number", lambda t, x: x.median(0).values, 3.0, 3, 1),
    ("hardtanh at its bounds and at NaN", lambda t, x: t.nn.functional.hardtanh(x), [-1.0, nan, 0, 1], [-1, nan, 0, 1],
     [0, 1, 1, 0]),
    ("NaN is the largest", lambda t, x: x.max(), [1.0, nan, 3], nan, None),
]  # fmt: skip


@pytest.mark.parametrize(("call", "x", "value", "gradient"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
@pytest.mark.filterwarnings("ignore:.*degrees of freedom:UserWarning")  # PyTorch's remark
def test_the_answer(call: Callable, x: Any, value: Any, gradient: Any) -> None:
    y, dx, z, dz = both(call, x)
    np.testing.assert_array_equal(y, np.array(value, dtype=float))
    np.testing.assert_array_equal(z, np.array(value, dtype=float))
    if gradient is not None:
        np.testing.assert_allclose(dx, np.array(gradient, dtype=float), rtol=1e-15)
        np.testing.assert_allclose(dz, np.array(gradient, dtype=float), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_large_numbers_in_rows(name: str, dtype: type) -> None:
    huge = 6e4 if dtype == np.float16 else 1e4
    x = [[huge, -huge, 0.0], [-huge, -huge, -huge], [huge, huge, huge]]
    y, dx, z, dz = both(lambda t, x: getattr(t, name)(x, -1) * t.tensor([1.0, 2.0, 3.0], dtype=x.dtype)
                        if name != "logsumexp" else t.logsumexp(x, -1), x, dtype)  # fmt: skip
    assert y.dtype == dtype and np.isfinite(dx).all()
    # -2e4 and more is below what float16 holds: PyTorch has -inf there too.
    np.testing.assert_allclose(y, z, rtol=2e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_allclose(dx, dz, rtol=1e-2 if dtype == np.float16 else 1e-5, atol=5e-3)


def test_logsumexp_of_nothing_but_minus_infinity() -> None:
    x = minillm.tensor([-inf, -inf], requires_grad=True)
    y = minillm.logsumexp(x, 0)
    y.backward()
    assert y.item() == -inf
    assert x.grad.tolist() == [0.0, 0.0]  # PyTorch gives NaN; a deviation that the README names


def test_the_largest_of_nothing_is_refused() -> None:
    for call in (minillm.amax, minillm.amin, minillm.argmax, lambda x: x.max(), lambda x: x.max(0)):
        with pytest.raises((RuntimeError, IndexError, ValueError), match="no element"):
            call(minillm.zeros(0))


def test_float16_sums_are_kept_in_float32() -> None:
    sixteen = minillm.full((4096,), 16.0, dtype=minillm.float16)
    assert sixteen.sum().item() == inf  # 65536 is more than float16 holds
    assert minillm.full((4096,), 60000.0, dtype=minillm.float16).mean().item() == 60000.0
    ones = minillm.ones(4096, dtype=minillm.float16)
    assert ones.sum().item() == 4096  # added one by one in float16, the sum would stop at 2048
    assert ones.cumsum(0)[-1].item() == 4096
    assert (ones * 1.001).prod().item() == pytest.approx(float(np.float16(1.001)) ** 4096, rel=1e-3)
    assert (ones @ ones).item() == 4096
    assert F.layer_norm(ones * 300, (4096,)).isfinite().all()


def test_sums_of_many_float32() -> None:
    # Pairwise summation: the error of a naive loop would be thousands of times as large.
    x = np.full(1_000_000, 0.1, dtype=np.float32)
    assert minillm.tensor(x).sum().item() == pytest.approx(1e5, rel=1e-6)
    assert minillm.tensor(x).mean().item() == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_variance_far_from_zero(name: str) -> None:
    x = minillm.tensor([1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3], dtype=getattr(minillm, name))
    assert x.var().item() == pytest.approx(5 / 3, rel=1e-6)


def test_integers_do_not_overflow_in_sums() -> None:
    assert minillm.full((3,), 2**31 - 1, dtype=minillm.int32).sum().item() == 3 * (2**31 - 1)
    assert minillm.tensor([True, True]).sum().item() == 2
    with pytest.raises(RuntimeError, match="float"):
        minillm.tensor([1, 2]).mean()


def test_whole_numbers_are_not_drawn_from_a_density() -> None:
    for fill in (lambda x: x.normal_(), lambda x: x.uniform_()):
        with pytest.raises(NotImplementedError, match=r"floating type, got int64; .* randint"):
            fill(minillm.zeros(2, dtype=minillm.int64))


UINT8 = np.array([1, 3, 255], dtype=np.uint8)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x + -2,
        lambda x: -1 * x,
        lambda x: x - 300,
        lambda x: x // 300,
        lambda x: x % 300,
        lambda x: x & -2,
        lambda x: x.add_(-1),
    ],
)
def test_numbers_that_a_small_integer_type_cannot_hold_wrap_around(call: Callable) -> None:
    ours, theirs = call(minillm.tensor(UINT8)), call(torch.tensor(UINT8))
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_comparison_knows_the_number_that_was_meant() -> None:
    assert (minillm.tensor(UINT8) < 300).tolist() == [True, True, True]  # PyTorch compares with 300 - 256


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: 1 - x, "sub: bools .* use ~"),
        (lambda x: minillm.ones(2) - x, "sub: bools"),
        (lambda x: minillm.arange(2).sub_(x), "sub: bools"),
        (lambda x: x // x, "div: bools"),
        (lambda x: x % True, "remainder: bools"),
        (lambda x: minillm.fmod(x, x), "fmod: bools"),
        (lambda x: x.relu(), "relu: bools"),
    ],
)
def test_bools_are_no_numbers(call: Callable, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call(minillm.tensor([True, False]))


@pytest.mark.parametrize("index", [1, -2])
def test_the_product_of_a_number_has_one_axis_as_well(index: int) -> None:
    with pytest.raises(IndexError, match="out of range"):
        minillm.tensor(3.0).prod(index)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("//=", lambda x: x.__ifloordiv__(2)),
        ("%=", lambda x: x.__imod__(3)),
        ("^=", lambda x: x.__ixor__(5)),
        ("copy_", lambda x: x.copy_(7)),
    ],
)
def test_the_other_name_of_a_tensor_sees_the_change(name: str, call: Callable) -> None:
    ours, theirs = minillm.arange(6), torch.arange(6)
    assert call(ours) is ours
    call(theirs)
    assert ours.tolist() == theirs.tolist(), name


def test_a_tensor_differs_from_what_has_no_elements() -> None:
    x = minillm.ones(2)
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert (x == "a") is False and (x == [1, 1]) is False and x in [None, x]
    with pytest.raises(TypeError, match="wrap it in minillm"):
        _ = x == np.ones(2)


@pytest.mark.parametrize("name", ["scatter", "scatter_add", "index_add"])
def test_a_source_of_another_type_is_not_cut_off(name: str) -> None:
    for call in (getattr(minillm.zeros(3, dtype=minillm.int64), n) for n in (name, name + "_")):
        with pytest.raises(RuntimeError, match=rf"{name}: expected a source of int64 .* float32"):
            call(0, minillm.tensor([0, 1]), minillm.tensor([1.5, 2.5]))


def test_a_view_is_never_a_copy() -> None:
    x = minillm.ones(2, 3)
    for call in (
        lambda: x.T.view(6),
        lambda: minillm.ones(2, 3, 4).transpose(0, 1).view(3, 8),
        lambda: minillm.ones(2, 1).expand(2, 3).view(6),
    ):
        with pytest.raises(RuntimeError, match="do not lie in memory in this order"):
            call()
    x.T.view(3, 1, 2).zero_()
    minillm.from_numpy(np.frombuffer(bytearray(8), dtype=np.float32)).view(2, 1)
    assert x.sum().item() == 0


def test_a_diagonal_matrix_is_0_beside_infinity() -> None:
    assert minillm.diag(minillm.tensor([inf, nan]))[0].tolist() == [inf, 0.0]
    x = minillm.tensor([inf, 2.0], requires_grad=True)
    minillm.diag(x, 1).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    assert minillm.diag(minillm.tensor([True])).dtype == bool


@pytest.mark.parametrize("places", [(3, 1), (-2,), (9,), (2, -1), ()])
def test_places_to_cut_at_count_as_in_slices(places: tuple[int, ...]) -> None:
    ours, theirs = minillm.tensor_split(minillm.arange(7), places), torch.arange(7).tensor_split(places)
    assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]


def test_integers_have_no_remainder_by_0() -> None:
    for call in (lambda x: x % 0, lambda x: minillm.fmod(x, minillm.tensor([0, 1]))):
        with pytest.raises(RuntimeError, match="division of integers by 0"):
            call(minillm.tensor([5, -5]))


def test_every_axis_has_one_shift() -> None:
    for shifts, dims in (((1, 2), 0), ((1, 2), None), (1, (0, 1))):
        with pytest.raises(RuntimeError, match="one shift an axis"):
            minillm.ones(2, 3).roll(shifts, dims)


def test_weights_keep_their_type_in_a_count() -> None:
    for dtype in (np.float32, np.float64, np.int64):
        weights = np.array([1, 2], dtype=dtype)
        ours = minillm.bincount(minillm.tensor([0, 2]), minillm.tensor(weights))
        theirs = torch.bincount(torch.tensor([0, 2]), torch.tensor(weights))
        assert str(theirs.dtype) == f"torch.{ours.dtype}" and ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("mode", ["replicate", "circular", "reflect"])
@pytest.mark.parametrize("widths", [(2, -1), (-1, 1), (-2, -1), (-1, 2)])
def test_a_negative_width_cuts_off_whatever_is_put_at_the_other_end(mode: str, widths: tuple[int, int]) -> None:
    x = np.arange(4.0).reshape(1, 4)
    ours, theirs = (t.nn.functional.pad(t.tensor(x), widths, mode=mode) for t in (minillm, torch))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
