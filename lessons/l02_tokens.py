# %% [markdown]
r"""
From characters to tokens
=========================

*What does a model read?*

A neural network, the kind of model that this course builds up to, computes with numbers. So before it sees a text
somebody has cut the text into pieces, *tokens*, and given every kind of piece a number, its *id*. This is decided
before any learning, it cannot be changed afterwards, and a surprising share of what models get wrong (spelling,
arithmetic, other languages) starts here.

- You need: lesson 01
- Time: 7 s and 110 MB on two cores
- Corpus: ``stdlib-en``, the help texts that your own Python brings along
- Band: 2.8 to 3.3 bytes per token (held-out text, 1,024 merges, mean of three splits)
"""

# %%
from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lessons.frame import Band, Question, ask, options
from minillm import datasets
from minillm.text import END_OF_TEXT, ByteBPETokenizer, CharTokenizer, Normalizer, Tokenizer, WordTokenizer, split_words
from minillm.text.bpe import piece_pattern
from minillm.training import figure, save_figure
from minillm.training.curves import COLOURS

QUESTION = "What does a model read?"
BAND = Band(
    "bytes per token on held-out text, 1,024 merges",
    2.8,
    3.3,
    "the help texts differ between versions of Python; measured 3.06 with 3.11, 3.08 with 3.12, 3.10 with 3.13; "
    "single splits vary more than that (2.90 to 3.18)",
)

# %% [markdown]
r"""
Four ways to cut
----------------

A *tokenizer* is a pair of functions. ``encode`` turns a text into ids, whole numbers from 0 to V - 1, where V is the
size of the vocabulary; ``decode`` turns ids into a text. We would like to have

$$ \mathrm{decode}(\mathrm{encode}(\text{text})) = \text{text} $$

for *every* text, short sequences (a model's work grows with the number of tokens), and a small V (a model keeps some
hundred numbers for each kind of token, and must have seen each kind often enough to learn them). The three wishes pull
in different directions:

- *characters*: small V, long sequences, and helpless before a character that training lacked;
- *bytes* (of the text in UTF-8): V = 256, every text comes back, the longest sequences;
- *words*: short sequences, a V without end, and everything unknown becomes the same ``<unk>``;
- *subwords*: frequent words whole, rare ones in pieces. That is what all large models use, and what this lesson builds.
"""

# %%
if __name__ == "__main__":
    setting = options()
    # why 40,000: enough to learn a few hundred merges from, in a moment
    size: int | str = 40_000 if setting.fast else "full"
    corpus = datasets.load("stdlib-en", size=size)
    merges = 512 if setting.fast else 4096
    ways: dict[str, Tokenizer] = {
        "characters": CharTokenizer.train(corpus.train),
        "bytes": ByteBPETokenizer([], ()),  # no merges: a token is a byte
        "words": WordTokenizer.train(corpus.train, 1000),
        "subwords": ByteBPETokenizer.train(corpus.train, 256 + merges, special_tokens=()),
    }
    sentence = "Return the number of items in a container."
    for name, way in ways.items():
        ids = way.encode(sentence)
        print(f"{name:<10} V = {way.vocab_size:5,}, {len(ids):3} tokens: {[way.decode([i]) for i in ids[:9]]} ...")

# %% [markdown]
r"""
What comes back
---------------

Wishes are cheap; here is the test. Two of the four give every text back, one refuses, and one quietly returns
something else, which is the worst of the three.
"""

# %%
if __name__ == "__main__":
    for text in ("two  spaces", "a naïve café", "猫が好き", "👩‍🔬"):
        for name, way in ways.items():
            try:
                back = way.decode(way.encode(text))
                verdict = "comes back" if back == text else f"became {back!r}"
            except ValueError as error:
                verdict = f"refused ({str(error).split(';')[0]})"
            print(f"{text!r:<15} {name:<10} {verdict}")
            assert name not in ("bytes", "subwords") or verdict == "comes back"

