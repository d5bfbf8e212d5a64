"""Random numbers: seeds, states, named streams, and that what is drawn is distributed as it says."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.utils.data import DataLoader

DRAWS: dict[str, Callable[..., minillm.Tensor]] = {
    "rand": lambda **g: minillm.rand(5, **g),
    "randn": lambda **g: minillm.randn(5, **g),
    "randint": lambda **g: minillm.randint(0, 1000, (5,), **g),
    "randperm": lambda **g: minillm.randperm(20, **g),
    "normal": lambda **g: minillm.normal(0.0, 1.0, (5,), **g),
    "bernoulli": lambda **g: minillm.bernoulli(minillm.full((60,), 0.5), **g),
    "multinomial": lambda **g: minillm.multinomial(minillm.ones(50), 20, replacement=True, **g),
    "without replacement": lambda **g: minillm.multinomial(minillm.ones(50), 20, **g),
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@every_draw
def test_a_seed_decides_everything(draw: Callable) -> None:
    one, two, other = (draw(generator=minillm.Generator().manual_seed(s)).tolist() for s in (3, 3, 4))
    assert one == two != other
    minillm.manual_seed(3)
    assert draw().tolist() == one  # the default generator is one like any other
    assert minillm.initial_seed() == 3


@every_draw
def test_a_state_goes_on_where_it_was_taken(draw: Callable) -> None:
    draw()
    state = json.loads(json.dumps(minillm.get_rng_state()))  # it survives a file
    first = [draw().tolist(), draw().tolist()]
    minillm.set_rng_state(state)
    assert [draw().tolist(), draw().tolist()] == first
    minillm.set_rng_state(state)  # a state can be used again
    assert draw().tolist() == first[0]


@every_draw
def test_nobody_elses_random_state_is_touched(draw: Callable) -> None:
    before = repr(np.random.get_state(legacy=False)), random.getstate()  # noqa: NPY002
    draw()
    minillm.nn.Linear(3, 3)
    minillm.nn.functional.dropout(minillm.ones(9), 0.5)
    next(iter(DataLoader(range(9), 3, shuffle=True)))
    assert (repr(np.random.get_state(legacy=False)), random.getstate()) == before  # noqa: NPY002


def test_a_foreign_draw_would_be_seen() -> None:
    """The counter moves with every draw, the words behind it only now and then: both are compared above."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    np.random.random()  # noqa: NPY002
    assert repr(np.random.get_state(legacy=False)) != repr(state)  # noqa: NPY002
    np.random.set_state(state)  # noqa: NPY002


@given(st.lists(st.sampled_from(["init", "dropout", "shuffle", "default"]), max_size=8), st.integers(0, 2**64))
def test_streams_do_not_see_each_other(drawn: list[str], seed: int) -> None:
    busy, quiet = minillm.Generator().manual_seed(seed), minillm.Generator().manual_seed(seed)
    for name in drawn:
        busy.stream(name).random(3)
    assert busy.stream("sampling").random() == quiet.stream("sampling").random()
    assert quiet.stream("a").random() != quiet.stream("b").random()


@pytest.mark.parametrize("noise", ["dropout", "shuffle", "init"])
def test_one_use_does_not_shift_another(noise: str) -> None:
    """Every use draws from a stream of its own: masks, orders and first weights do not change what is sampled."""
    uses: dict[str, Callable[[], object]] = {
        "dropout": lambda: minillm.nn.functional.dropout(minillm.ones(50), 0.5).tolist(),
        "shuffle": lambda: [batch.tolist() for batch in DataLoader(range(20), 4, shuffle=True)],
        "init": lambda: minillm.nn.Linear(3, 3).weight.tolist(),
        "default": lambda: minillm.rand(3).tolist(),
    }
    found = []
    for disturbed in (False, True):
        minillm.manual_seed(5)
        if disturbed:
            uses[noise]()
        found.append({name: use() for name, use in uses.items() if name != noise})
    assert found[0] == found[1]


def test_a_fresh_generator_is_always_the_same_and_seed_is_not() -> None:
    assert minillm.rand(3, generator=minillm.Generator()).tolist() == minillm.rand(
        3, generator=minillm.Generator()
    ).tolist()  # fmt: skip
    generator = minillm.Generator()
    assert generator.seed() != generator.seed()
    assert generator.initial_seed() == generator.get_state()["seed"]


def chi_square(counts: np.ndarray, p: np.ndarray) -> float:
    expected = counts.sum() * p / p.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_in_proportion(replacement: bool) -> None:
    p = np.array([1.0, 2.0, 3.0, 0.0, 4.0])
    generator = minillm.Generator().manual_seed(5)
    rows = minillm.tensor(np.tile(p, (4000, 1)))
    drawn = minillm.multinomial(rows, 1, replacement, generator=generator).numpy().ravel()
    counts = np.bincount(drawn, minlength=5)
    assert counts[3] == 0
    assert chi_square(counts[p > 0], p[p > 0]) < 16.3  # 3 degrees of freedom: 1 in 1,000
    several = minillm.multinomial(rows[:50], 4, generator=generator).numpy()
    assert all(sorted(row) == [0, 1, 2, 4] for row in several)


