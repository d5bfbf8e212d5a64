"""First values: the right bounds and spread, the same from the same seed, and PyTorch's refusals."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.nn import init
from tests.nn.twins import array, torch

SHAPE = (60, 50, 2)  # fan in 100, fan out 120; 6,000 numbers
IN, OUT, N = 100, 120, 6000

# (name, options, standard deviation, bound or None)
DRAWS = [
    ("normal_", {}, 1.0, None),
    ("normal_", {"mean": 3.0, "std": 0.02}, 0.02, None),
    ("uniform_", {}, 1 / math.sqrt(12), None),
    ("uniform_", {"a": -2.0, "b": 4.0}, 6 / math.sqrt(12), None),
    ("xavier_uniform_", {}, math.sqrt(2 / (IN + OUT)), math.sqrt(6 / (IN + OUT))),
    ("xavier_uniform_", {"gain": 2.0}, 2 * math.sqrt(2 / (IN + OUT)), 2 * math.sqrt(6 / (IN + OUT))),
    ("xavier_normal_", {"gain": 0.5}, 0.5 * math.sqrt(2 / (IN + OUT)), None),
    ("kaiming_uniform_", {}, math.sqrt(2 / IN), math.sqrt(6 / IN)),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "tanh"}, 5 / 3 / math.sqrt(OUT), 5 / math.sqrt(3 * OUT)),
    ("kaiming_uniform_", {"a": math.sqrt(5)}, math.sqrt(1 / 3 / IN), math.sqrt(1 / IN)),
    ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / IN), None),
    ("kaiming_normal_", {"mode": "fan_out", "a": 1.0}, math.sqrt(1 / OUT), None),
    ("trunc_normal_", {}, 0.8796, 2.0),
    ("trunc_normal_", {"std": 0.02, "a": -0.04, "b": 0.04}, 0.02 * 0.8796, 0.04),
]


@pytest.mark.parametrize(("name", "options", "std", "bound"), DRAWS, ids=str)
def test_spread_and_bounds(name, options, std, bound):
    t = getattr(init, name)(minillm.empty(*SHAPE, dtype=minillm.float64), **options)
    values = array(t)
    mean = options.get("mean", (options["a"] + options["b"]) / 2 if name == "uniform_" and options else 0.0)
    mean = 0.5 if name == "uniform_" and not options else mean
    # Six standard errors of the mean and of the deviation of N draws.
    assert abs(values.mean() - mean) < 6 * std / math.sqrt(N)
    assert abs(values.std() / std - 1) < 6 / math.sqrt(2 * N)
    if bound is not None:
        near = 0.99 if "uniform" in name else 0.95  # the bell is thin at its ends
        assert near * bound < np.abs(values).max() <= bound
    oracle = getattr(torch.nn.init, name)(
        torch.empty(SHAPE, dtype=torch.float64), **options, generator=torch.Generator().manual_seed(0)
    )
    assert abs(oracle.std().item() / std - 1) < 6 / math.sqrt(2 * N), "the table above is PyTorch's too"


def test_uniform_fills_its_interval():
    values = array(init.uniform_(minillm.empty(5000), -3, 1))
    assert values.min() >= -3 and values.max() < 1
    counts, _ = np.histogram(values, bins=4, range=(-3, 1))
    assert np.abs(counts - 1250).max() < 6 * math.sqrt(1250 * 0.75)


@pytest.mark.parametrize("name", [n for n in init.__all__ if n.endswith("_") and n not in ("constant_", "eye_")])
def test_the_same_seed_draws_the_same_and_the_tensor_is_filled_in_place(name):
    fill = getattr(init, name)
    t = minillm.empty(4, 3, requires_grad=True)
    minillm.manual_seed(7)
    assert fill(t) is t and t.requires_grad and t.grad_fn is None
    assert t.dtype == minillm.float32
    first = array(t).copy()
    minillm.manual_seed(7)
    np.testing.assert_array_equal(array(fill(minillm.empty(4, 3))), first)
    own = [array(fill(minillm.empty(4, 3), **given)) for given in generators(name)]
    np.testing.assert_array_equal(*own)
    if name not in ("zeros_", "ones_"):
        assert not np.array_equal(array(fill(t)), first), "the next draw is another one"
        assert not np.array_equal(own[0], first)


def generators(name):
    """Return twice the options that draw from a generator of one's own."""
    known = name not in ("zeros_", "ones_")
    return [{"generator": minillm.Generator().manual_seed(9)} if known else {} for _ in range(2)]