# %% [markdown]
r"""
Making texts more alike first
-----------------------------

Recipes often begin with "lowercase, remove punctuation". Fewer kinds of words remain, so counts get better, and for
sorting texts by topic that may pay (lessons 06 and 07 do it). A model that *writes* pays for it: what was
normalised away can never be written. Nor is it harmless elsewhere: German nouns are capitalised, and in Python
``-1`` and ``1`` are not the same. So in minillm every step is a choice, and none is the default.

One step is different. Unicode can spell an accented letter in two ways, as one character or as a letter and a mark.
They look the same and are not equal. *NFC* chooses the first spelling, and loses nothing that a reader could see.
"""

# %%
if __name__ == "__main__":
    plain = Normalizer()
    steps = {
        "as it is": plain,
        "lower case": Normalizer(lowercase=True),
        "and no punctuation": Normalizer(lowercase=True, strip_punctuation=True),
    }
    for name, step in steps.items():
        text = step(corpus.train)
        print(f"{name:<20} {len(set(text)):4} characters, {len(set(split_words(text))):6,} kinds of words and marks")
    print("for example:", repr(steps["and no punctuation"]("Don't call f(-1), U.S. users!")))
    one, two = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    print(f"{one} and {two}: equal {one == two}, after NFC {Normalizer(nfc=True)(one) == Normalizer(nfc=True)(two)}")
    assert one != two and Normalizer(nfc=True)(one) == Normalizer(nfc=True)(two)

# %% [markdown]
r"""
Byte-pair encoding, naively
---------------------------

The idea is from data compression (Gage 1994); Sennrich, Haddow and Birch (2016) brought it to language models. Begin
with single characters. Find the pair of neighbours that occurs most often, make it one symbol, and repeat:

$$ (x, y)^{*} = \arg\max_{(x, y)} C(xy) $$

Each repetition is a *merge*, and the list of merges is the whole tokenizer. The text is cut into pieces first (here:
words, each with the space before it), and no merge crosses a border, or else "of the" would become a word.

The naive version holds each piece as a string with a line break after each symbol but the last, and lets a search
pattern do the work. The pattern must not match the end of one symbol and the beginning of another: in "ba, a" there is
no pair "a, a". That is what the two conditions around it say: no character but a line break before it, none behind.
"""


# %%
def learn_naive(pieces: Mapping[str, int], wanted: int) -> list[tuple[str, str]]:
    """Learn merges of characters: count all pairs anew, join the most frequent one everywhere, again and again.

    Args:
        pieces: how often each piece occurs.
        wanted: number of merges.
    """
    words = {"\n".join(piece): n for piece, n in pieces.items()}
    number = {c: ord(c) for piece in pieces for c in piece}  # of equally frequent pairs, the smaller numbers win
    merges: list[tuple[str, str]] = []
    for turn in range(wanted):
        counts: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            symbols = word.split("\n")
            for x, y in zip(symbols, symbols[1:]):
                counts[x, y] += n * (x + y not in number)  # what exists already is not made a second time
        best = min(counts, key=lambda pair: (-counts[pair], number[pair[0]], number[pair[1]]), default=None)
        if best is None or counts[best] == 0:
            break
        merges.append(best)
        number["".join(best)] = 256 + turn
        pattern = re.compile(r"(?<![^\n])" + re.escape("\n".join(best)) + r"(?![^\n])")
        joined = "".join(best).replace("\\", r"\\")  # a backslash is a command in what a pattern puts in
        words = {pattern.sub(joined, word): n for word, n in words.items()}
    return merges


# %%
if __name__ == "__main__":
    toy = {"_low": 5, "_lower": 2, "_newest": 6, "_widest": 3}
    print("merges:", " ".join("".join(pair) for pair in learn_naive(toy, 8)))
    assert learn_naive(toy, 1) == [("e", "s")]  # 9 times, as are "s t" and no other pair

# %% [markdown]
r"""
The real version
----------------

``minillm.text.ByteBPETokenizer`` differs in three points. It begins with *bytes*, so that nothing is ever unknown
(Radford et al. 2019). It cuts pieces by GPT-2's rule: endings such as 's, then letters, numbers and other marks, each
with the space before them. And it is fast: it remembers where each pair stands, so that a merge costs only what it
changes.

The check: on text in ASCII, where a byte is a character, both must learn the same merges in the same order. (Without
line breaks, which the naive version uses for itself.)
"""

