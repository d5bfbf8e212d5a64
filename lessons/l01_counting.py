# %% [markdown]
r"""
What is a language model?
=========================

*How can counting letters predict text?*

A language model is a program that has read some text and now says, at every place of another text, how likely each
symbol is to come next. That is all: whoever can do that well can also write (draw the next symbol, again and again),
judge a text (how surprised was the model?) and compress it. The models at the end of this course do it with millions
of learned numbers. This one counts.

- You need: Python; no machine learning, and no mathematics beyond fractions and logarithms.
- Time: 5 s and 180 MB on two cores
- Corpus: ``stdlib-en``, the help texts that your own Python brings along
- Band: 1.85 to 2.15 bits per character (held-out text, the best number of letters, mean of three splits)
"""

# %%
from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lessons.frame import Band, Question, ask, options
from minillm import datasets
from minillm.training import figure, save_figure
from minillm.training.baselines import WittenBell, compressed_bits_per_byte
from minillm.training.curves import COLOURS

QUESTION = "How can counting letters predict text?"
BAND = Band(
    "bits per character on held-out text",
    1.85,
    2.15,
    "the help texts differ between versions of Python: measured 1.99 with 3.11, 2.02 with 3.12, 1.96 with 3.13; single "
    "splits vary more than that (1.91 to 2.09 with 3.11)",
)

# %% [markdown]
r"""
A text is a chain of guesses
----------------------------

Write $c_1 c_2 \dots c_N$ for the characters of a text. The probability of the whole text is a product of guesses, each
made with everything before it in view. This is no approximation; it is the definition of conditional probability,
applied N times:

$$ P(c_1 \dots c_N) = \prod_{i=1}^{N} P(c_i \mid c_1 \dots c_{i-1}) $$

Nobody can count how often every possible past occurs. So we forget: only the last n - 1 characters, the *context* h,
are looked at. A model that looks at n characters in all (context and guess) is an *n-gram* model. Its probabilities
are shares in a training text, where $C(\cdot)$ counts occurrences:

$$ P(c \mid h) = \frac{C(hc)}{C(h)} $$

How good are the guesses? A guess that gave the right character probability p costs $-\log_2 p$ *bits*: 0 for being
sure and right, 1 for a fair coin, more the less it was expected. The mean over a text is the one number of this
course, the *cross-entropy*:

$$ \text{bits per character} = -\frac{1}{N} \sum_{i=1}^{N} \log_2 P(c_i \mid h_i) $$

Lower is better. It is also the size that the text has after compression by this model: a method called arithmetic
coding spends $-\log_2 p$ bits on each character, and at most two more in all. A compressor is a language model.
"""


# %%
def followers(text: str, n: int) -> dict[str, Counter[str]]:
    """Count, for each context of n - 1 characters, what came next."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for i in range(len(text) - n + 1):
        counts[text[i : i + n - 1]][text[i + n - 1]] += 1
    return dict(counts)


def probability_naive(counts: Mapping[str, Counter[str]], context: str, character: str) -> float:
    """Return C(hc) / C(h): the share of a character among those that followed a context; 0 if nothing did."""
    seen = counts.get(context, Counter())
    return seen[character] / seen.total() if seen else 0.0


def bits_naive(counts: Mapping[str, Counter[str]], text: str, n: int) -> float:
    """Return the mean of -log2 P over a text, infinite as soon as one guess was 0."""
    guesses = [probability_naive(counts, text[i - n + 1 : i], text[i]) for i in range(n - 1, len(text))]
    return math.inf if 0.0 in guesses else -sum(map(math.log2, guesses)) / len(guesses)


# %%
if __name__ == "__main__":
    small = "the cat sat on the mat"
    pairs = followers(small, 2)
    print("after 't' came", dict(pairs["t"]))
    print(f"P(h | t) = {probability_naive(pairs, 't', 'h'):.2f}")
    assert probability_naive(pairs, "t", "h") == 2 / 4  # "the", "cat ", "sat ", "the"; the last t has no follower

# %% [markdown]
r"""
Writing with counts
-------------------

