"""The strategies give what they promise, and all of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import minillm
from minillm.testing import strategies as kit


@given(kit.broadcast_shapes(3))
def test_shapes_broadcast(shapes: list[tuple[int, ...]]) -> None:
    np.broadcast_shapes(*shapes)


@given(kit.matmul_shapes())
def test_matrices_fit(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (np.ones(shape) for shape in shapes)
    assert (a @ b).shape == tuple(minillm.matmul(minillm.tensor(a), minillm.tensor(b)).shape)


@given(st.data())
def test_axes_and_indices_are_valid(data: st.DataObject) -> None:
    shape = data.draw(kit.shapes())
    x = np.arange(math.prod(shape)).reshape(shape)
    x.sum(axis=data.draw(kit.axes(len(shape))))
    index = data.draw(kit.indices(shape))
    got = minillm.tensor(x)[_tensors(index)]
    np.testing.assert_array_equal(got.numpy(), x[index])


def _tensors(index: Any) -> Any:
    return minillm.tensor(index) if isinstance(index, np.ndarray) else index


@given(st.data())
def test_arrays_are_what_was_asked_for(data: st.DataObject) -> None:
    shape = data.draw(kit.shapes())
    a = data.draw(kit.arrays(shape, np.float32, -2, 2, away_from=(0.0,), distance=0.25))
    assert a.shape == shape and a.dtype == np.float32
    assert (np.abs(a) >= 0.25).all() and (np.abs(a) <= 2).all()
    distinct = data.draw(kit.arrays(shape, unique=True))
    assert len(np.unique(distinct)) == distinct.size
    view = data.draw(kit.layouts(a))
    np.testing.assert_array_equal(view, a)
    t = data.draw(kit.tensors(shape, np.float32))
    assert t.is_leaf and t.requires_grad and t.dtype == minillm.float32


# What must be among the examples, or a law would be tested on easy cases only.
RARE: list[tuple[str, st.SearchStrategy, Any]] = [
    ("a 0-d shape", kit.shapes(), lambda s: s == ()),
    ("an empty shape", kit.shapes(), lambda s: 0 in s),
    ("a side that is broadcast", kit.broadcast_shapes(), lambda s: len(s[0]) == len(s[1]) and s[0] != s[1]),
    ("a missing axis", kit.broadcast_shapes(), lambda s: len(s[0]) != len(s[1])),
    ("a vector times a matrix", kit.matmul_shapes(), lambda s: (len(s[0]), len(s[1])) == (1, 2)),
    ("a NaN", kit.arrays((3,), specials=True), lambda a: np.isnan(a).any()),
    ("1e4", kit.arrays((3,), specials=True), lambda a: (a == 1e4).any()),
    ("a repeated index", kit.index_arrays(3), lambda a: a.size > len(np.unique(a % 3))),
    ("a mask", kit.indices((2, 2)), lambda i: getattr(i, "dtype", None) == np.bool_),
    ("a negative integer and a new axis", kit.indices((2, 2)), lambda i: type(i) is tuple and None in i and -1 in i),
    ("no rows", kit.cross_entropy_cases(), lambda c: len(c.target) == 0),
    ("an ignored row", kit.cross_entropy_cases(), lambda c: (c.target == c.options["ignore_index"]).any()),
    (
        "a query that sees nothing",
        kit.attention_cases(),
        lambda c: np.asarray(c.options.get("attn_mask", 1)).dtype == bool and not c.options["attn_mask"].any(1).all(),
    ),
    ("shared key heads", kit.attention_cases(), lambda c: "enable_gqa" in c.options),
    ("a value used twice", kit.programs(2), lambda p: any(i == j for _, i, j in p.steps)),
    ("half a character", kit.nasty_bytes(), lambda b: b.decode("utf-8", "replace").endswith("\ufffd")),
    ("a special token in a text", kit.nasty_text(), lambda s: "<|endoftext|>" in s),
]


@pytest.mark.parametrize(("strategy", "rare"), [r[1:] for r in RARE], ids=[r[0] for r in RARE])
def test_rare_cases_are_among_them(strategy: st.SearchStrategy, rare: Any) -> None:
    try:
        find(strategy, rare)
    except NoSuchExample:
        pytest.fail("never drawn")


@given(kit.token_ids(7, (2, 3)), kit.corpora())
def test_ids_and_corpora(ids: np.ndarray, texts: list[str]) -> None:
    assert ids.shape == (2, 3) and ((ids >= 0) & (ids < 7)).all()
    assert any(texts)
