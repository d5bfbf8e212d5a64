"""What a model has to beat: n-grams and compressors for text, the most frequent label and naive Bayes for labels.

A loss says little alone. Beside the loss of a count of n-grams, made from the same text in seconds, it says what the
network has learned that counting has not.
"""

from __future__ import annotations

import gzip
import lzma
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

_WORD = re.compile(r"\w+")


class WittenBell:
    """Interpolated n-grams of characters or bytes, of all orders up to ``order``, smoothed as Witten and Bell propose.

    ``P_n(c | h) = (C(hc) + T(h) P_{n-1}(c | h')) / (C(h) + T(h))``

    where h is the n - 1 symbols before c, h' is h without its first symbol, C counts in the training text, and T(h) is
    the number of different symbols that followed h. ``P_0 = 1 / V``. Where h was never seen, ``P_n = P_{n-1}``.

    The n-grams of order n are the children of those of order n - 1: a node's number is its place in the sorted array of
    ``parent * V + symbol``. So each order takes one sort of one array of integers, whatever the alphabet.

    Args:
        order: the highest order; order 1 looks at no context.
        unit: "character" or "byte" (of the UTF-8 text).

    Source: Witten and Bell, The zero-frequency problem, IEEE Transactions on Information Theory 37(4), 1991; the
    interpolated form: Chen and Goodman, An empirical study of smoothing techniques for language modeling, 1998.

    >>> model = WittenBell(order=2).fit("abababab")
    >>> bits = model.bits("abab")
    >>> bool(bits[2] < bits[1])
    True
    """

    def __init__(self, order: int = 7, unit: str = "character") -> None:
        if order < 1:
            raise ValueError(f"WittenBell: order must be >= 1, got {order}")
        if unit not in ("character", "byte"):
            raise ValueError(f"WittenBell: unit must be 'character' or 'byte', got {unit!r}")
        self.order = order
        self.unit = unit

    def fit(self, text: str) -> WittenBell:
        """Count the n-grams of a text. Returns the model.

        Characters that the text lacks share one more symbol: V is the number of different characters plus 1 (256 for
        bytes).
        """
        raw = self._codes(text)
        if len(raw) == 0:
            raise ValueError("WittenBell: there is no text to count")
        self._alphabet = np.arange(256) if self.unit == "byte" else np.unique(raw)
        self.vocab_size = len(self._alphabet) + (self.unit == "character")
        symbols = self._symbols(raw)
        self._levels: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        parents, n_parents = np.zeros(len(symbols), dtype=np.int64), 1  # order 1: one parent, the empty context
        for n in range(1, self.order + 1):
            keys = parents * self.vocab_size + symbols[n - 1 :]
            nodes, counts = _unique(keys)
            of = nodes // self.vocab_size  # the parent of each node
            totals = np.bincount(of, weights=counts, minlength=n_parents)
            types = np.bincount(of, minlength=n_parents)
            self._levels.append((nodes, counts, totals, types))
            if n == self.order or len(keys) < 2:
                break
            parents, n_parents = np.searchsorted(nodes, keys[:-1]), len(nodes)
        return self

    def probabilities(self, text: str) -> np.ndarray:
        """Return the probability of each symbol of a text given those before it, for each order.

        The first symbols have less context than the order allows; they get the probability of the order that they have
        context for.

        Shape:
            (order + 1, N): row n holds order n, row 0 is uniform; N symbols.
        """
        symbols = self._symbols(self._codes(text))
        table = np.empty((self.order + 1, len(symbols)))
        p = np.full(len(symbols), 1 / self.vocab_size)
        table[0] = p
        parents = np.zeros(len(symbols), dtype=np.int64)  # of the positions from n - 1 on; -1: context never seen
        for n, (nodes, counts, totals, types) in enumerate(self._levels, start=1):
            keys = np.where(parents >= 0, parents * self.vocab_size + symbols[n - 1 :], -1)
            place = np.minimum(np.searchsorted(nodes, keys), len(nodes) - 1)
            seen = nodes[place] == keys
            count = np.where(seen, counts[place], 0)
            # A context with no successor (it ends the training text) has totals and types 0: it counts as never seen.
            usable = (parents >= 0) & (totals[parents] > 0)
            total, kinds = totals[parents], types[parents]
            lower = p[n - 1 :]
            p = p.copy()
            mixed = (count + kinds * lower) / np.where(usable, total + kinds, 1)
            p[n - 1 :] = np.where(usable, mixed, lower)
            table[n] = p
            parents = np.where(seen, place, -1)[:-1]
        table[len(self._levels) + 1 :] = p
        return table

    def bits(self, text: str) -> np.ndarray:
        """Return the mean number of bits per symbol of a text, for each order.

        Shape:
            (order + 1,): entry n is order n; entry 0 is uniform, log2 V.
        """
        return -np.log2(self.probabilities(text)).mean(axis=1)

    def _codes(self, text: str) -> np.ndarray:
        """The characters or bytes of a text as numbers."""
        if self.unit == "byte":
            return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8).astype(np.int64)
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)

    def _symbols(self, codes: np.ndarray) -> np.ndarray:
        """The places of the codes in the alphabet; V - 1 for what it lacks."""
        place = np.minimum(np.searchsorted(self._alphabet, codes), len(self._alphabet) - 1)
        return np.where(self._alphabet[place] == codes, place, self.vocab_size - 1)