To write, draw the next character with these probabilities, append it, look at the last n - 1 characters, and go on.
Shannon did this by hand in 1948, with books opened at random. With one letter it is soup; with five it has words and
half sentences, and much of it is copied. Copying is what we have to watch.
"""


# %%
def write(counts: Mapping[str, Counter[str]], start: str, length: int, rng: np.random.Generator) -> str:
    """Continue a text by drawing character after character; stops early where the training text ended."""
    n, text = len(next(iter(counts))) + 1, start
    for _ in range(length):
        seen = counts.get(text[len(text) - n + 1 :])
        if not seen:
            break
        choices, numbers = list(seen), np.array(list(seen.values()))
        text += choices[int(rng.choice(len(choices), p=numbers / numbers.sum()))]
    return text


# %%
if __name__ == "__main__":
    setting = options()
    # why 40,000: enough to see everything happen in a second or two
    corpus = datasets.load("stdlib-en", size=40_000 if setting.fast else "full")
    print(corpus.card)
    for n in (1, 2, 3, 5):
        rng = datasets.stream(0, "write", n)
        print(f"n = {n}: {' '.join(write(followers(corpus.train, n), 'The ', 90, rng).split())}")

# %% [markdown]
r"""
How much is there to know about a letter?
-----------------------------------------

Shannon (1951) asked how far this can go. On letters and the space alone (27 symbols) he computed $F_n$, the bits that
the next letter still costs when n - 1 letters are known and *the true shares are known too*:

$$ F_n = H(\text{n-grams}) - H(\text{(n-1)-grams}), \qquad H = -\sum_g p(g) \log_2 p(g) $$

He found 4.76 (nothing known: $\log_2 27$), 4.03, 3.32 and 3.1 bits. We can put the counts of our text into the same
formula. The first three agree with his to two per cent or so. The fourth does not, and a smaller piece of the same
text shows why: it falls further. With n = 3 there are 27 * 27 * 27 = 19,683 possible triples, and a short text cannot
show the rare ones; what it does not show looks impossible, so the text looks more predictable than the language is.
An entropy that is computed from the counts of a sample is *too low* on average, and the more so the longer the
context. (That our text repeats its own phrases adds to it.)
"""


# %%
def shannon_letters(text: str) -> str:
    """Return a text in Shannon's 27 symbols: a to z, and one space for everything else."""
    return re.sub("[^a-z]+", " ", text.lower())


def entropy(counts: Iterable[int]) -> float:
    """Return H = -sum p log2 p of the shares of some counts, in bits."""
    numbers = np.array([n for n in counts if n], dtype=float)  # (K,)
    shares = numbers / numbers.sum()  # (K,)
    return float(-(shares * np.log2(shares)).sum())


def shannon_f(text: str, n: int) -> float:
    """Return Shannon's F_n of a text in bits per character; F_0 is the log of the number of symbols."""
    if n == 0:
        return math.log2(len(set(text)))
    grams, shorter = (Counter(text[i : i + k] for i in range(len(text) - k + 1)) for k in (n, n - 1))
    return entropy(grams.values()) - (entropy(shorter.values()) if n > 1 else 0.0)


