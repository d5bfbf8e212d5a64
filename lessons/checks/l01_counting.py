"""Checks of the answers to lesson 01."""

from __future__ import annotations

import math
from typing import Any

from minillm.testing.properties import check, st
from minillm.training.baselines import WittenBell

LETTERS = "abcd"
# Few different letters, so that contexts come up again; all characters now and then, for surprises.
texts = st.text(LETTERS, max_size=30) | st.text(max_size=12)
counts_of_letters = st.dictionaries(st.sampled_from(LETTERS), st.integers(1, 50))
amounts = st.floats(0.01, 10)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, str]:
    """A text that is not empty, and a context: a piece of the text, or that piece backwards, which may not occur."""
    text = draw(texts.filter(bool))
    start, length = draw(st.integers(0, len(text) - 1)), draw(st.integers(0, 3))
    piece = text[start : start + length]
    return text, piece[::-1] if draw(st.booleans()) else piece


def alphabet_of(text: str) -> str:
    """The characters of a text, and one that it lacks."""
    return "".join(sorted({*text, "\ue000"}))


@check("add_k: the probabilities of all characters sum to 1", "the denominator: N + k V, with V for the whole alphabet",
       counts=counts_of_letters, k=amounts)  # fmt: skip
def add_k_sums_to_one(answer: Any, counts: dict[str, int], k: float) -> None:
    """A distribution over the whole alphabet."""
    found = answer.add_k(counts, LETTERS, k)
    assert set(found) == set(LETTERS), f"expected one entry for each of {LETTERS!r}, got {sorted(found)}"
    assert math.isclose(sum(found.values()), 1), f"the sum is {sum(found.values())}"


@check("add_k: probabilities stand to each other as the counts plus k", "the numerator: C(c) + k",
       counts=counts_of_letters, k=amounts)  # fmt: skip
def add_k_keeps_ratios(answer: Any, counts: dict[str, int], k: float) -> None:
    """The ratio of two probabilities is that of the smoothed counts."""
    found = answer.add_k(counts, LETTERS, k)
    first = found["a"] / (counts.get("a", 0) + k)
    for c in LETTERS:
        assert math.isclose(found[c] / (counts.get(c, 0) + k), first), f"{c!r} has {found[c]}, 'a' has {found['a']}"


@check("witten_bell: the probabilities sum to 1 and none is 0", "T(h) stands twice: above, and below beside C(h)",
       text=texts, context=st.text(LETTERS, max_size=3))  # fmt: skip
def witten_bell_sums_to_one(answer: Any, text: str, context: str) -> None:
    """A distribution in which everything is possible."""
    found = answer.witten_bell(text, context, alphabet_of(text))
    assert set(found) == set(alphabet_of(text)), "expected one entry for each character of the alphabet"
    assert min(found.values()) > 0, f"{min(found, key=found.__getitem__)!r} has probability 0"
    assert math.isclose(sum(found.values()), 1), f"the sum is {sum(found.values())}"


@check("witten_bell: every probability is that of the fast version",
       "overlapping occurrences count; the last place of the text has no follower; a context that was never followed "
       "by anything passes the shorter one's probabilities on",
       place=places())  # fmt: skip
def witten_bell_equals_the_library(answer: Any, place: tuple[str, str]) -> None:
    """minillm's own version, which sorts arrays, gives the same numbers."""
    text, context = place
    alphabet = alphabet_of(text)
    found = answer.witten_bell(text, context, alphabet)
    model = WittenBell(order=len(context) + 1).fit(text)
    for c in alphabet:
        wanted = float(model.probabilities(context + c)[-1, -1])
        assert math.isclose(found[c], wanted, rel_tol=1e-9), f"P({c!r} | {context!r}) is {found[c]}, expected {wanted}"


@check("bits_per_character: uniform guesses cost log2 V", "-log2 of one probability, then the mean",
       v=st.integers(1, 300), n=st.integers(1, 5))  # fmt: skip
def uniform_bits(answer: Any, v: int, n: int) -> None:
    """A closed form."""
    found = answer.bits_per_character([1 / v] * n)
    assert math.isclose(found, math.log2(v), abs_tol=1e-12), f"expected log2 {v} = {math.log2(v)}, got {found}"


@check("bits_per_character: the bits of a text add up, place by place", "the mean of the logarithms",
       p=st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))  # fmt: skip
def bits_of_the_product(answer: Any, p: list[float]) -> None:
    """N times the mean is the cost of the product of all guesses."""
    found, wanted = answer.bits_per_character(p), -math.log2(math.prod(p)) / len(p)
    assert math.isclose(found, wanted, abs_tol=1e-9), f"expected {wanted}, got {found}"


@check("bits_per_character: one impossible guess costs infinitely much, no guess costs nothing",
       "two cases before the formula")  # fmt: skip
def edges(answer: Any) -> None:
    """Zero, and nothing."""
    assert answer.bits_per_character([0.5, 0.0]) == math.inf
    assert answer.bits_per_character([]) == 0
