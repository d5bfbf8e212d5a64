"""Splits are disjoint, complete, repeatable, and keep together what belongs together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.datasets import leak, split_examples, split_text
from minillm.datasets.splitting import first_of_kind, paragraphs

LINES = st.lists(st.text(alphabet="abc \t", max_size=5), max_size=20)


@given(LINES)
def test_paragraphs_hold_every_word_and_no_blank_line(lines: list[str]) -> None:
    found = paragraphs("\n".join(lines))
    assert " ".join(found).split() == "\n".join(lines).split()
    assert all(line.strip() for paragraph in found for line in paragraph.split("\n"))


def test_first_of_kind_ignores_white_space() -> None:
    assert first_of_kind(["a", "b", " a\n", "a b", "a  b", "b"]) == [True, True, False, True, False, False]


def text_of(n: int, seed: int = 0) -> str:
    """n different paragraphs of random words."""
    rng = np.random.default_rng(seed)
    return "\n\n".join(f"{i}: " + " ".join(str(w) for w in rng.integers(0, 10**9, 12)) for i in range(n))


@given(st.integers(2, 300), st.integers(0, 3), st.sampled_from(["blocks", "paragraphs"]))
def test_text_split_loses_and_doubles_nothing(n: int, seed: int, rule: str) -> None:
    text = text_of(n)
    parts = split_text(text, rule, seed=seed)
    train, held = parts.train.split("\n\n"), parts.validation.split("\n\n")
    assert sorted(train + held) == sorted(text.split("\n\n"))
    assert parts.duplicates == parts.purged == parts.leak == 0
    order = {p: i for i, p in enumerate(text.split("\n\n"))}
    for part in (train, held):
        assert [order[p] for p in part] == sorted(order[p] for p in part)
    assert split_text(text, rule, seed=seed) == parts


def test_blocks_hold_twenty_paragraphs_that_stay_together() -> None:
    text = text_of(1000)
    held = split_text(text, seed=1).validation.split("\n\n")
    numbers = [int(p.split(":")[0]) for p in held]
    assert len(numbers) == 100
    assert all(set(range(i // 20 * 20, i // 20 * 20 + 20)) <= set(numbers) for i in numbers)


def test_another_seed_gives_another_split() -> None:
    assert len({split_text(text_of(400), seed=seed).validation for seed in range(5)}) == 5


def test_repeats_leak_by_single_paragraphs_and_not_by_blocks() -> None:
    text = text_of(300) + "\n\n" + text_of(300)
    loose, tight = split_text(text, "paragraphs"), split_text(text, "blocks")
    assert loose.leak > 0.5
    assert tight.leak == 0 and tight.duplicates == 300


def test_near_repeats_are_purged_from_training() -> None:
    common = "the same fifty characters and more stand in every paragraph of this text, again"
    text = "\n\n".join(
        f"{number} {common}" if number % 7 == 0 else p for number, p in enumerate(text_of(400).split("\n\n"))
    )
    parts = split_text(text)
    assert parts.purged > 40 and parts.leak == 0
    assert leak(parts.train, parts.validation) == 0


def test_tail_is_the_end_of_the_text() -> None:
    text = "".join(chr(97 + i % 26) for i in range(1000))
    parts = split_text(text, "tail", validation=0.25)
    assert parts.train + parts.validation == text and len(parts.validation) == 250
    assert parts.leak == 1


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: split_text("a\n\nb", "topics"), "unknown split 'topics' of a text; choose one of blocks"),
        (lambda: split_text("a\n\nb", validation=0), "must lie between 0 and 1, got 0"),
        (lambda: split_text("a\n\nb", validation=1.0), "must lie between 0 and 1, got 1.0"),
        (lambda: split_text("only one"), "1 different paragraph"),
        (lambda: split_text(""), "0 different paragraph"),
        (lambda: split_text("a", "tail"), "leaves 0 to train on and 1 to validate"),
    ],
)
def test_text_that_cannot_be_split_is_refused(call, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        call()


@given(st.lists(st.integers(0, 3), min_size=30, max_size=200), st.integers(0, 5), st.booleans())
def test_examples_are_dealt_completely(labels: list[int], seed: int, grouped: bool) -> None:
    groups = [i % 10 for i in range(len(labels))] if grouped else None
    parts = split_examples(labels, groups=groups, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    again = split_examples(labels, groups=groups, seed=seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    if groups is not None:
        sides = [{groups[i] for i in part} for part in parts]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_every_label_has_its_share_everywhere() -> None:
    labels = [0] * 1000 + [1] * 100 + [2] * 10
    for part, share in zip(split_examples(labels, (0.6, 0.3, 0.1)), (0.6, 0.3, 0.1), strict=True):
        counts = Counter(np.array(labels)[part].tolist())
        assert abs(counts[0] - 1000 * share) <= 1 and abs(counts[1] - 100 * share) <= 1
        assert abs(counts[2] - 10 * share) <= 1


def test_groups_of_unlike_size_come_near_the_shares() -> None:
    sizes = np.random.default_rng(0).geometric(0.05, 60)
    groups = np.repeat(np.arange(60), sizes).tolist()
    labels = [group % 3 for group in groups]
    for seed in range(5):
        shares = [len(part) / len(labels) for part in split_examples(labels, groups=groups, seed=seed)]
        assert abs(np.array(shares) - (0.8, 0.1, 0.1)).max() < 0.04
    firsts = {tuple(split_examples(labels, groups=groups, seed=seed)[1].tolist()) for seed in range(5)}
    assert len(firsts) == 5


def test_a_rare_label_is_in_training_first() -> None:
    parts = split_examples([0] * 50 + [1], seed=2)
    assert 50 in parts[0]


def test_a_part_without_a_share_stays_empty() -> None:
    assert [len(p) for p in split_examples([0, 1] * 10, (0.5, 0.0, 0.5))] == [10, 0, 10]


@pytest.mark.parametrize(
    ("labels", "fractions", "groups", "fragment"),
    [
        ([0, 1], (0.5, 0.4), None, "sum to 1"),
        ([0, 1], (0.0, 1.0), None, "the first > 0"),
        ([0, 1], (1.5, -0.5), None, "must be >= 0"),
        ([0, 1], (1.0,), None, "sum to 1"),
        ([0, 1], (0.8, 0.1, 0.1), None, "2 examples in 2 groups with 2 labels are too few"),
        ([0, 1] * 10, (0.8, 0.1, 0.1), [0] * 20, "20 examples in 1 groups"),
        ([0, 1], (0.5, 0.5), [0], "2 labels but 1 groups"),
    ],
)
def test_shares_that_do_not_fit_are_refused(labels, fractions, groups, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        split_examples(labels, fractions, groups=groups)


def test_shares_are_numbers() -> None:
    with pytest.raises(ValueError, match=r"sum to 1; got .nan, 0.5, 0.5"):
        split_examples([0, 1] * 20, [float("nan"), 0.5, 0.5])
