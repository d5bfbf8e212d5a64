"""Hypothesis strategies for shapes, arrays, cases of losses and attention, texts, and programs of ops.

They build valid inputs directly (nothing is filtered away), include 0-d and 0-size shapes, and shrink to small ones.
Import this module by its name; it needs the package hypothesis (``pip install minillm[test]``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from minillm.tensor import Tensor

__all__ = [
    "AttentionCase",
    "CrossEntropyCase",
    "Program",
    "arrays",
    "attention_cases",
    "axes",
    "broadcast_shapes",
    "corpora",
    "cross_entropy_cases",
    "index_arrays",
    "indices",
    "layouts",
    "matmul_shapes",
    "nasty_bytes",
    "nasty_text",
    "programs",
    "shapes",
    "tensors",
    "token_ids",
]


# --- shapes ----------------------------------------------------------------------------------------------------------
def shapes(min_dims: int = 0, max_dims: int = 4, max_side: int = 4, *, empty: bool = True) -> st.SearchStrategy[tuple]:
    """Shapes, ``()`` among them; with ``empty`` also those with a side of 0."""
    side = st.integers(0 if empty else 1, max_side)
    return st.lists(side, min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def broadcast_shapes(
    draw: st.DrawFn, n: int = 2, max_dims: int = 4, max_side: int = 4, *, empty: bool = True
) -> list[tuple[int, ...]]:
    """``n`` shapes that broadcast against each other: sides set to 1 and leading axes left out of a common shape."""
    full = draw(shapes(0, max_dims, max_side, empty=empty))
    found = []
    for _ in range(n):
        kept = full[draw(st.integers(0, len(full))) :]
        found.append(tuple(1 if draw(st.booleans()) else side for side in kept))
    return found


@st.composite
def matmul_shapes(draw: st.DrawFn, max_side: int = 4, max_batch: int = 2) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that ``matmul`` takes: (N?, K) and (K, M?), with batch axes that broadcast."""
    n, k, m = (draw(st.integers(0, max_side)) for _ in range(3))
    if draw(st.booleans()):
        a, b = draw(broadcast_shapes(2, max_batch, 3))
        return (*a, n, k), (*b, k, m)
    left = (k,) if draw(st.booleans()) else (n, k)
    return left, draw(st.sampled_from([(k,), (k, m)]))


def axes(ndim: int) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """What a reduction takes as ``dim``: ``None``, an axis from either end, or several, none of them twice."""
    if not ndim:
        return st.none()
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, min_size=1, max_size=ndim, unique_by=lambda d: d % ndim).map(tuple)
    return st.one_of(st.none(), one, several)


# --- arrays ----------------------------------------------------------------------------------------------------------
@st.composite
def arrays(
    draw: st.DrawFn,
    shape: tuple[int, ...] | st.SearchStrategy[tuple],
    dtype: Any = np.float64,
    low: float = -3.0,
    high: float = 3.0,
    *,
    specials: bool = False,
    away_from: Sequence[float] = (),
    distance: float = 0.05,
    unique: bool = False,
) -> np.ndarray:
    """Arrays of numbers from ``low`` to ``high``.

    Args:
        shape: a shape, or a strategy of shapes.
        dtype: of the array.
        low, high: the range.
        specials: put NaN, inf, -inf, 1e4 and -1e4 among the numbers.
        away_from: kinks and poles, from which every number keeps ``distance``, so that differences make sense.
        distance: see ``away_from``.
        unique: no two numbers are equal.
    """
    found = shape if isinstance(shape, tuple) else draw(shape)
    size = math.prod(found)
    # Numbers come from a seed, which is fast and shrinks to 0, and a few are replaced one by one.
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if unique:
        a = low + (high - low) * (rng.permutation(size) + 0.5) / max(size, 1)
    else:
        a = rng.uniform(low, high, size)
        for i in draw(st.lists(st.integers(0, size - 1), max_size=3)) if size else []:
            a[i] = draw(st.sampled_from([x for x in (0.0, 1.0, -1.0, low, high) if low <= x <= high]))
        if specials:
            for i in draw(st.lists(st.integers(0, size - 1), max_size=3)) if size else []:
                a[i] = draw(st.sampled_from([math.nan, math.inf, -math.inf, 1e4, -1e4]))
    for kink in away_from:
        near = np.abs(a - kink) < distance
        a[near] = kink + np.where(a[near] < kink, -distance, distance)
    return a.reshape(found).astype(dtype)


