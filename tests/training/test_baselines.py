"""The fast baselines equal direct ones, and are what they claim to be: distributions, and code lengths."""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import datasets
from minillm.training.baselines import (
    NaiveBayes,
    WittenBell,
    compressed_bits_per_byte,
    label_baselines,
    majority_accuracy,
    text_baselines,
)

texts = st.text(alphabet="abc\u00e4\u4e2d\U0001f600", min_size=1, max_size=40)
units = st.sampled_from(["character", "byte"])


class WittenBellNaive:
    """The formula with dicts, one symbol at a time."""

    def __init__(self, order: int, symbols: list, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        self.counts: dict[tuple, Counter] = defaultdict(Counter)
        for n in range(order):
            for i in range(n, len(symbols)):
                self.counts[tuple(symbols[i - n : i])][symbols[i]] += 1

    def p(self, history: tuple, symbol: object, n: int) -> float:
        if n == 0:
            return 1 / self.vocab_size
        history = history[-(n - 1) :] if n > 1 else ()
        if len(history) < n - 1:
            return self.p(history, symbol, n - 1)
        seen = self.counts.get(history)
        lower = self.p(history, symbol, n - 1)
        if not seen:
            return lower
        return (seen[symbol] + len(seen) * lower) / (sum(seen.values()) + len(seen))


def symbols_of(text: str, unit: str) -> list:
    return list(text) if unit == "character" else list(text.encode("utf-8"))


@given(texts, texts, st.integers(1, 7), units)
def test_witten_bell_equals_the_formula(train: str, test: str, order: int, unit: str) -> None:
    fast = WittenBell(order, unit).fit(train)
    known = set(train)
    symbols = symbols_of(test, unit) if unit == "byte" else [c if c in known else "?" for c in test]
    size = 256 if unit == "byte" else len(known) + 1
    assert fast.vocab_size == size
    naive = WittenBellNaive(order, symbols_of(train, unit), size)
    expected = [[naive.p(tuple(symbols[:i]), c, n) for i, c in enumerate(symbols)] for n in range(order + 1)]
    np.testing.assert_allclose(fast.probabilities(test), expected, rtol=1e-12)
    np.testing.assert_allclose(fast.bits(test), -np.log2(expected).mean(axis=1), rtol=1e-12)


@given(texts, st.text(alphabet="abc\u00e4\u4e2d", max_size=8), st.integers(1, 7))
def test_witten_bell_is_a_distribution_after_every_history(train: str, history: str, order: int) -> None:
    model = WittenBell(order).fit(train)
    unknown = "\u00ff"  # stands for every character that the training text lacks
    last = [model.probabilities(history + c)[:, -1] for c in [*sorted(set(train)), unknown]]
    np.testing.assert_allclose(np.sum(last, axis=0), 1, rtol=1e-12)
    assert (np.array(last) > 0).all()


def test_witten_bell_by_bytes_is_a_distribution() -> None:
    model = WittenBell(4, "byte").fit("the cat sat on the mat, the cat sat")
    tails = [bytes([b]).decode("ascii") for b in range(128)]
    total = sum(model.probabilities("the c" + c)[:, -1] for c in tails)
    unseen = 128 * model.probabilities("the c\u00ff")[:, -2]  # 0xc3: a byte that is in no training text
    np.testing.assert_allclose(total + unseen, 1, rtol=1e-12)


def test_witten_bell_by_hand() -> None:
    # "abab": C(a) = C(b) = 2, T = 2, V = 3 with the unknown one. After a: b twice, T = 1.
    p1 = (2 + 2 / 3) / (4 + 2)
    p2 = (2 + 1 * p1) / (2 + 1)
    table = WittenBell(2).fit("abab").probabilities("ab")
    np.testing.assert_allclose(table, [[1 / 3, 1 / 3], [p1, p1], [p1, p2]])


@pytest.mark.parametrize("unit", ["character", "byte"])
def test_a_text_that_is_known_by_heart_costs_little(unit: str) -> None:
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("abcdefgh"), 2000))
    bits = WittenBell(7, unit).fit(text).bits(text)
    assert bits[1] == pytest.approx(3, abs=0.02)
    assert bits[7] < 1.2


def test_large_alphabets_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    text = "".join(map(chr, rng.integers(0x4E00, 0x4E00 + 20_000, 50_000)))
    bits = WittenBell(7).fit(text).bits(text[:3000])
    assert np.isfinite(bits).all() and bits[7] < bits[1] < bits[0]


def test_more_than_a_million_characters_take_seconds() -> None:
    text = ("".join(map(chr, 97 + np.random.default_rng(0).integers(0, 26, 100_000)))) * 18
    begin = time.perf_counter()
    WittenBell(7).fit(text).bits(text[:36_000])
    assert time.perf_counter() - begin < 20  # 0.9 s on an idle core


@pytest.mark.parametrize("method", ["gzip", "lzma"])
def test_compressors_measure_what_the_validation_adds(method: str) -> None:
    rng = np.random.default_rng(0)
    noise, other = (rng.integers(32, 127, 5000, dtype=np.uint8).tobytes().decode("ascii") for _ in range(2))
    entropy = math.log2(95)
    assert entropy < compressed_bits_per_byte(noise, other, method) < entropy + 0.6
    assert compressed_bits_per_byte(noise, noise, method) < 0.3


def test_lzma_remembers_and_gzip_forgets() -> None:
    rng = np.random.default_rng(1)
    start, rest = (rng.integers(32, 127, n, dtype=np.uint8).tobytes().decode("ascii") for n in (5000, 60_000))
    assert compressed_bits_per_byte(start + rest, start, "lzma") < 0.5
    assert compressed_bits_per_byte(start + rest, start, "gzip") > 6


