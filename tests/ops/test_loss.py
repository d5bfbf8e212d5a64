"""Losses at the edges: large logits, targets that do not count or do not exist, empty batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F
from minillm.ops.cross_entropy import cross_entropy_formula


def logits(*rows: list[float], dtype: type = np.float64) -> minillm.Tensor:
    return minillm.tensor(np.array(rows, dtype=dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits(dtype: type, recwarn: pytest.WarningsRecorder) -> None:
    x = logits([1e4, -1e4], [-1e4, 1e4], dtype=dtype)
    t = minillm.tensor([1, 1])
    assert F.cross_entropy(x, t, reduction="none").tolist() == [20000, 0]
    loss = F.cross_entropy(x, t)
    loss.backward()
    assert loss.item() == 10000 and loss.dtype == dtype
    np.testing.assert_array_equal(x.grad.numpy(), [[0.5, -0.5], [0, 0]])
    assert not recwarn.list


def test_small_losses_of_large_logits_are_not_rounded_away() -> None:
    x = minillm.tensor([[10000.0, 9993.0]])  # float32 knows this number in steps of 0.001
    assert F.cross_entropy(x, minillm.tensor([0])).item() == pytest.approx(math.log1p(math.exp(-7)), rel=1e-4)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize(("reduction", "value"), [("mean", math.nan), ("sum", 0.0)])
def test_nothing_counts(loss: object, reduction: str, value: float) -> None:
    for x, t in ((minillm.ones(3, 5), np.full(3, -100)), (minillm.ones(0, 5), np.zeros(0, dtype=np.int64))):
        x.requires_grad_()
        y = loss(x, minillm.tensor(t), reduction=reduction)  # type: ignore[operator]
        y.backward()
        np.testing.assert_array_equal(y.item(), value)
        assert x.grad.shape == x.shape and not x.grad.numpy().any()


def test_label_smoothing_with_ignored_targets() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    x = np.random.default_rng(0).standard_normal((6, 4))
    t, w = np.array([0, 3, -100, 2, -100, 1]), np.array([0.5, 1, 2, 3])
    for weight in (None, w):
        ours = minillm.tensor(x, requires_grad=True)
        theirs = torch.tensor(x, requires_grad=True)
        a = F.cross_entropy(ours, minillm.tensor(t), None if weight is None else minillm.tensor(w), label_smoothing=0.1)
        b = torch.nn.functional.cross_entropy(
            theirs, torch.tensor(t), None if weight is None else torch.tensor(w), label_smoothing=0.1
        )
        a.backward()
        b.backward()
        assert a.item() == pytest.approx(b.item(), rel=1e-12)
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_ignored_rows_may_hold_anything() -> None:
    x = logits([1.0, 2.0], [math.inf, math.nan])
    loss = F.cross_entropy(x, minillm.tensor([0, -100]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log1p(math.e))
    np.testing.assert_allclose(x.grad.numpy()[0].sum(), 0, atol=1e-15)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (np.array([0, 7]), IndexError, "7.*5"),
        (np.array([0, -1]), IndexError, "-1.*5"),
        (np.array([0.0, 1.0]), TypeError, "float64"),
        (np.array([0, 1, 2]), ValueError, r"\(2,\), got \(3,\)"),
        (np.array([[0, 1]]), ValueError, r"\(2,\), got \(1, 2\)"),
    ],
)
def test_targets_that_do_not_fit(loss: object, target: np.ndarray, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        loss(minillm.ones(2, 5).double(), minillm.tensor(target))  # type: ignore[operator]


def test_other_errors() -> None:
    x, t = minillm.ones(2, 5), minillm.tensor([0, 1])
    with pytest.raises(ValueError, match="'average'"):
        F.cross_entropy(x, t, reduction="average")
    with pytest.raises(ValueError, match="label_smoothing"):
        F.cross_entropy(x, t, label_smoothing=1.5)
    with pytest.raises(ValueError, match="each of 5 classes"):
        F.cross_entropy(x, t, minillm.ones(4))
    with pytest.raises(ValueError, match="int64"):
        F.cross_entropy(x.long(), t)
    with pytest.raises(IndexError, match="9"):
        F.multi_margin_loss(x, minillm.tensor([0, 9]))


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**16))
def test_class_numbers_are_one_hot_probabilities(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal((n, classes)) * 5, rng.integers(0, classes, n)
    a, b = minillm.tensor(x, requires_grad=True), minillm.tensor(x, requires_grad=True)
    hard = F.cross_entropy(a, minillm.tensor(t), label_smoothing=0.2)
    soft = F.cross_entropy(b, minillm.tensor(np.eye(classes)[t]), label_smoothing=0.2)
    hard.backward()
    soft.backward()
    assert hard.item() == pytest.approx(soft.item(), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert F.cross_entropy(a, minillm.tensor(t)).item() == pytest.approx(
        cross_entropy_formula(np, x, np.eye(classes)[t]), rel=1e-12, abs=1e-12
    )


def test_many_rows_in_tiles() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((400, 1000)), rng.integers(0, 1000, 400)
    a = minillm.tensor(x, requires_grad=True)
    loss = F.cross_entropy(a, minillm.tensor(t))
    loss.backward()
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    assert loss.item() == pytest.approx(-np.log(p[np.arange(400), t]).mean(), rel=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), (p - np.eye(1000)[t]) / 400, atol=1e-14)


def test_a_second_backward_with_retain_graph_adds_the_same_again() -> None:
    x = logits([1.0, 2.0, 3.0])
    loss = F.cross_entropy(x, minillm.tensor([0]))
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)


def test_float16_losses_are_computed_in_float32() -> None:
    x = minillm.tensor(np.full((4096, 3), 6e4, dtype=np.float16), requires_grad=True)
    loss = F.cross_entropy(x, minillm.tensor(np.zeros(4096, dtype=np.int64)))
    loss.backward()
    assert loss.dtype == np.float16 and loss.item() == pytest.approx(math.log(3), rel=1e-3)
    assert x.grad.dtype == np.float16 and np.isfinite(x.grad.numpy()).all()


# --- the others
def test_different_shapes_are_broadcast_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"\(3, 1\) and target \(3,\)"):
        y = F.mse_loss(minillm.ones(3, 1), minillm.zeros(3), reduction="none")
    assert y.shape == (3, 3)


def test_binary_cross_entropy_at_0_and_1() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    x, t = np.array([0.0, 0.0, 1.0, 1.0, 0.5]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    ours, theirs = minillm.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    a = F.binary_cross_entropy(ours, minillm.tensor(t), reduction="none")
    b = torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(t), reduction="none")
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())
    a.sum().backward()
    b.sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy())
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(RuntimeError, match="with_logits"):
            F.binary_cross_entropy(minillm.tensor([bad]), minillm.ones(1))
    with pytest.raises(ValueError, match="one shape"):
        F.binary_cross_entropy(minillm.ones(2), minillm.ones(2, 1))


def test_weights_of_binary_cross_entropy() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    rng = np.random.default_rng(0)
    x, t, w, p = rng.standard_normal((4, 3)), rng.uniform(0, 1, (4, 3)), rng.uniform(0, 2, 3), rng.uniform(0, 2, 3)
    ours = F.binary_cross_entropy_with_logits(*map(minillm.tensor, (x, t, w)), pos_weight=minillm.tensor(p))
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        *map(torch.tensor, (x, t, w)), pos_weight=torch.tensor(p)
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)


def test_kl_div_is_0_between_equals_and_has_no_trouble_with_0() -> None:
    p = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    x = minillm.tensor(np.log(np.maximum(p, 1e-300)), requires_grad=True)
    loss = F.kl_div(x, minillm.tensor(p), reduction="batchmean")
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12) and np.isfinite(x.grad.numpy()).all()
    mean = F.kl_div(x, minillm.tensor(p), reduction="mean").item()
    assert mean == pytest.approx(F.kl_div(x, minillm.tensor(p), reduction="none").detach().numpy().mean(), abs=1e-15)
    logs = F.kl_div(x, x.detach(), reduction="sum", log_target=True)
    assert logs.item() == pytest.approx(0, abs=1e-12)


def test_cosine_similarity_of_zeros_is_0() -> None:
    x = minillm.zeros(2, 3, requires_grad=True)
    y = F.cosine_similarity(x, minillm.ones(2, 3))
    y.sum().backward()
    assert not y.detach().numpy().any() and np.isfinite(x.grad.numpy()).all()
    with pytest.raises(ValueError, match="beta"):
        F.smooth_l1_loss(x, x, beta=-1)
    with pytest.raises(ValueError, match="delta"):
        F.huber_loss(x, x, delta=0)
