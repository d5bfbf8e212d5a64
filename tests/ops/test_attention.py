"""Attention: tiles, masks, dropout, what is kept for the backward pass, and its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minillm
import minillm.nn.functional as F
from minillm.ops import attention

sdpa = F.scaled_dot_product_attention


def heads(*shape: int, seed: int = 0, dtype: type = np.float64) -> list[minillm.Tensor]:
    rng = np.random.default_rng(seed)
    return [minillm.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True) for _ in range(3)]


def gradients(tensors: list[minillm.Tensor], y: minillm.Tensor) -> list[np.ndarray]:
    for t in tensors:
        t.grad = None
    y.backward(minillm.tensor(np.random.default_rng(9).standard_normal(y.shape).astype(y.dtype)))
    return [t.grad.numpy().copy() for t in tensors]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
def test_tiles_of_any_size_give_the_formula(monkeypatch: pytest.MonkeyPatch, tile: int, causal: bool) -> None:
    monkeypatch.setattr(attention, "QUERY_TILE", tile)
    monkeypatch.setattr(attention, "TILE", 500)  # the batch is cut as well
    q, k, v = heads(3, 2, 20, 4)
    y = sdpa(q, k, v, is_causal=causal)
    bias = np.triu(np.full((20, 20), -math.inf), 1) if causal else None
    expected = attention.attention_formula(np, *(t.detach().numpy() for t in (q, k, v)), scale=0.5, bias=bias)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
    found = gradients([q, k, v], y)
    monkeypatch.undo()
    for a, b in zip(found, gradients([q, k, v], sdpa(q, k, v, is_causal=causal)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_weights_computed_again_equal_those_kept(monkeypatch: pytest.MonkeyPatch, p: float) -> None:
    tensors = heads(2, 2, 70, 4)
    mask = minillm.tensor(np.random.default_rng(1).random((70, 70)) > 0.5)
    found = []
    for limit in (1 << 24, 0):
        monkeypatch.setattr(attention, "RECOMPUTE_ABOVE", limit)
        minillm.manual_seed(3)
        found.append(gradients(tensors, sdpa(*tensors, attn_mask=mask, dropout_p=p)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_query_that_sees_nothing_gets_0_and_gives_0(dtype: type, recwarn: pytest.WarningsRecorder) -> None:
    q, k, v = heads(1, 2, 3, 4, dtype=dtype)
    mask = np.ones((3, 3), dtype=bool)
    mask[1] = False
    y = sdpa(q, k, v, attn_mask=minillm.tensor(mask))
    assert not y.detach().numpy()[:, :, 1].any()
    dq, dk, dv = gradients([q, k, v], y)
    assert not dq[:, :, 1].any() and all(np.isfinite(g).all() for g in (dq, dk, dv))
    assert not recwarn.list


def test_bool_and_float_masks_agree() -> None:
    q, k, v = heads(2, 3, 5, 4)
    seen = np.random.default_rng(1).random((5, 5)) > 0.3
    seen[:, 0] = True
    by_bool = sdpa(q, k, v, attn_mask=minillm.tensor(seen)).detach().numpy()
    added = minillm.tensor(np.where(seen, 0.0, -math.inf))
    np.testing.assert_array_equal(sdpa(q, k, v, attn_mask=added).detach().numpy(), by_bool)


def test_a_float_mask_learns() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    arrays = [t.detach().numpy() for t in heads(2, 3, 5, 4)]
    bias = np.random.default_rng(1).standard_normal((3, 1, 5))
    ours, theirs = minillm.tensor(bias, requires_grad=True), torch.tensor(bias, requires_grad=True)
    sdpa(*map(minillm.tensor, arrays), attn_mask=ours).square().sum().backward()
    want = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, arrays), attn_mask=theirs)
    want.square().sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_past_does_not_see_the_future() -> None:
    q, k, v = heads(1, 2, 130, 4)
    before = sdpa(q, k, v, is_causal=True).detach().numpy()
    k.detach().numpy()[:, :, 100:] += 1e3
    v.detach().numpy()[:, :, 100:] -= 7
    after = sdpa(q, k, v, is_causal=True).detach().numpy()
    np.testing.assert_array_equal(before[:, :, :100], after[:, :, :100])
    assert np.abs(before[:, :, 100:] - after[:, :, 100:]).max() > 1


def test_large_logits_stay_finite() -> None:
    q, k, v = heads(1, 1, 4, 2, dtype=np.float32)
    y = sdpa(q * 1e3, k * 1e3, v, is_causal=True)
    assert np.isfinite(y.detach().numpy()).all()
    assert all(np.isfinite(g).all() for g in gradients([q, k, v], y))


def test_heads_as_views_of_one_projection_are_joined_without_a_copy() -> None:
    B, T, H, D = 2, 5, 3, 4
    x = minillm.tensor(np.random.default_rng(0).standard_normal((B, T, 3 * H * D)))
    q, k, v = (t.transpose(1, 2) for t in x.view(B, T, 3, H, D).unbind(2))
    y = sdpa(q, k, v, is_causal=True)
    joined = y.transpose(1, 2)
    assert joined.is_contiguous() and np.shares_memory(joined.numpy(), y.numpy())
    plain = sdpa(*(minillm.tensor(t.numpy().copy()) for t in (q, k, v)), is_causal=True)
    np.testing.assert_array_equal(y.numpy(), plain.numpy())


@pytest.mark.parametrize("way", ["unbind", "permute"])
def test_gradients_of_such_heads_lie_as_the_projection_wants_them(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    B, T, H, D = 2, 5, 3, 4
    x = minillm.tensor(np.random.default_rng(0).standard_normal((B, T, 3 * H * D)), requires_grad=True)
    qkv = x.view(B, T, 3, H, D)
    q, k, v = (t.transpose(1, 2) for t in qkv.unbind(2)) if way == "unbind" else qkv.permute(2, 0, 3, 1, 4)
    y = sdpa(q, k, v, is_causal=True)
    seen: list[minillm.Tensor] = []
    qkv.register_hook(seen.append)
    with monkeypatch.context() as patch:
        patch.setattr(np, "stack", lambda *_: pytest.fail("copied"))
        y.backward(minillm.tensor(np.random.default_rng(9).standard_normal(y.shape)))
    assert seen[0].is_contiguous()
    leaves = [minillm.tensor(t.detach().numpy().copy(), requires_grad=True) for t in (q, k, v)]
    expected = gradients(leaves, sdpa(*leaves, is_causal=True))
    np.testing.assert_array_equal(seen[0].permute(2, 0, 3, 1, 4).numpy(), np.stack(expected))


def test_dropout_keeps_the_mean_and_follows_the_seed() -> None:
    q, k = (minillm.zeros(1, 1, 50, 4) for _ in range(2))
    v = minillm.ones(1, 1, 50, 1)
    found = []
    for _ in range(2):
        minillm.manual_seed(5)
        found.append(sdpa(q.expand(40, 1, 50, 4), k, v, dropout_p=0.25).numpy())
    np.testing.assert_array_equal(*found)
    assert found[0].mean() == pytest.approx(1, abs=0.02) and found[0].std() > 0.01
    assert not sdpa(q, k, v, dropout_p=1.0).numpy().any()


def test_gradients_through_dropout() -> None:
    q, k, v = heads(2, 1, 6, 3)

    def call() -> minillm.Tensor:
        minillm.manual_seed(1)
        return sdpa(q, k, v, dropout_p=0.4, is_causal=True)

    y = call()
    dy = np.random.default_rng(9).standard_normal(y.shape)
    for t, dt in zip((q, k, v), gradients([q, k, v], y), strict=True):
        step = np.random.default_rng(2).standard_normal(t.shape) * 1e-6
        with minillm.no_grad():
            t.array += step
            up = (call().numpy() * dy).sum()
            t.array -= 2 * step
            down = (call().numpy() * dy).sum()
            t.array += step
        assert (up - down) / 2 == pytest.approx((dt * step).sum(), rel=1e-5)


def test_no_keys_at_all() -> None:
    q, k = minillm.ones(2, 3, 4, requires_grad=True), minillm.ones(2, 0, 4, requires_grad=True)
    y = sdpa(q, k, minillm.ones(2, 0, 5))
    assert y.shape == (2, 3, 5) and not y.detach().numpy().any()
    y.sum().backward()
    assert not q.grad.numpy().any() and k.grad.shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q: sdpa(q, q, q, dropout_p=2.0), ValueError, "dropout_p from 0 to 1, got 2"),
        (lambda q: sdpa(q, q, q, minillm.ones(5, 5).bool(), is_causal=True), RuntimeError, "not both"),
        (lambda q: sdpa(q, q[..., :3], q), RuntimeError, "do not fit"),
        (lambda q: sdpa(q, q, q[:, :, :3]), RuntimeError, "do not fit"),
        (lambda q: sdpa(q, q.double(), q), RuntimeError, "float64"),
        (lambda q: sdpa(q, q, q, minillm.ones(5, 5).long()), RuntimeError, "mask of bools or floats"),
        (lambda q: sdpa(q, q[:, :2], q[:, :2], enable_gqa=True), RuntimeError, "3 query heads, 2 key heads"),
    ],
)
def test_errors_say_what_was_expected(call: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(minillm.ones(2, 3, 5, 4))  # type: ignore[operator]


@pytest.mark.parametrize("turned", range(8))
@pytest.mark.parametrize("gqa", [False, True])
def test_layouts_of_the_batch_axes_do_not_matter(turned: int, gqa: bool) -> None:
    rng = np.random.default_rng(turned)
    arrays = [rng.standard_normal((2, 2 if gqa and i else 4, 5, 6)) for i in range(3)]
    dy = minillm.tensor(rng.standard_normal((2, 4, 5, 6)))
    found = []
    for turns in (0, turned):
        leaves = []
        for i, array in enumerate(arrays):
            swapped = array.swapaxes(0, 1).copy().swapaxes(0, 1) if turns >> i & 1 else array
            leaves.append(minillm.from_numpy(swapped).requires_grad_())
        y = sdpa(*leaves, is_causal=True, enable_gqa=gqa)
        found.append([y.detach(), *minillm.autograd.grad(y, leaves, dy)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)