@st.composite
def layouts(draw: st.DrawFn, a: np.ndarray) -> np.ndarray:
    """The same numbers in other memory: Fortran order, every second element, backwards, or read-only."""
    way = draw(st.sampled_from(["contiguous", "fortran", "strided", "backwards", "fixed"]))
    if way == "contiguous" or not a.ndim:
        return a.copy()
    if way == "fortran":
        return a.copy(order="F")
    if way == "fixed":
        fixed = a.copy()
        fixed.flags.writeable = False
        return fixed
    step = 2 if way == "strided" else -1
    view = np.zeros([n * abs(step) for n in a.shape], dtype=a.dtype)[(slice(None, None, step),) * a.ndim]
    view[...] = a
    return view


@st.composite
def tensors(draw: st.DrawFn, shape: Any, dtype: Any = np.float64, *, requires_grad: bool = True, **how: Any) -> Tensor:
    """Leaf tensors; arguments as for ``arrays``."""
    t = Tensor._wrap(draw(arrays(shape, dtype, **how)))
    return t.requires_grad_(requires_grad)


# --- indices ---------------------------------------------------------------------------------------------------------
@st.composite
def index_arrays(draw: st.DrawFn, size: int, shape: Any = None) -> np.ndarray:
    """Integer arrays that index an axis of ``size``, from either end, with repetitions."""
    found = draw(shapes(0, 2, 4)) if shape is None else shape
    n = math.prod(found)
    values = draw(st.lists(st.integers(-size, size - 1), min_size=n, max_size=n))
    return np.array(values, dtype=np.int64).reshape(found)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """What may stand in ``x[...]``: integers, slices, ``None``, ``...``, an integer array, a bool array."""
    n = math.prod(shape)
    if shape and n and draw(st.booleans()):
        if draw(st.booleans()):
            return draw(index_arrays(shape[0]))
        return np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))).reshape(shape)
    parts: list[Any] = []
    for side in shape[: draw(st.integers(0, len(shape)))]:
        edge = st.none() | st.integers(-side - 1, side + 1)
        part = st.slices(side) if not draw(st.booleans()) else st.builds(slice, edge, edge)
        # PyTorch knows no backward slices, and steps near 2^63 overflow in it.
        part = part.map(lambda s: slice(s.start, s.stop, min(abs(s.step), 5) if s.step else None))
        parts.append(draw(st.integers(-side, side - 1) if side and draw(st.booleans()) else part))
    for extra in draw(st.lists(st.sampled_from([None, ...]), max_size=2, unique=True)):
        # An ellipsis stands for what is not named, so it comes last here.
        parts.insert(len(parts) if extra is ... else draw(st.integers(0, len(parts))), extra)
    return tuple(parts)


def token_ids(vocab_size: int, shape: tuple[int, ...] = (2, 5)) -> st.SearchStrategy[np.ndarray]:
    """Integer arrays of ids below ``vocab_size``."""
    n = math.prod(shape)
    ids = st.lists(st.integers(0, vocab_size - 1), min_size=n, max_size=n)
    return ids.map(lambda values: np.array(values, dtype=np.int64).reshape(shape))


# --- cases of ops ----------------------------------------------------------------------------------------------------
class CrossEntropyCase(NamedTuple):
    """Arguments of ``cross_entropy``."""

    logits: np.ndarray  # (N, V)
    target: np.ndarray  # (N,)
    options: dict[str, Any]


@st.composite
def cross_entropy_cases(draw: st.DrawFn, low: float = -3.0, high: float = 3.0) -> CrossEntropyCase:
    """Logits, targets (some of them ignored) and options; N may be 0."""
    n, classes = draw(st.integers(0, 5)), draw(st.integers(1, 5))
    ignored = draw(st.sampled_from([-100, -1, 0]))
    valid = st.integers(0, classes - 1)
    target = draw(st.lists(valid | st.just(ignored), min_size=n, max_size=n))
    options = {
        "ignore_index": ignored,
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
    }
    return CrossEntropyCase(
        draw(arrays((n, classes), low=low, high=high)), np.array(target, dtype=np.int64).reshape(n), options
    )


class AttentionCase(NamedTuple):
    """Arguments of ``scaled_dot_product_attention``."""

    q: np.ndarray  # (B, H, T, D)
    k: np.ndarray  # (B, K, S, D)
    v: np.ndarray  # (B, K, S, E)
    options: dict[str, Any]