@given(st.integers(1, 7), st.integers(1, 7), st.floats(-3, 3))
def test_orthogonal_rows_or_columns(rows, columns, gain):
    q = array(init.orthogonal_(minillm.empty(rows, columns, dtype=minillm.float64), gain=gain))
    product = q @ q.T if rows <= columns else q.T @ q
    np.testing.assert_allclose(product, gain**2 * np.eye(min(rows, columns)), atol=1e-10)


def test_orthogonal_flattens_further_axes_and_prefers_no_sign():
    q = array(init.orthogonal_(minillm.empty(3, 2, 2, dtype=minillm.float64))).reshape(3, 4)
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-12)
    signs = [np.sign(array(init.orthogonal_(minillm.empty(2, 2)))[0, 0]) for _ in range(200)]
    assert 60 < signs.count(1) < 140


@given(st.floats(-5, 5, allow_subnormal=False), st.sampled_from([(), (0,), (3,), (2, 3)]))
def test_constants(value, shape):
    for fill, expected in [
        (lambda t: init.constant_(t, value), value),
        (init.zeros_, 0.0),
        (init.ones_, 1.0),
    ]:
        t = minillm.empty(*shape, dtype=minillm.float64)
        assert fill(t) is t
        np.testing.assert_array_equal(array(t), np.full(shape, expected))


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (0, 2)], ids=str)
def test_eye(shape):
    np.testing.assert_array_equal(array(init.eye_(minillm.empty(*shape))), np.eye(*shape))


CONVOLUTIONS = [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)]


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", *CONVOLUTIONS])
@pytest.mark.parametrize("param", [None, 0, 0.3, -2], ids=str)
def test_gains_equal_pytorch(name, param):
    assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param), rel=1e-15)


REFUSED = [
    (lambda i, t: i.calculate_gain("gelu"), "gelu"),
    (lambda i, t: i.calculate_gain("leaky_relu", "0.1"), "0.1"),
    (lambda i, t: i.calculate_gain("leaky_relu", True), "True"),
    (lambda i, t: i.eye_(t(2, 2, 2)), r"\(2, 2, 2\)"),
    (lambda i, t: i.eye_(t(2)), r"\(2,\)"),
    (lambda i, t: i.orthogonal_(t(3)), r"\(3,\)"),
    (lambda i, t: i.xavier_uniform_(t(3)), r"\(3,\)"),
    (lambda i, t: i.xavier_normal_(t(3)), r"\(3,\)"),
    (lambda i, t: i.kaiming_uniform_(t(3)), r"\(3,\)"),
    (lambda i, t: i.kaiming_normal_(t(())), r"\(\)"),
    (lambda i, t: i.kaiming_normal_(t(2, 2), mode="fan"), "'fan'"),
    (lambda i, t: i.kaiming_uniform_(t(2, 2), nonlinearity="x"), "'x'"),
    (lambda i, t: i.normal_(t(2), std=-1.0), "-1.0"),
    (lambda i, t: i.uniform_(t(2), 2.0, 1.0), r"2\.0 and 1\.0"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_pytorch_refuses_is_refused_with_the_value(call, words):
    with pytest.raises((ValueError, RuntimeError)):
        call(torch.nn.init, torch.empty)
    with pytest.raises(ValueError, match=words):
        call(init, minillm.empty)


@pytest.mark.parametrize(
    "options", [{"a": 1.0, "b": -1.0}, {"a": 8.0, "b": 9.0}, {"std": 0.0}, {"std": -1.0}, {"mean": 100.0}], ids=str
)
def test_a_truncation_that_would_hardly_end_is_refused(options):
    with pytest.raises(ValueError, match="trunc_normal_"):
        init.trunc_normal_(minillm.empty(3), **options)


@given(st.floats(-1, 1), st.floats(0.01, 2), st.floats(-2, 0), st.floats(0.5, 2))
def test_a_truncated_draw_stays_inside(mean, std, below, width):
    a = mean + below * std
    t = init.trunc_normal_(minillm.empty(50, dtype=minillm.float64), mean, std, a, a + width)
    assert array(t).min() >= a and array(t).max() <= a + width


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("name", ["xavier_uniform_", "kaiming_normal_", "kaiming_uniform_", "orthogonal_", "normal_"])
def test_nothing_to_fill_is_no_error(name, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(init, name)(minillm.empty(*shape)).shape == shape