# %%
if __name__ == "__main__":
    sample = "".join(c for c in corpus.train[:30_000] if " " <= c < "\x7f")
    # why 60: enough to join what was joined before; the naive version takes a hundredth of a second for each
    naive = learn_naive(Counter(piece_pattern().findall(sample)), 60)
    real = ByteBPETokenizer.train(sample, 256 + 60, special_tokens=())
    spelled = [tuple(real.decode([i]) for i in pair) for pair in real.merges]
    print("first merges:", [x + y for x, y in spelled[:12]])
    assert naive == spelled

# %% [markdown]
r"""
Special tokens
--------------

Some ids stand for no text at all: "here a document ends" (``<|endoftext|>``), later "here an answer begins". If
whoever types the same characters got the same id, a user could end documents or forge answers. So ``encode`` takes
them for plain text unless the program says otherwise.
"""

# %%
if __name__ == "__main__":
    marked = ByteBPETokenizer(ways["subwords"].merges if isinstance(ways["subwords"], ByteBPETokenizer) else [])
    as_text, as_mark = marked.encode(END_OF_TEXT), marked.encode(END_OF_TEXT, allowed_special={END_OF_TEXT})
    print(f"as text: {len(as_text)} tokens; as a mark: id {as_mark}")
    assert len(as_text) > 1 and as_mark == [marked.vocab_size - 1]

# %% [markdown]
r"""
Who pays
--------

The merges were learned from English, so English is cheap. The same sentence in other languages needs more tokens for
the same content, hence more time and more of the context; for Chinese not even whole characters have been merged.
Numbers fall apart in arbitrary places, so arithmetic is harder than it must be. Models for many languages learn their
merges from a mixture of them, so that no language pays for all.
"""

# %%
if __name__ == "__main__":
    same = {
        "English": "The cat sleeps on the table.",
        "German": "Die Katze schläft auf dem Tisch.",
        "Spanish": "El gato duerme sobre la mesa.",
        "Swahili": "Paka analala juu ya meza.",
        "Chinese": "猫在桌子上睡觉。",
    }
    for language, text in same.items():
        print(f"{language:<8} {len(text):3} characters, {len(ways['subwords'].encode(text)):3} tokens")
    print("numbers:", [ways["subwords"].decode([i]) for i in ways["subwords"].encode(" 1234567 and 1234568")])

# %% [markdown]
r"""
Measure
-------

Two laws of words. *Zipf's law*: sort the words by frequency, then the frequency falls about as one over the rank, a
straight line with slope -1 on logarithmic axes. So a few words are everywhere, and a third of all kinds occurs once:
no vocabulary of words is ever complete, and any list of merges catches the frequent ones soon.

*Compression*: how many bytes does a token hold, by the number of merges? On the text that the merges were learned
from, and on held-out text, for three splits. A merge brings less than the one before, and from about a thousand merges
on the two texts part: the later merges spell words of the training text.

One warning for all lessons to come. What training makes small is called the *loss*; for a language model that is the
cross-entropy of lesson 01. Often it is given in *nats*, with the natural logarithm (1 nat is 1.44 bits), or as
*perplexity*, which is 2 to the power of the bits per token: among so many equally likely tokens the model hesitates.
But a loss *per token* says nothing as long as one does not know the tokens. The last lines judge the simplest model
there is (each token has its frequency, no context) on the same text with two tokenizers: per token the subwords look
worse, per byte they are far better. We report bits per *byte*: a unit that stays the same however the text is cut.
"""


# %%
def word_counts(text: str) -> np.ndarray:
    """Return how often each word of letters occurs, in lower case, the most frequent first."""
    counts = Counter(word for word in split_words(text.lower()) if word.isalpha())
    return np.array(sorted(counts.values(), reverse=True))  # (K,)


def zipf_slope(counts: np.ndarray, first: int = 5, last: int = 500) -> float:
    """Return the slope of log frequency against log rank.

    why 5 to 500: the first few ranks are grammar and lie lower; beyond, counts are so small that they form steps.
    """
    ranks = np.arange(first, min(last, len(counts)) + 1)  # (R,)
    y = np.log(counts[ranks - 1])  # (R,)
    return float(np.polyfit(np.log(ranks), y, 1)[0])