def _unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different keys, sorted, and how often each occurs."""
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[starts], np.diff(np.append(starts, len(ordered)))


def compressed_bits_per_byte(train: str, validation: str, method: str = "lzma") -> float:
    """Return how many bits a general compressor needs per byte of validation text when it has read the training text.

    ``8 (size(train + validation) - size(train)) / bytes(validation)``: what the validation text adds. gzip looks back
    over 32 kilobytes only, so nearly all of a long training text is lost on it; lzma looks back over all of it.

    Args:
        train: the training text.
        validation: the text to measure, not empty.
        method: "gzip" or "lzma".
    """
    if method not in ("gzip", "lzma"):
        raise ValueError(f"compressed_bits_per_byte: method must be 'gzip' or 'lzma', got {method!r}")
    first, second = train.encode("utf-8", "surrogatepass"), validation.encode("utf-8", "surrogatepass")
    if not second:
        raise ValueError("compressed_bits_per_byte: there is no validation text")
    sizes = []
    for data in (first, first + second):
        if method == "gzip":
            sizes.append(len(gzip.compress(data, compresslevel=9, mtime=0)))
        else:
            window = max(4096, 1 << (len(data) - 1).bit_length())
            filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": min(window, 1 << 29)}]
            sizes.append(len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)))
    return 8 * (sizes[1] - sizes[0]) / len(second)


def text_baselines(train: str, validation: str, *, order: int = 7, unit: str = "character") -> dict[str, Any]:
    """Measure what counting and compressing achieve on a validation text.

    Args:
        train: the training text.
        validation: the text to measure, not empty.
        order: the highest order of n-gram.
        unit: "character" or "byte", what an n-gram is made of. Characters that the training text lacks share one
            symbol, as in `WittenBell`; which of them it was costs nothing here.

    Returns:
        A dict for JSON: ``ngram`` (one dict per order: order, bits_per_character, bits_per_byte), ``best_ngram``
        (the one with the fewest bits), ``gzip`` and ``lzma`` (bits per byte), ``unit``, ``characters`` and ``bytes``
        of the validation text.
    """
    if not validation:
        raise ValueError("text_baselines: there is no validation text")
    n_characters, n_bytes = len(validation), len(validation.encode("utf-8", "surrogatepass"))
    model = WittenBell(order, unit).fit(train)
    total = model.bits(validation) * (n_bytes if unit == "byte" else n_characters)
    line = [
        {"order": n, "bits_per_character": float(total[n] / n_characters), "bits_per_byte": float(total[n] / n_bytes)}
        for n in range(1, order + 1)
    ]
    return {
        "unit": unit,
        "characters": n_characters,
        "bytes": n_bytes,
        "ngram": line,
        "best_ngram": min(line, key=lambda entry: entry["bits_per_byte"]),
        "gzip": compressed_bits_per_byte(train, validation, "gzip"),
        "lzma": compressed_bits_per_byte(train, validation, "lzma"),
    }


def majority_accuracy(train_labels: Sequence[int], labels: Sequence[int]) -> float:
    """Return the accuracy of always saying the most frequent training label (of equals, the smallest).

    >>> majority_accuracy([0, 1, 1], [1, 0])
    0.5
    """
    if not len(train_labels) or not len(labels):
        raise ValueError("majority_accuracy: needs at least one training label and one label to test on")
    counts = Counter(train_labels)
    guess = min(counts, key=lambda label: (-counts[label], label))
    return sum(label == guess for label in labels) / len(labels)


class NaiveBayes:
    """Multinomial naive Bayes on words.

    ``log P(y | text) = log P(y) + sum_w n_w log P(w | y) + const``, with
    ``P(w | y) = (C(w, y) + k) / (sum_v C(v, y) + k V)`` and P(y) the share of label y in training.

    Words are runs of letters, digits and underscores in lower case. Words that training lacks do not count.

    Args:
        k: the count that every word has beforehand (Laplace: 1).

    >>> model = NaiveBayes().fit(["good film", "bad film"], [1, 0])
    >>> model.predict(["a good one"]).tolist()
    [1]
    """

    def __init__(self, k: float = 0.1) -> None:
        if not (k > 0 and math.isfinite(k)):
            raise ValueError(f"NaiveBayes: k must be a number above 0, got {k}")
        self.k = k

    def fit(self, texts: Sequence[str], labels: Sequence[int], n_labels: int | None = None) -> NaiveBayes:
        """Count the words of each label. Returns the model.

        Args:
            texts: the training texts.
            labels: one label id per text, from 0.
            n_labels: how many labels there are; the largest id + 1 when None. A label without texts is never predicted.
        """
        y = np.asarray(labels, dtype=np.int64)
        if len(texts) == 0 or y.shape != (len(texts),):
            raise ValueError(f"NaiveBayes: needs one label per text and at least one, got {len(texts)}, {y.shape}")
        n = int(y.max()) + 1 if n_labels is None else n_labels
        if y.min() < 0 or y.max() >= n:
            raise ValueError(f"NaiveBayes: labels must lie in 0..{n - 1}, got {int(y.min())}..{int(y.max())}")
        words = [_WORD.findall(text.lower()) for text in texts]
        self.vocabulary = {word: i for i, word in enumerate(sorted({w for ws in words for w in ws}))}
        row, column = self._pairs(words)
        counts = np.bincount(y[row] * len(self.vocabulary) + column, minlength=n * len(self.vocabulary))
        smooth = counts.reshape(n, -1) + self.k  # (labels, words)
        self.log_likelihood = np.log(smooth / smooth.sum(axis=1, keepdims=True))
        with np.errstate(divide="ignore"):  # a label without texts: log 0 = -inf
            self.log_prior = np.log(np.bincount(y, minlength=n) / len(y))
        return self

    def log_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return log P(y | text), in nats.

        Shape:
            (texts, labels); the exponentials of a row sum to 1.
        """
        row, column = self._pairs([_WORD.findall(text.lower()) for text in texts])
        scores = np.tile(self.log_prior, (len(texts), 1))
        for label, log_likelihood in enumerate(self.log_likelihood):
            scores[:, label] += np.bincount(row, weights=log_likelihood[column], minlength=len(texts))
        top = scores.max(axis=1, keepdims=True)
        return scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return the most probable label id of each text."""
        return self.log_proba(texts).argmax(axis=1)

    def accuracy(self, texts: Sequence[str], labels: Sequence[int]) -> float:
        """Return the share of texts whose most probable label is the given one."""
        return float((self.predict(texts) == np.asarray(labels)).mean())

    def _pairs(self, words: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Text number and word number of every known word, as two rows."""
        pairs = [(i, self.vocabulary[w]) for i, ws in enumerate(words) for w in ws if w in self.vocabulary]
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def label_baselines(
    train: Sequence[tuple[str, int]], test: Sequence[tuple[str, int]], n_labels: int, *, k: float = 0.1
) -> dict[str, float]:
    """Measure the accuracy of the most frequent label and of naive Bayes on labelled examples ``(text, label id)``.

    Returns:
        ``{"majority": ..., "naive_bayes": ...}``, shares from 0 to 1.
    """
    texts, labels = [text for text, _ in train], [label for _, label in train]
    test_texts, test_labels = [text for text, _ in test], [label for _, label in test]
    model = NaiveBayes(k).fit(texts, labels, n_labels)
    return {
        "majority": majority_accuracy(labels, test_labels),
        "naive_bayes": model.accuracy(test_texts, test_labels),
    }