@st.composite
def attention_cases(draw: st.DrawFn) -> AttentionCase:
    """Queries, keys and values, with a mask (which may hide everything from a query), causal, or neither."""
    b, k, t, s, d, e = (draw(st.integers(1, n)) for n in (2, 2, 5, 5, 3, 3))
    shared = draw(st.sampled_from([1, 1, 2, 3]))  # query heads for each key head
    q, keys, values = (draw(arrays(shape)) for shape in [(b, k * shared, t, d), (b, k, s, d), (b, k, s, e)])
    options: dict[str, Any] = {"enable_gqa": True} if shared > 1 else {}
    kind = draw(st.sampled_from(["none", "causal", "bool", "float"]))
    if kind == "causal":
        options["is_causal"] = True
    elif kind != "none":
        seen = np.array(draw(st.lists(st.booleans(), min_size=t * s, max_size=t * s))).reshape(t, s)
        options["attn_mask"] = seen if kind == "bool" else np.where(seen, draw(arrays((t, s))), -np.inf)
    return AttentionCase(q, keys, values, options)


# --- texts -----------------------------------------------------------------------------------------------------------
_PIECES = [
    *("\0", "\x07\x1b", "\x1c\x1d \x1e\x1f", "\x7f\x85\xa0", "\ufeff", "\ufffd", "\U0010ffff", "\ud7ff\ue000"),
    *("\r", "\n", "\r\n", "\t ", " ", "   ", "\u2028\u3000", "a" * 70, "ab" * 40, " " * 66 + "x", "=" * 65),
    *("'s", "'re", "'", "it's we'll I'D", "_x_", "x2 3½ Ⅷ ²٣", "e" + "\u0301" * 50, "é", "İıſß", "ἄΣ"),
    *("שלום", "\u202eabc\u202c", "नमस्ते", "猫が好き", "👩\u200d👩\u200d👧", "🇩🇪🏳️", "𝔘𝔫𝔦", "\u00ad\u2060\u200b"),
    *("<|endoftext|>", "<|end|>", "<|", "|>", "<unk>", "Ġ", "Ċ", "Ā"),
]


def nasty_text(max_pieces: int = 12) -> st.SearchStrategy[str]:
    """Any text, and texts put together from pieces that have broken tokenizers before; no lone surrogates."""
    piece = st.one_of(st.sampled_from(_PIECES), st.text(max_size=6))
    return st.one_of(st.text(max_size=40), st.lists(piece, max_size=max_pieces).map("".join))


def nasty_bytes() -> st.SearchStrategy[bytes]:
    """Any bytes, and what is almost UTF-8: cut, overlong, encoded surrogates, too large, UTF-16."""
    wrong = [b"\xff", b"\xc3", b"\xe7\x8c", b"\xf0\x9f\x90", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
    wrong += [b"\xfe\xffa\0", "猫".encode(), b"a", "é".encode()]
    return st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(wrong), max_size=12).map(b"".join))


def corpora(max_texts: int = 4) -> st.SearchStrategy[list[str]]:
    """One to ``max_texts`` texts to train a tokenizer on, not all of them empty."""
    filled = nasty_text().map(lambda text: text or " ")
    return st.builds(lambda texts, last: [*texts, last], st.lists(nasty_text(), max_size=max_texts - 1), filled)


# --- programs of ops -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Program:
    """A graph of ops: step i applies ``names[op](a, b)`` to two earlier values.

    Attributes:
        steps: (number of the op, number of the first value, number of the second value).
        inputs: the leaves, arrays of one shape.
    """

    steps: tuple[tuple[int, int, int], ...]
    inputs: tuple[np.ndarray, ...]

    def run(self, ops: Sequence[Any], package: Any, leaves: Sequence[Any]) -> list[Any]:
        """Return all values: the leaves, and the result of each step ``ops[op](package, a, b)``."""
        values = list(leaves)
        for op, i, j in self.steps:
            values.append(ops[op](package, values[i], values[j]))
        return values


@st.composite
def programs(
    draw: st.DrawFn, n_ops: int, *, n_inputs: int = 3, shape: tuple[int, ...] = (3, 3), max_steps: int = 12
) -> Program:
    """Random graphs, with sharing, diamonds and dead ends."""
    inputs = tuple(draw(arrays(shape)) for _ in range(n_inputs))
    steps = []
    for n in range(n_inputs, n_inputs + draw(st.integers(1, max_steps))):
        steps.append((draw(st.integers(0, n_ops - 1)), draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))))
    return Program(tuple(steps), inputs)