def bytes_per_token(tokenizer: Tokenizer, text: str) -> float:
    """Return how many bytes of a text (UTF-8) one token holds on average."""
    return len(text.encode("utf-8")) / len(tokenizer.encode(text))


def unigram_bits(tokenizer: Tokenizer, train: str, held_out: str) -> tuple[float, float]:
    """Return the bits per token, and per byte, of the model that knows each token's frequency and no context."""
    ids, v = tokenizer.encode_array(train), tokenizer.vocab_size
    p = np.bincount(ids, minlength=v) + 1.0  # (v,)
    bits = -np.log2(p / p.sum())[tokenizer.encode_array(held_out)]  # (T,)
    return float(bits.mean()), float(bits.sum() / len(held_out.encode("utf-8")))


def measure(size: int | str, sizes: Sequence[int], seeds: Sequence[int] = (0, 1, 2)) -> list[dict[str, Any]]:
    """Return, for each seed of the split, word counts, their slope, and bytes per token by number of merges."""
    found = []
    for seed in seeds:
        text = datasets.load("stdlib-en", size=size, seed=seed)
        learned = ByteBPETokenizer.train(text.train, 256 + max(sizes), special_tokens=()).merges
        # The first merges of a long list are the list that a shorter training gives.
        cuts = [ByteBPETokenizer(learned[:n], ()) for n in sizes]
        counts = word_counts(text.train)
        found.append(
            {
                "slope": zipf_slope(counts),
                "once": float((counts == 1).mean()),
                "counts": counts.tolist(),
                "training": [bytes_per_token(cut, text.train) for cut in cuts],
                "held-out": [bytes_per_token(cut, text.validation) for cut in cuts],
            }
        )
    return found


# %%
if __name__ == "__main__":
    sizes = [n for n in (0, 16, 64, 256, 512, 1024, 2048, 4096) if n <= merges]
    measured = measure(size, sizes)
    slopes, once = [m["slope"] for m in measured], np.mean([m["once"] for m in measured])
    print(f"Zipf: slope {np.mean(slopes):.2f} ({min(slopes):.2f} to {max(slopes):.2f}), {once:.0%} of the words once")
    for i, n in enumerate(sizes):
        held = [m["held-out"][i] for m in measured]
        train = np.mean([m["training"][i] for m in measured])
        spread = f"({min(held):.2f} to {max(held):.2f})"
        print(f"{n:5,} merges: {train:.2f} bytes per token in training, held out {np.mean(held):.2f} {spread}")
    for name in ("characters", "subwords"):
        alphabet = set(corpus.train)
        known = "".join(c for c in corpus.validation if c in alphabet)  # CharTokenizer refuses what is new
        per_token, per_byte = unigram_bits(ways[name], corpus.train, known)
        print(f"no context, {name:<10}: {per_token:5.2f} bits per token, {per_byte:.2f} bits per byte")
    middle = sizes.index(1024) if 1024 in sizes else -1
    judged = BAND.judge(float(np.mean([m["held-out"][middle] for m in measured])), setting.fast)

# %% [markdown]
r"""
The figure
----------

Left Zipf's law, right what it makes possible: the first 256 merges double the length of a token, the last 2,048
together add a tenth. Vocabularies of large models have 30,000 (BERT) to 250,000 (XLM-R) entries; they are learned from
far more text, in up to a hundred languages.
"""

