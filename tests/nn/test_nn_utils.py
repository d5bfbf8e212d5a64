"""Clipping never makes a gradient longer and equals PyTorch's; parameters go into a vector and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm import nn
from minillm.nn import utils
from minillm.nn.utils.rnn import pad_sequence
from tests.nn.twins import array, same, torch

NORMS = [1, 2, 2.0, 3, 0.5, math.inf]
numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3))
gradients = st.lists(st.none() | st.lists(numbers, max_size=4), max_size=4)


def made(values):
    """Return parameters of both kinds with these gradients."""
    ours, theirs = [], []
    for v in values:
        g = np.array(v or [], dtype=np.float64)
        ours.append(nn.Parameter(minillm.zeros(len(g), dtype=minillm.float64)))
        theirs.append(torch.nn.Parameter(torch.zeros(len(g), dtype=torch.float64)))
        if v is not None:
            ours[-1].grad, theirs[-1].grad = minillm.tensor(g), torch.tensor(g)
    return ours, theirs


def length(parameters, norm_type):
    flat = np.concatenate([[0.0], *(array(p.grad) for p in parameters if p.grad is not None)])
    return np.linalg.norm(flat, norm_type)


@given(gradients, st.floats(0, 200), st.sampled_from(NORMS))
def test_clipping_the_norm_equals_pytorch_and_never_lengthens(values, max_norm, norm_type):
    ours, theirs = made(values)
    before = length(ours, norm_type)
    mine = utils.clip_grad_norm_(ours, max_norm, norm_type)
    if norm_type != math.inf or all(values) or not values:  # PyTorch has no largest element of nothing
        oracle = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
        assert mine.item() == pytest.approx(oracle.item(), rel=1e-9, abs=1e-12)
        for p, q in zip(ours, theirs):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                same(p.grad, q.grad)
    assert mine.shape == () and not mine.requires_grad
    assert mine.item() == pytest.approx(before, rel=1e-9, abs=1e-12)
    after = length(ours, norm_type)
    assert after <= before and after <= max_norm * (1 + 1e-12)
    if before <= max_norm - 1e-6:
        assert after == before, "a short gradient is left alone"


def test_clipping_takes_one_tensor_or_a_generator():
    ours, _ = made([[3.0, 4.0]])
    assert utils.clip_grad_norm_(ours[0], 1.0).item() == 5.0
    assert utils.clip_grad_norm_((p for p in ours), 0.5).item() == pytest.approx(1.0)
    assert array(ours[0].grad) == pytest.approx([0.3, 0.4], rel=1e-5)
    utils.clip_grad_value_(ours[0], 0.35)
    assert array(ours[0].grad) == pytest.approx([0.3, 0.35], rel=1e-5)


def test_clipping_keeps_the_gradients_own_memory_and_types():
    p = nn.Parameter(minillm.zeros(2))
    q = nn.Parameter(minillm.zeros(2, dtype=minillm.float16))
    p.grad, q.grad = minillm.tensor([3.0, 0.0]), minillm.tensor([0.0, 4.0], dtype=minillm.float16)
    kept = [p.grad, q.grad]
    assert utils.clip_grad_norm_([p, q], 1.0).item() == 5.0
    assert p.grad is kept[0] and q.grad is kept[1]
    assert p.grad.dtype == minillm.float32 and q.grad.dtype == minillm.float16
    assert array(p.grad)[0] == pytest.approx(0.6) and array(q.grad)[1] == pytest.approx(0.8, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm_type", NORMS)
def test_a_norm_that_is_not_finite_leaves_the_gradients_or_raises(bad, norm_type):
    ours, theirs = made([[1.0, bad], [2.0]])
    for strict in (False, True):
        if strict:
            with pytest.raises(RuntimeError, match=r"norm.*(nan|inf)"):
                utils.clip_grad_norm_(ours, 1.0, norm_type, error_if_nonfinite=True)
            with pytest.raises(RuntimeError, match="non-finite"):
                torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type, error_if_nonfinite=True)
        else:
            total = utils.clip_grad_norm_(ours, 1.0, norm_type).item()
            assert math.isnan(total) if math.isnan(bad) else total == math.inf
        np.testing.assert_array_equal(array(ours[0].grad), [1.0, bad])
        np.testing.assert_array_equal(array(ours[1].grad), [2.0])


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_a_limit_that_is_none_is_refused(bad):
    ours, _ = made([[1.0]])
    with pytest.raises(ValueError, match=f"0 or more.*{bad}"):
        utils.clip_grad_norm_(ours, bad)
    assert array(ours[0].grad) == [1.0]


@given(gradients, st.sampled_from(NORMS))
def test_total_norm_is_the_norm_of_all_as_one_vector(values, norm_type):
    tensors = [minillm.tensor(v, dtype=minillm.float64) for v in values if v is not None]
    flat = np.concatenate([[0.0], *(array(t) for t in tensors)])
    total = utils.get_total_norm(tensors, norm_type)
    assert total.item() == pytest.approx(np.linalg.norm(flat, norm_type), rel=1e-9, abs=1e-12)


def test_the_norm_of_millions_is_as_exact_as_that_of_a_few():
    """One float32 sum of so many equal numbers, the worst case, is off by 3e-4."""
    total = utils.get_total_norm([minillm.full((1 << 22,), 0.1)])
    assert total.item() == pytest.approx(float(np.float32(0.1)) * 2**11, rel=1e-5)


@given(gradients, st.floats(0, 50))
def test_clipping_values_equals_pytorch(values, limit):
    ours, theirs = made(values)
    utils.clip_grad_value_(ours, limit)
    if any(v is not None for v in values):  # PyTorch fails where no parameter has a gradient
        torch.nn.utils.clip_grad_value_(theirs, limit)
    for p, q, v in zip(ours, theirs, values):
        if v is not None:
            same(p.grad, q.grad)
            np.testing.assert_array_equal(array(p.grad), np.clip(np.array(v, dtype=float), -limit, limit))


shapes = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=4)


@given(shapes, st.integers(0, 99))
def test_parameters_go_into_a_vector_and_back(sizes, seed):
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(s) for s in sizes]
    params = [nn.Parameter(minillm.tensor(v)) for v in values]
    vector = utils.parameters_to_vector(params)
    np.testing.assert_array_equal(array(vector), np.concatenate([v.reshape(-1) for v in values]))
    same(vector, torch.nn.utils.parameters_to_vector([torch.tensor(v) for v in values]))
    others = [nn.Parameter(minillm.zeros(*s, dtype=minillm.float64)) for s in sizes]
    utils.vector_to_parameters(vector, iter(others))
    for p, v in zip(others, values):
        np.testing.assert_array_equal(array(p), v)
        assert p.requires_grad and p.grad_fn is None
    vector.sum().backward()
    for p in params:
        if p.numel():
            np.testing.assert_array_equal(array(p.grad), np.ones(p.shape))


@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_vector_of_another_length_is_refused_and_nothing_written(length):
    params = [nn.Parameter(minillm.zeros(2)), nn.Parameter(minillm.zeros(1))]
    with pytest.raises(ValueError, match=f"{length} numbers for 3"):
        utils.vector_to_parameters(minillm.ones(length), params)
    assert not any(array(p).any() for p in params)


# --- sequences of different lengths -----------------------------------------------------------------------------------
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.sampled_from([(), (2,), (1, 2)]),
    st.booleans(),
    st.sampled_from(["left", "right"]),
    st.sampled_from([0.0, -100.0]),
)
def test_padding_equals_pytorch(lengths, rest, batch_first, side, filling):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((n, *rest)) for n in lengths]
    options = {"batch_first": batch_first, "padding_value": filling, "padding_side": side}
    mine = [minillm.tensor(v, requires_grad=True) for v in values]
    y = pad_sequence(mine, **options)
    same(y, torch.nn.utils.rnn.pad_sequence([torch.tensor(v) for v in values], **options))
    y.sum().backward()
    for t in mine:
        np.testing.assert_array_equal(array(t.grad), np.ones(t.shape))


def test_padding_keeps_ids_and_refuses_nonsense():
    ids = pad_sequence([minillm.tensor([1, 2]), minillm.tensor([3])], batch_first=True, padding_value=-100)
    assert ids.dtype == minillm.int64 and array(ids).tolist() == [[1, 2], [3, -100]]
    with pytest.raises(ValueError, match="got 0"):
        pad_sequence([])
    with pytest.raises(ValueError, match="'middle'"):
        pad_sequence([minillm.ones(1)], padding_side="middle")