def test_gzip_equals_the_difference_of_sizes() -> None:
    first, second = "the cat sat on the mat. " * 20, "the dog sat on the cat\u00e4."
    sizes = [len(gzip.compress(t.encode("utf-8"), mtime=0)) for t in (first, first + second)]
    bits = 8 * (sizes[1] - sizes[0]) / len(second.encode("utf-8"))
    assert compressed_bits_per_byte(first, second, "gzip") == pytest.approx(bits)


@given(texts, texts, units)
def test_bits_per_byte_and_per_character_are_one_total(train: str, held: str, unit: str) -> None:
    report = text_baselines(train, held, order=3, unit=unit)
    n_bytes = len(held.encode("utf-8"))
    assert json.loads(json.dumps(report)) == report
    assert [entry["order"] for entry in report["ngram"]] == [1, 2, 3]
    bits = WittenBell(3, unit).fit(train).bits(held)
    for entry in report["ngram"]:
        assert entry["bits_per_character"] * len(held) == pytest.approx(entry["bits_per_byte"] * n_bytes)
        own = entry["bits_per_byte" if unit == "byte" else "bits_per_character"]
        assert own == pytest.approx(bits[entry["order"]])
    assert report["best_ngram"]["bits_per_byte"] == min(entry["bits_per_byte"] for entry in report["ngram"])


def test_the_line_of_the_real_corpus_lies_in_its_band() -> None:
    corpus = datasets.load("stdlib-en")
    report = text_baselines(corpus.train, corpus.validation)
    line = [entry["bits_per_byte"] for entry in report["ngram"]]
    np.testing.assert_allclose(line, [4.7, 3.6, 2.75, 2.2, 2.05, 2.05, 2.1], atol=0.25)  # another Python: another text
    assert 1.6 < report["lzma"] < 2.2 < report["gzip"] < 2.8


def test_the_real_labels_lie_in_their_band_and_the_random_split_flatters() -> None:
    scores = {}
    for rule in ("files", "random"):
        corpus = datasets.load("docstring-topics", split=rule)
        scores[rule] = label_baselines(corpus.train, corpus.test, len(corpus.labels))
        assert scores[rule]["majority"] < 0.3
    assert 0.45 < scores["files"]["naive_bayes"] < 0.75
    assert scores["random"]["naive_bayes"] > scores["files"]["naive_bayes"] + 0.08


WORDS = st.lists(st.sampled_from("red Green blue_ \u00e4 7".split()), max_size=5).map(", ".join)


@given(st.lists(st.tuples(WORDS, st.integers(0, 2)), min_size=1, max_size=8), WORDS, st.floats(0.01, 3))
def test_naive_bayes_equals_the_formula(train: list[tuple[str, int]], text: str, k: float) -> None:
    model = NaiveBayes(k).fit([t for t, _ in train], [y for _, y in train], n_labels=3)
    vocabulary = {w for t, _ in train for w in re.findall(r"\w+", t.lower())}
    joint = []
    for y in range(3):
        words = [w for t, label in train if label == y for w in re.findall(r"\w+", t.lower())]
        p = sum(label == y for _, label in train) / len(train)
        for w in re.findall(r"\w+", text.lower()):
            if w in vocabulary:
                p *= (words.count(w) + k) / (len(words) + k * len(vocabulary))
        joint.append(p)
    got = np.exp(model.log_proba([text, text]))
    np.testing.assert_allclose(got, [np.array(joint) / sum(joint)] * 2, rtol=1e-9, atol=1e-300)
    assert model.predict([text])[0] == got[0].argmax()


def test_naive_bayes_learns_what_can_be_learned() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    examples = [" ".join(rng.choice([f"own{y}", "a", "b", "c"], 10)) for y in labels]
    model = NaiveBayes().fit(examples[:200], labels[:200])
    assert model.accuracy(examples[200:], labels[200:]) > 0.9
    assert NaiveBayes().fit(["", "x"], [0, 1]).predict([""]).tolist() == [0]


def test_majority() -> None:
    assert majority_accuracy([2, 2, 1], [2, 1, 2, 0]) == 0.5
    assert majority_accuracy([1, 0], [0, 0, 1]) == 2 / 3  # of equals the smallest


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: WittenBell(0), "order must be >= 1, got 0"),
        (lambda: WittenBell(2, "word"), "unit must be 'character' or 'byte'"),
        (lambda: WittenBell(2).fit(""), "no text to count"),
        (lambda: text_baselines("a", ""), "no validation text"),
        (lambda: compressed_bits_per_byte("a", "", "gzip"), "no validation text"),
        (lambda: compressed_bits_per_byte("a", "b", "zip"), "method must be 'gzip' or 'lzma'"),
        (lambda: majority_accuracy([], [1]), "at least one training label"),
        (lambda: NaiveBayes(0), "k must be a number above 0"),
        (lambda: NaiveBayes(float("nan")), "k must be a number above 0"),
        (lambda: NaiveBayes().fit([], []), "at least one"),
        (lambda: NaiveBayes().fit(["a"], [1, 2]), "one label per text"),
        (lambda: NaiveBayes().fit(["a"], [3], n_labels=3), r"must lie in 0\.\.2, got 3\.\.3"),
        (lambda: NaiveBayes().fit(["a"], [-1]), "must lie in"),
    ],
)
def test_bad_arguments_are_refused(call, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        call()