# %%
if __name__ == "__main__":
    fig, (left, right) = figure(10, 4.2, panels=2)
    counts = np.array(measured[0]["counts"])  # (K,)
    ranks = np.arange(1, len(counts) + 1)
    left.loglog(ranks, counts, color=COLOURS[0], marker=".", markersize=3, linestyle="none")
    line = counts[29] * (ranks / 30) ** -1.0  # why 30: in the middle of the range that is fitted
    left.loglog(ranks, line, color="#555555", linewidth=1, linestyle="--")
    left.annotate("slope -1", (ranks[3], line[3]), xytext=(6, 4), textcoords="offset points", color="#333333")
    left.set_xlabel("rank of the word")
    left.set_ylabel("how often it occurs")
    left.set_title("Few words are everywhere", loc="left", fontsize=11)
    for name, colour, above in (("training", COLOURS[0], 8), ("held-out", COLOURS[1], -26)):
        lines = np.array([m[name] for m in measured])  # (3, len(sizes))
        right.fill_between(sizes, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        right.plot(sizes, lines.mean(axis=0), color=colour, marker="o", markersize=4)
        right.annotate(f"{name} text", (sizes[-1], lines.mean(axis=0)[-1]), xytext=(0, above),
                       textcoords="offset points", ha="right", color=colour)  # fmt: skip
    right.set_xticks(sizes[-3:] if setting.fast else [0, 1024, 2048, 4096])
    right.set_ylim(0, 1.15 * max(measured[0]["training"]))
    right.set_xlabel("merges")
    right.set_ylabel("bytes per token")
    right.set_title("Each merge brings less than the one before", loc="left", fontsize=11)
    alt = (
        "Two panels. Left: frequency of words against rank on logarithmic axes, close to a straight line of slope -1. "
        f"Right: bytes per token rise from 1 without merges to about {judged['value']:.1f} with {sizes[middle]:,} on "
        "held-out text, ever more slowly; the training text lies a little higher at the end."
    )
    curves = [{key: value for key, value in m.items() if key != "counts"} for m in measured]
    numbers = {"word counts": measured[0]["counts"], "merges": sizes, "splits": curves, "band": judged}
    print(*save_figure(fig, setting.out / "l02_tokens", numbers, alt), sep="\n")
    assert all(math.isclose(m["held-out"][0], 1) for m in measured)  # without merges a token is a byte

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l02_tokens.py``; ``minillm check 02`` says how far you are, and gives hints. Together they are a
byte-level tokenizer:

- ``best_pair``: the pair that is merged next.
- ``merge``: one merge in a list of ids.
- ``encode``: bytes to ids, merge after merge.
- ``decode``: ids to bytes.

Then try: train on ``docstrings`` instead, and see which words get a token of their own. What happens to bytes per
token if the cut into pieces is left out? Why does GPT-2's rule keep the space with the word behind it?
"""

# %%
QUIZ = (
    Question(
        "Model A has a loss of 1.2 nats per token, model B of 2.9 nats per token, on the same text. Which is better?",
        ("Model A.", "Nobody knows without their tokenizers.", "Model B."),
        1,
        "If A reads bytes and B reads subwords of four bytes, A pays 4.8 nats where B pays 2.9. Loss per byte can be "
        "compared, loss (or perplexity) per token only between models with the same tokenizer.",
    ),
    Question(
        "Why does a byte-level tokenizer need no token for unknown words?",
        (
            "Every text is a sequence of 256 kinds of bytes, and all of them are in the vocabulary.",
            "Because its vocabulary holds every word.",
            "Because unknown words are removed before.",
        ),
        0,
        "Merges only join what is there already. A word that training lacked falls back to pieces, in the worst case "
        "to its bytes, and comes back unchanged.",
    ),
    Question(
        "By Zipf's law, does a vocabulary of all words of a text suffice for a text that is ten times longer?",
        (
            "Yes, since by then every word has occurred.",
            "Yes, since the frequencies do not change.",
            "No, there are always new rare words.",
        ),
        2,
        "The tail does not end: the longer the text, the more kinds of words occur once. That is why words alone are "
        "never enough, and why subwords won.",
    ),
)

# %%
if __name__ == "__main__":
    ask(2, QUIZ)

# %% [markdown]
r"""
Sources
-------

- P. Gage, A New Algorithm for Data Compression, The C Users Journal 12(2), 1994.
- R. Sennrich, B. Haddow, A. Birch, Neural Machine Translation of Rare Words with Subword Units, ACL 2016 (their table
  1 makes the same trade for German: the more merges, the fewer tokens and the larger the vocabulary).
- A. Radford et al., Language Models are Unsupervised Multitask Learners, 2019, section 2.2 (bytes, and the cut into
  pieces).
- G. K. Zipf, Human Behavior and the Principle of Least Effort, 1949.
- Unicode Standard Annex 15, Unicode Normalization Forms (NFC).
"""