@pytest.mark.parametrize("k", [2, 3])
def test_draws_without_replacement_follow_one_after_another(k: int) -> None:
    """P(i, j, ...) = p_i * p_j / (1 - p_i) * ...: each draw is in proportion to what is left."""
    p = np.array([0.1, 0.2, 0.3, 0.4])
    n = 6000
    rows = minillm.tensor(np.tile(p * 7, (n, 1)))  # weights need not sum to 1
    drawn = minillm.multinomial(rows, k, generator=minillm.Generator().manual_seed(11)).numpy()
    orders = list(itertools.permutations(range(4), k))
    expected = []
    for order in orders:
        left, chance = 1.0, 1.0
        for i in order:
            chance, left = chance * p[i] / left, left - p[i]
        expected.append(chance)
    assert math.isclose(sum(expected), 1)
    counts = np.array([(drawn == order).all(axis=1).sum() for order in orders])
    assert counts.sum() == n  # no order names a position twice
    assert chi_square(counts, np.array(expected)) < {2: 31.3, 3: 49.7}[k]  # 11 and 23 degrees of freedom: 1 in 1,000


def test_permutations_are_all_as_likely() -> None:
    generator = minillm.Generator().manual_seed(13)
    drawn = Counter(tuple(minillm.randperm(4, generator=generator).tolist()) for _ in range(4800))
    assert set(drawn) == set(itertools.permutations(range(4)))
    assert chi_square(np.array(list(drawn.values())), np.ones(24)) < 49.7  # 23 degrees of freedom
    for n in (0, 1, 50):
        assert sorted(minillm.randperm(n, generator=generator).tolist()) == list(range(n))


def test_coins_are_independent_and_as_biased_as_asked() -> None:
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    n = 20_000
    generator = minillm.Generator().manual_seed(17)
    thrown = minillm.bernoulli(minillm.tensor(np.tile(p, (n, 1))), generator=generator).numpy()
    assert set(np.unique(thrown)) == {0.0, 1.0} and not thrown[:, 0].any() and thrown[:, 4].all()
    for i in (1, 2, 3):
        ones = thrown[:, i].sum()
        assert chi_square(np.array([n - ones, ones]), np.array([1 - p[i], p[i]])) < 10.9  # 1 degree of freedom
    pairs = np.bincount((2 * thrown[:, 1] + thrown[:, 2]).astype(int), minlength=4)
    assert chi_square(pairs, np.array([0.45, 0.45, 0.05, 0.05])) < 16.3  # 3 degrees of freedom


def test_densities() -> None:
    generator = minillm.Generator().manual_seed(7)
    n = 20_000
    u = minillm.rand(n, generator=generator, dtype=minillm.float64).numpy()
    assert u.min() >= 0 and u.max() < 1
    assert chi_square(np.histogram(u, 10, (0, 1))[0], np.ones(10)) < 27.9  # 9 degrees of freedom
    z = minillm.randn(n, generator=generator, dtype=minillm.float64).numpy()
    assert abs(z.mean()) < 4 / math.sqrt(n) and abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    i = minillm.randint(-2, 3, (n,), generator=generator).numpy()
    assert chi_square(np.bincount(i + 2), np.ones(5)) < 18.5  # 4 degrees of freedom
    b = minillm.bernoulli(minillm.full((n,), 0.3), generator=generator).numpy()
    assert abs(b.mean() - 0.3) < 4 * math.sqrt(0.21 / n)


def test_rand_in_small_types_stays_below_1() -> None:
    assert minillm.rand(100_000, dtype=minillm.float32).max().item() < 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: minillm.multinomial(minillm.tensor([1.0, -1.0]), 1), "negative"),
        (lambda: minillm.multinomial(minillm.tensor([1.0, math.nan]), 1), "NaN"),
        (lambda: minillm.multinomial(minillm.zeros(3), 1), "every weight of a row is 0"),
        (lambda: minillm.multinomial(minillm.tensor([1.0, 0.0]), 2), "cannot draw 2 different"),
        (lambda: minillm.multinomial(minillm.ones(2), 0), "1 or more, got 0"),
        (lambda: minillm.multinomial(minillm.ones(1, 1, 2), 1), r"got shape \(1, 1, 2\)"),
        (lambda: minillm.randint(3, 3, (1,)), "low < high, got 3 and 3"),
        (lambda: minillm.bernoulli(minillm.tensor([1.5])), "from 0 to 1"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cannot_be_drawn(call: Callable, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call()
