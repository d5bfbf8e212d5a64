"""The random numbers are SplitMix64's, and are drawn by their weights."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets.microworld import SplitMix64


def test_the_numbers_of_the_reference_program() -> None:
    rng = SplitMix64.at(1234567)  # the first outputs of Vigna's splitmix64.c from this state
    assert [rng.next() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.integers(), st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=3))
def test_a_stream_is_a_function_of_seed_and_names(seed: int, names: list[int | str]) -> None:
    one, two = SplitMix64(seed, *names), SplitMix64(seed, *names)
    assert [one.next() for _ in range(3)] == [two.next() for _ in range(3)]
    assert SplitMix64(seed, *names, "x").next() != SplitMix64(seed, *names).next()
    assert SplitMix64(seed + 1, *names).next() != SplitMix64(seed, *names).next()


@given(st.integers(0, 2**64 - 1), st.integers(1, 10**6))
def test_below_stays_below(state: int, n: int) -> None:
    assert 0 <= SplitMix64.at(state).below(n) < n


def test_picks_follow_the_weights() -> None:
    weights, rng, n = [1, 5, 2, 12], SplitMix64(0, "test"), 20_000
    counts = Counter(rng.pick(list(accumulate(weights))) for _ in range(n))
    for i, weight in enumerate(weights):
        p = weight / 20
        assert abs(counts[i] - n * p) < 4 * (n * p * (1 - p)) ** 0.5  # four standard deviations
