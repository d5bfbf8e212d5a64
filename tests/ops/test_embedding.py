"""Embedding ids, and the random part of dropout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
import minillm.nn.functional as F


@pytest.mark.parametrize("bad", [6, -1, 10**9])
def test_an_id_outside_the_table_is_named(bad: int) -> None:
    with pytest.raises(IndexError, match=rf"{bad}.*6"):
        F.embedding(minillm.tensor([0, bad, 5]), minillm.ones(6, 3))


@given(st.lists(st.integers(0, 4), max_size=12))
def test_the_gradient_counts_the_uses(ids: list[int]) -> None:
    w = minillm.zeros(5, 2, requires_grad=True)
    F.embedding(minillm.tensor(np.array(ids, dtype=np.int64)), w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.repeat(np.bincount(ids, minlength=5)[:, None], 2, 1))


@pytest.mark.parametrize("padding", [2, -4])
def test_the_padding_row_learns_nothing(padding: int) -> None:
    w = minillm.ones(6, 3, requires_grad=True)
    y = F.embedding(minillm.tensor([[2, 1], [2, 2]]), w, padding_idx=padding)
    y.sum().backward()
    assert y.detach().numpy().all() and not w.grad.numpy()[2].any() and w.grad.numpy()[1].all()


def test_embedding_refuses_what_it_cannot_do() -> None:
    ids, w = minillm.tensor([0]), minillm.ones(6, 3)
    for name, value in (("max_norm", 1.0), ("scale_grad_by_freq", True), ("sparse", True)):
        with pytest.raises(NotImplementedError, match=name):
            F.embedding(ids, w, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float32"):
        F.embedding(minillm.tensor([0.0]), w)
    with pytest.raises(RuntimeError, match=r"\(V, C\)"):
        F.embedding(ids, minillm.ones(6))
    with pytest.raises(IndexError, match="padding_idx 6"):
        F.embedding(ids, w, padding_idx=6)


# --- dropout
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dropout_drops_its_share_and_scales_the_rest(dtype: type) -> None:
    x = minillm.ones(300, 300, dtype=dtype, requires_grad=True)
    y = F.dropout(x, 0.25)
    values = y.detach().numpy()
    assert values.dtype == dtype
    assert set(np.unique(values)) == {dtype(0), dtype(4 / 3)}
    assert (values == 0).mean() == pytest.approx(0.25, abs=0.01)
    y.backward(minillm.ones_like(y))
    np.testing.assert_array_equal(x.grad.numpy(), values)  # the same mask


def test_dropout_follows_the_seed_and_leaves_other_streams_alone() -> None:
    x = minillm.ones(50)
    minillm.manual_seed(1)
    first, drawn = F.dropout(x).numpy(), minillm.rand(3).numpy()
    minillm.manual_seed(1)
    np.testing.assert_array_equal(minillm.rand(3).numpy(), drawn)
    np.testing.assert_array_equal(F.dropout(x).numpy(), first)
    assert (F.dropout(x).numpy() != first).any()


def test_dropout_at_its_ends() -> None:
    x = minillm.tensor([1.0, 2.0], requires_grad=True)
    assert F.dropout(x, 0.5, training=False) is x and F.dropout(x, 0.0) is x
    y = F.dropout(x, 1.0)
    y.sum().backward()
    assert not y.detach().numpy().any() and not x.grad.numpy().any()
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="0 to 1"):
            F.dropout(x, p)


def test_dropout_in_place() -> None:
    x = minillm.ones(100)
    assert F.dropout(x, 0.5, inplace=True) is x
    assert set(np.unique(x.numpy())) == {0.0, 2.0}
