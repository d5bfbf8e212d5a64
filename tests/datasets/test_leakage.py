"""The fast shingle hashes agree with sets of substrings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets.leakage import leak, purge, shingle_hashes

words = st.text(alphabet="ab \n\U0001f600", max_size=40)


@given(words, words, st.integers(1, 9))
def test_hashes_are_equal_exactly_where_runs_are(one: str, two: str, size: int) -> None:
    runs = [text[i : i + size] for text in (one, two) for i in range(len(text) - size + 1)]
    hashes = [h for text in (one, two) for h in shingle_hashes(text, size).tolist()]
    assert len(runs) == len(hashes)
    assert len(set(runs)) == len(set(hashes)) == len(set(zip(runs, hashes, strict=True)))


@given(words, words, st.integers(1, 9))
def test_leak_equals_the_direct_count(train: str, held: str, size: int) -> None:
    known = {train[i : i + size] for i in range(len(train) - size + 1)}
    runs = [held[i : i + size] for i in range(len(held) - size + 1)]
    expected = sum(run in known for run in runs) / len(runs) if runs else 0.0
    assert leak(train, held, size) == pytest.approx(expected)


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=12), max_size=12), st.text(alphabet="abc", max_size=30))
def test_after_a_purge_nothing_leaks(texts: list[str], held: str) -> None:
    stays = purge(texts, held, size=5)
    kept = [text for text, stay in zip(texts, stays, strict=True) if stay]
    assert leak("\n\n".join(kept), held, size=5) == 0
    assert held not in kept


def test_a_purge_takes_only_what_overlaps() -> None:
    held = "the quick brown fox jumps over the lazy dog and then it goes home to sleep"
    texts = ["nothing of the sort " * 4, "so " + held[:60], "short", held[5:], "  the   quick "]
    assert purge(texts, held + "\n\nshort") == [True, False, False, False, True]


def test_a_shingle_that_reaches_over_the_joint_is_found() -> None:
    held = "a" * 30 + "\n\n" + "b" * 30
    assert purge(["x" * 60, "a" * 30, "b" * 30, "y" * 60], held) == [True, False, False, True]
    assert purge(["c" + "a" * 26, "b" * 26 + "c"], held) == [False, False]