# %%
if __name__ == "__main__":
    letters = shannon_letters(corpus.train)
    shannon = [4.76, 4.03, 3.32, 3.1]  # Shannon 1951, 27 symbols
    print("n", *range(4), sep="      ")
    print("Shannon 1951    ", *(f"{f:6.2f}" for f in shannon))
    for part in (1, 4, 16):  # why: each a quarter of the one before
        piece = letters[: len(letters) // part]
        print(f"{len(piece):7,} letters ", *(f"{shannon_f(piece, n):6.2f}" for n in range(4)))
    # The drift that the text above explains: less text, lower F_3; F_1 hardly moves.
    assert shannon_f(letters, 3) - shannon_f(letters[: len(letters) // 16], 3) > 0.15
    assert abs(shannon_f(letters, 1) - shannon[1]) < 0.15

# %% [markdown]
r"""
The zero
--------

So nothing may be judged on the text that it was counted on. We put a tenth of the text away before counting, the
*held-out* or *validation* text, and ask about that. And the naive model breaks at once: somewhere a pair or a triple
comes up that was never seen, its probability is 0, and the bits are infinite.
"""

# %%
if __name__ == "__main__":
    held_out = corpus.validation[:5_000]  # why: a share needs no more
    for n in (1, 2, 3, 5, 7):
        counts = followers(corpus.train, n)
        zeros = sum(
            probability_naive(counts, held_out[i - n + 1 : i], held_out[i]) == 0 for i in range(n - 1, len(held_out))
        )
        print(
            f"n = {n}: {zeros / len(held_out):6.1%} of the guesses were 0, bits {bits_naive(counts, held_out, n):.2f}"
        )

# %% [markdown]
r"""
The real version: never say never
---------------------------------

A model has to keep some probability back for what it has not seen. The simplest way gives every character k imagined
occurrences (*add-k*; k = 1 goes back to Laplace):

$$ P(c \mid h) = \frac{C(hc) + k}{C(h) + k V} $$

where V is the number of different characters. It treats all unseen characters alike, so it does badly on long
contexts. Better is to ask the shorter context h', which is h without its first character, and to listen to it the
more, the more *different* characters followed h: if many kinds came, another new one is likely. With $T(h)$ for the
number of kinds, this is the method of Witten and Bell (1991):

$$ P_n(c \mid h) = \frac{C(hc) + T(h) \, P_{n-1}(c \mid h')}{C(h) + T(h)}, \qquad P_0(c) = \frac{1}{V} $$

``minillm.training.baselines.WittenBell`` does this for all orders at once, on sorted arrays instead of dictionaries.
You write it with dictionaries in the exercise. The characters that training lacks share one extra symbol.

First the check. For ``abababab`` it can be done by hand, with V = 3 (a, b, and the extra symbol):
$P_1(b) = (4 + 2 \cdot 1/3) / (8 + 2) = 0.4667$ and $P_2(b \mid a) = (4 + 1 \cdot 0.4667) / (4 + 1) = 0.8933$.
"""


# %%
def next_probabilities(model: WittenBell, context: str, alphabet: str) -> np.ndarray:
    """Return P(c | context) of every character of an alphabet, by the highest order of a model."""
    return np.array([model.probabilities(context + c)[-1, -1] for c in alphabet])


# %%
if __name__ == "__main__":
    tiny = WittenBell(order=2).fit("abababab")
    table = tiny.probabilities("ab")  # (tiny.order + 1, 2)
    assert math.isclose(table[1, 1], (4 + 2 / 3) / 10) and math.isclose(table[2, 1], (4 + 1 * (4 + 2 / 3) / 10) / 5)

    model = WittenBell(order=3).fit(corpus.train[:20_000])
    alphabet = "".join(sorted(set(corpus.train[:20_000]))) + "\0"  # NUL stands for all that training lacks
    for context in ("", "t", "th", "qx"):  # the last was never seen
        assert math.isclose(next_probabilities(model, context, alphabet).sum(), 1, rel_tol=1e-9)

    # On its own training text the naive model reaches the entropy of the counts, but for the ends of the text.
    piece = letters[:20_000]
    assert math.isclose(bits_naive(followers(piece, 3), piece, 3), shannon_f(piece, 3), abs_tol=1e-3)
    print("hand-made numbers, sums to 1, and the entropy of the counts: all as they should be")

# %% [markdown]
r"""
Measure
-------

Now the question of the lesson: how many letters should one look at? We count orders 1 to 7 on the training text and
look at both texts, for three random splits, since one split may be lucky. (A *seed* is the number that a generator of
random numbers starts from: the same seed, the same split. And the best order is chosen on the held-out text itself,
which flatters it a little; with seven to choose from, not much.) For comparison: what two compressors
need for the held-out text when they have read the training text before. (gzip remembers 32 kilobytes only; lzma all of
it.)

The split matters as much as the model. The help texts repeat whole paragraphs; if a paragraph stands in both parts,
then remembering looks like understanding. ``stdlib-en`` is de-duplicated and split by blocks of paragraphs; the last
lines show what the careless splits would have claimed.
"""


# %%
def measure(order: int, size: int | str, seeds: Iterable[int] = (0, 1, 2)) -> list[dict[str, Any]]:
    """Return, for each seed of the split, bits per character by order on both texts, and of two compressors."""
    found = []
    for seed in seeds:
        text = datasets.load("stdlib-en", size=size, seed=seed)
        counted = WittenBell(order).fit(text.train)
        train, held = counted.bits(text.train), counted.bits(text.validation)  # (order + 1,), (order + 1,)
        bytes_each = len(text.validation.encode("utf-8")) / len(text.validation)
        squeezed = {
            name: bytes_each * compressed_bits_per_byte(text.train, text.validation, name) for name in ("gzip", "lzma")
        }
        found.append({"training": train[1:].tolist(), "held-out": held[1:].tolist(), **squeezed})
    return found


# %%
if __name__ == "__main__":
    order, size = (5, 40_000) if setting.fast else (7, "full")
    measured = measure(order, size)
    for n in range(order):
        held_n = [one["held-out"][n] for one in measured]
        train_n = np.mean([one["training"][n] for one in measured])
        spread = f"({min(held_n):.2f} to {max(held_n):.2f})"
        print(f"n = {n + 1}: training {train_n:.2f}   held out {np.mean(held_n):.2f} {spread}")
    best = float(np.mean([min(one["held-out"]) for one in measured]))
    judged = BAND.judge(best, setting.fast)
    for rule in ("blocks", "paragraphs", "tail"):
        other = datasets.load("stdlib-en", size=size, split=rule)
        bits = WittenBell(order).fit(other.train).bits(other.validation).min()
        print(f"split {rule:<10} {bits:.2f} bits, {other.card.leak:.1%} of the held-out text stands in training")

# %% [markdown]
r"""
The figure
----------

On the text that was counted, a longer context always looks better. On held-out text it helps up to about n = 5, and
then the counts run out: with n = 6 more than half of the contexts were seen only once. The gap between the two
lines is *overfitting*, and it will be with us until the last lesson. What comes after this lesson is one long answer
to it: how can a model use a long context that it has never seen before?
"""

# %%
if __name__ == "__main__":
    fig, ax = figure()
    x = list(range(1, order + 1))
    for name, colour, above in (("training", COLOURS[0], -16), ("held-out", COLOURS[1], 8)):
        lines = np.array([one[name] for one in measured])  # (3, order)
        ax.fill_between(x, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, lines.mean(axis=0), color=colour, marker="o", markersize=4)
        ax.annotate(f"{name} text", (x[-1], lines.mean(axis=0)[-1]), xytext=(0, above), textcoords="offset points",
                    ha="right", color=colour)  # fmt: skip
    for name, style in (("gzip", ":"), ("lzma", "--")):
        value = float(np.mean([one[name] for one in measured]))
        ax.axhline(value, color="#555555", linewidth=1, linestyle=style)
        ax.annotate(f"{name}: {value:.2f}", (1, value), xytext=(0, 3), textcoords="offset points", color="#333333")
    ax.set_xticks(x)
    ax.set_xlabel("letters that the model looks at (n)")
    ax.set_ylabel("bits per character")
    ax.set_ylim(bottom=0)
    ax.set_title("A longer memory helps, until the counts run out", loc="left", fontsize=11)
    alt = (
        f"Bits per character against n from 1 to {order}. On the training text the line falls all the way. On held-out "
        f"text it falls from about 4.7 to about {best:.1f} and then rises a little. The bands, smallest to largest of "
        "three splits, are narrow. Horizontal lines mark gzip and lzma."
    )
    numbers = {"n": x, "splits": measured, "band": judged}
    print(*save_figure(fig, setting.out / "l01_counting", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l01_counting.py``; ``minillm check 01`` says how far you are, and gives hints.

- ``add_k``: probabilities with k imagined occurrences.
- ``witten_bell``: the formula above for one context, with dictionaries.
- ``bits_per_character``: the number by which all models of this course are judged.

Then try: which k makes add-k best on held-out text, for n = 2 and for n = 5? Why does lzma do so much better than
gzip here? What changes if you count words instead of characters?
"""

# %%
QUIZ = (
    Question(
        "A model gives every next character of a text probability 1/8. How many bits per character is that?",
        ("8", "3", "1/8"),
        1,
        "-log2(1/8) = 3: three yes-or-no questions single out one of eight. The mean of equal costs is that cost.",
    ),
    Question(
        "The bits on the training text fall from n = 5 to n = 7, those on the held-out text rise. What happened?",
        (
            "The model has learned rarer rules of the language.",
            "The held-out text is harder to read than the training text.",
            "The model remembers contexts that occurred once, and they do not come again.",
        ),
        2,
        "With long contexts most counts are 1. On the text itself a count of 1 is a perfect memory; on another text "
        "it says next to nothing, and the shorter context, which had better counts, is heard less.",
    ),
    Question(
        "Why does an unsmoothed n-gram model usually have infinite bits on a new text?",
        (
            "One n-gram that training lacks has probability 0, and -log2(0) is infinite.",
            "Because texts can be infinitely long.",
            "Because logarithms of fractions are negative.",
        ),
        0,
        "A product with one factor 0 is 0: the model calls the whole text impossible, however good all its other "
        "guesses were. Smoothing keeps something back for the unseen.",
    ),
)

# %%
if __name__ == "__main__":
    ask(1, QUIZ)

# %% [markdown]
r"""
Sources
-------

- C. E. Shannon, A Mathematical Theory of Communication, Bell System Technical Journal 27, 1948 (section 3: writing
  with counts).
- C. E. Shannon, Prediction and Entropy of Printed English, Bell System Technical Journal 30, 1951 (the numbers F).
- I. H. Witten and T. C. Bell, The Zero-Frequency Problem, IEEE Transactions on Information Theory 37(4), 1991.
- S. F. Chen and J. Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, 1998.
"""
