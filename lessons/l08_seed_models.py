# %% [markdown]
r"""
The seed's models, exactly
==========================

*What does this formula compute?*

This course grew from a short text about training language models, its *seed*. It gives a formula for pretraining,

$$ P(w_{t+1} \mid w_1 \dots w_t) = \mathrm{softmax}\left(W_e[w_{t+1}] + \sum_{i=1}^{t} W_h[w_i]\right), $$

a listing in PyTorch (whose names minillm uses) that is meant to implement it, and a second formula for fine-tuning with
a label. This lesson builds all three, and asks what they can learn. The formula is a bag of words, the listing sees one
word only, and thirteen things are wrong in the text. To find such things is a skill, so each is shown by running it.

- You need: lessons 01 (counting), 03 (gradients), 05 (Adam) and 07 (softmax)
- Time: 20 s and 250 MB on two cores
- Corpus: ``stdlib-en`` in 27 symbols: a to z and the space
- Band: 3.2 to 3.5 bits per character (held-out text, the trained listing, mean of three splits)
"""

# %%
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.optim as optim
from lessons.frame import Band, Question, ask, bars, options
from lessons.l01_counting import shannon_f, shannon_letters
from minillm import datasets
from minillm.training import evaluate_language, figure, save_figure
from minillm.training.baselines import WittenBell
from minillm.training.curves import COLOURS

QUESTION = "What does this formula compute?"
BAND = Band(
    "bits per character of the trained listing on held-out text",
    3.2,
    3.5,
    "the help texts differ between versions of Python, and so do the splits",
)
LETTERS = " abcdefghijklmnopqrstuvwxyz"
V = len(LETTERS)

# %% [markdown]
r"""
The formula
-----------

Two things are missing before it can be run: the shapes, and the *candidates*. Softmax makes probabilities of one score
for *each* word v of the vocabulary, so the formula must be read as one score for each v, and the true next word picks
its probability out. Then $W_e$ can only hold one number a word (how common it is) and $W_h$ one row of V numbers a
word (how much it speaks for every candidate):

$$ \mathrm{score}(v) = W_e[v] + \sum_{i=1}^{t} W_h[w_i, v] $$

Naive: add up row after row. Real: a ``Module`` (the class of all models: it finds the parameters among its
attributes) with an ``nn.Embedding``, a table whose rows are looked up by number (lesson 09 is about it); a running sum
over the rows gives the scores at all places of a text at once. Defects so far: (1) no product with the candidate is
written, and the order of the context is lost; (2) the shapes are missing, and if $W_e$ is a table of *embeddings* of
width d, as the seed calls it, the softmax runs over d numbers that are no words.
"""


# %%
class SeedLM(nn.Module):
    r"""The seed's formula: $\mathrm{softmax}(W_e[v] + \sum_i W_h[w_i, v])$.

    Args:
        vocab_size: V.

    Shape:
        ids (B, T) to logits (B, T, V); row t scores the word after the first t + 1.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.word = nn.Parameter(minillm.zeros(vocab_size))  # W_e
        self.context = nn.Embedding(vocab_size, vocab_size)  # W_h
        nn.init.zeros_(self.context.weight)

    def forward(self, ids: minillm.Tensor) -> minillm.Tensor:
        """Return the scores of every word after every position."""
        return self.word + self.context(ids).cumsum(1)  # (B, T, V)


def seed_probability_naive(word: np.ndarray, context: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Return P(v | ids) as the formula says it, one word at a time."""
    score = word.copy()
    for w in ids:
        score = score + context[w]
    p = np.exp(score - score.max())
    return p / p.sum()


# %%
if __name__ == "__main__":
    setting = options()
    rng = datasets.stream(0, "check")
    formula = SeedLM(7)
    word, rows = rng.standard_normal(7, dtype=np.float32), rng.standard_normal((7, 7), dtype=np.float32)
    formula.load_state_dict({"word": minillm.tensor(word), "context.weight": minillm.tensor(rows)})
    text = [3, 1, 4, 1, 5]
    with minillm.no_grad():
        real = formula(minillm.tensor([text]))[0].softmax(-1).numpy()
        shuffled = formula(minillm.tensor([[1, 1, 5, 4, 3]]))[0].softmax(-1).numpy()
    assert np.allclose(real, [seed_probability_naive(word, rows, text[: t + 1]) for t in range(5)], atol=1e-6)
    assert np.allclose(real[-1], shuffled[-1], atol=1e-6)
    print("defect 1: 3 1 4 1 5 and 1 1 5 4 3 are the same context: order is lost")

    wrong = seed_probability_naive(rng.standard_normal((7, 3))[text[-1]], rng.standard_normal((7, 3)), text)
    assert wrong.shape == (3,)
    print(f"defect 2: with embeddings of width 3 the softmax gives {wrong.size} probabilities for 7 words")

# %% [markdown]
r"""
The listing
-----------

The seed then prints a model: embedding, linear layer, linear layer ($x W^T + b$ each). First repaired, then as printed.
"""


# %%
class AutoRegressiveModel(nn.Module):
    """The listing's model: embedding, linear, linear.

    Args:
        vocab_size: V.
        embedding_dim, hidden_dim: d and h, the widths of the embedding and of the layer between.

    Shape:
        ids (B, T) to logits (B, T, V).
    """

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, vocab_size)

    def forward(self, x: minillm.Tensor) -> minillm.Tensor:
        """Return the scores of every word after every position."""
        return self.out(self.hidden(self.embedding(x)))

    def train(self, data: Any = True, device: str = "cpu", num_epochs: int = 1) -> Any:
        """Train on batches (x, y): Adam on the cross-entropy; returns the losses in nats per token.

        Called with a truth value, it is still the method that every Module has.
        """
        if isinstance(data, bool):
            return super().train(data)
        batches = ((x.to(device), y.to(device)) for _ in range(num_epochs) for x, y in data)
        return fit(self, batches, lr=1e-3)  # why: Adam's default, which the listing takes


def fit(model: nn.Module, batches: Iterable[tuple[minillm.Tensor, minillm.Tensor]], lr: float = 0.05) -> list[float]:
    """Train a model that maps (B, T) to (B, T, V) on batches (x, y); return the losses in nats per token."""
    optimizer = optim.Adam(model.parameters(), lr=lr)
    losses = []
    for x, y in batches:
        logits = model(x)
        loss = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class ListingAsPrinted(AutoRegressiveModel):
    """The listing, and its training with the defects: do not use it."""

    def train(self, data: Any, device: str) -> None:  # type: ignore[override]
        """Run Adam, as printed."""
        optimizer = optim.Adam(self.parameters())
        criterion = nn.CrossEntropyLoss()
        for _ in range(num_epochs):  # type: ignore[name-defined]  # noqa: F821
            for x, y in data:
                loss = criterion(self(x.to(device)), y.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


class WithReLU(AutoRegressiveModel):
    """The listing with max(0, x) between its two layers."""

    def forward(self, x: minillm.Tensor) -> minillm.Tensor:
        """Return the scores of every word after every position."""
        return self.out(self.hidden(self.embedding(x)).relu())


def complaint(f: Callable[[], Any]) -> str:
    """Return the error that a call ends in, in one line; empty if it ends well."""
    try:
        f()
    except Exception as error:  # any defect may show in any way
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    return ""


# %% [markdown]
r"""
What happens when one runs it
-----------------------------

(5) ``train`` is the name of a method that every Module has, to switch to training mode; PyTorch's ``eval()`` calls
``train(False)``, and breaks. (6) ``num_epochs`` is nowhere defined. (7) Cross-entropy wants one row of scores for each
target, and gets (B, T, V) with (B, T). (3) When all that is repaired, it is still not the formula: each position sees
one word, itself. (9) Splitting, tokenising, validating and saving stand in the seed's list of steps, not in its code.
(12) And two of its three references are wrong: the second has neither the authors nor the title of the GPT paper, the
third not the authors of its own (right ones at the end).
"""

# %%
if __name__ == "__main__":
    minillm.manual_seed(0)
    listing = ListingAsPrinted(7, 4, 4)
    ids = minillm.tensor([[3, 1, 4, 1, 5], [3, 5, 0, 6, 5]])
    pair = [(ids[:, :-1], ids[:, 1:])]
    found = {
        "5: train(False)": complaint(lambda: listing.train(False)),  # type: ignore[call-arg]
        "6: train(data)": complaint(lambda: listing.train(pair, "cpu")),
        "7: loss": complaint(lambda: nn.CrossEntropyLoss()(listing(pair[0][0]), pair[0][1])),
        "9: a text": complaint(lambda: listing("the cat")),
    }
    for what, error in found.items():
        print(f"defect {what}: {error}")
        assert error
    with minillm.no_grad():
        last = listing(ids)[:, -1].numpy()  # (2, 7)
    assert np.array_equal(last[0], last[1])
    print("defect 3: 3 1 4 1 5 and 3 5 0 6 5 give the same scores: only the last word counts")
    assert ListingAsPrinted.train.__annotations__["return"] == "None"
    print("defect 9: train returns nothing that one could judge, and sees no other text than the one it learns from")
    cited = {"Vaswani", "Shazeer", "Parmar", "Kurakin", "Norouzi"}
    authors = {"Vaswani", "Shazeer", "Parmar", "Uszkoreit", "Jones", "Gomez", "Kaiser", "Polosukhin"}
    print("defect 12: not an author of reference 3:", *sorted(cited - authors), "- left out:", *sorted(authors - cited))

# %% [markdown]
r"""
What can the listing learn? A table
-----------------------------------

Its scores depend on one word. So put every word in once: the V rows of scores, the *logit table*, are all that it
will ever say. With E the embedding, $W_1, W_2$ the two layers and $b_1, b_2$ their biases, the table is

$$ L = (E W_1^T + \mathbf{1} b_1^T) W_2^T + \mathbf{1} b_2^T = E W_1^T W_2^T + \mathbf{1} (W_2 b_1 + b_2)^T $$

(4) Two linear layers with nothing between them are one. The first term is a product through d and through h numbers,
so its *rank* (how many rows are needed of which all others are mixtures) is at most min(d, h). The biases add the same
row everywhere, which adds at most 1. So if d and h are V or more, *any* table can be reached, also the logarithms of
the counted shares, and on the text itself no table has a lower loss: training arrives, at best, where counting began.
If d or h is small, the table is squeezed. A ReLU, $\max(0, x)$, between the layers bends the rows apart, so a narrow E
no longer limits the rank (a narrow h still does). But it sees one word as before.
"""


# %%
def logit_table(model: nn.Module, vocab_size: int = V) -> np.ndarray:
    """Return the scores after every single word, (V, V)."""
    with minillm.no_grad():
        return model(minillm.arange(vocab_size).reshape(-1, 1))[:, 0].numpy()


# %%
if __name__ == "__main__":
    for width, kind in ((3, AutoRegressiveModel), (3, WithReLU)):
        table = logit_table(kind(V, width, 40))
        print(f"defect 4: {kind.__name__}, d = {width}, h = 40: rank {np.linalg.matrix_rank(table)} of {V}")
        assert (np.linalg.matrix_rank(table) <= width + 1) == (kind is AutoRegressiveModel)

# %% [markdown]
r"""
A label in front
----------------

(8) The listing's second class, for fine-tuning, is the first one under another name: it loads no weights and sees no
label. The second formula sums $W_h[w_j]$ "from j = 1 to y". (10) So a label is the upper end of a sum: the number of
words *of the text itself* that are added, the one to be guessed among them. Number the labels in another way, and all
changes. The repair (the seed asks for it: "convert the label into a word sequence"): label y stands for words
$l_1 l_2 \dots$, and the sum runs over these and over the words before:

$$ P(w_1 \dots w_n \mid y) = \prod_{i=1}^{n} \mathrm{softmax}\left(W_e + \sum_{j} W_h[l_j] + \sum_{j < i}
W_h[w_j]\right)[w_i] $$

(11) The seed calls this "multi-label regression". It is neither: nothing is fitted to numbers, and the words are not a
set of labels. It is a language model given a label: a distribution over texts. Lesson 16 builds on it.
"""


# %%
class SeedLabelLM(SeedLM):
    """The seed's formula given a label, whose words come first in the sum.

    Args:
        vocab_size: V.
        label_words: for each label the ids of its words.
    """

    def __init__(self, vocab_size: int, label_words: Sequence[Sequence[int]]) -> None:
        super().__init__(vocab_size)
        self.label_words = [list(words) for words in label_words]

    def log_prob(self, ids: Sequence[int], label: int) -> minillm.Tensor:
        """Return log P(w_1 .. w_n | label) of one text in nats, a 0-d tensor."""
        prefix = self.label_words[label]
        logits = self(minillm.tensor([[*prefix, *ids]]))[0]  # (T, V)
        rows = logits[len(prefix) - 1 : len(prefix) + len(ids) - 1].log_softmax(-1)
        return rows[minillm.arange(len(ids)), minillm.tensor(list(ids))].sum()

    def classify(self, ids: Sequence[int]) -> int:
        """Return the label under which the text is likeliest (all labels equally common)."""
        with minillm.no_grad():
            return int(np.argmax([self.log_prob(ids, label).item() for label in range(len(self.label_words))]))


def literal_probability(word: np.ndarray, context: np.ndarray, ids: Sequence[int], y: int) -> float:
    """Return the seed's second formula to the letter: the sum runs over the first y words of the text."""
    p = seed_probability_naive(word, context, [ids[j] for j in range(y)])
    return math.prod(float(p[w]) for w in ids)


# %%
if __name__ == "__main__":
    pretrained, tuned = AutoRegressiveModel(7, 4, 4), AutoRegressiveModel(7, 4, 4)
    assert not np.array_equal(logit_table(pretrained, 7), logit_table(tuned, 7))
    print("defect 8: the second class starts from other weights than pretraining ended with, and no label goes in")
    for y in (0, 1, 2):
        print(f"defect 10: P(4 2 | label number {y}) = {literal_probability(word, rows, [4, 2], y):.5f}")
    print("           number 3:", complaint(lambda: literal_probability(word, rows, [4, 2], 3)))
    total = sum(literal_probability(word, rows, [a, b], 2) for a in range(7) for b in range(7))
    labelled = SeedLabelLM(7, label_words=[[0], [5, 6]])
    labelled.load_state_dict(formula.state_dict())
    with minillm.no_grad():
        sums = [sum(labelled.log_prob([a, b], y).exp().item() for a in range(7) for b in range(7)) for y in (0, 1)]
    print(f"defect 11: all texts of two words sum to {total:.3f}; repaired, to {sums[0]:.3f} and {sums[1]:.3f}")
    assert np.allclose(sums, 1, atol=1e-5) and abs(total - 1) > 0.01

# %% [markdown]
r"""
Measure
-------

First the claim: with d and h of at least V, *gradient descent arrives at the counted table*. Then all models on
held-out text. The formula learns on windows, since it alone looks at more than one letter. The *surface* of its loss
has one valley only: scores are sums of parameters, and cross-entropy is *convex* in the scores (along no line does it
bend downwards), so a bad result is not bad luck. How far back should it sum?

(13) The text is in lower case without punctuation, the seed's second step: here, because 27 symbols make small tables.
It should be a choice that one measures: what is thrown away cannot be written any more, and may carry meaning.
"""


# %%
def trained(model: Any, ids: np.ndarray, n: int, steps: int, seed: int, lr: float, guesses: int = 2048) -> Any:
    """Return a model after training on windows of n symbols, with about so many guesses a step."""
    windows = (datasets.random_windows(ids, n, guesses // n, seed=seed, step=step) for step in range(steps))
    fit(model, ((minillm.tensor(x), minillm.tensor(y)) for x, y in windows), lr=lr)
    return model


def validation_loss(model: nn.Module, ids: np.ndarray, block_size: int = 16) -> float:
    """Return the loss in nats per symbol on a text, window by window."""
    return evaluate_language(model, ids, 1, block_size)["loss"]


def measure(corpus: datasets.TextCorpus, seed: int, steps: int, lengths: Sequence[int]) -> dict[str, float]:
    """Return bits per character of every model on held-out text; "excess" of the wide listing on the training text."""
    minillm.manual_seed(seed)
    texts = [shannon_letters(text) for text in (corpus.train, corpus.validation)]
    train, held = (np.array([LETTERS.index(c) for c in text]) for text in texts)
    _, alone, pairs = WittenBell(order=2).fit(texts[0]).bits(texts[1])
    found = {"count table": float(pairs)}
    # why 0.005: the noise of the batches stays below 0.02 bits; the sum of n rows wants steps smaller by sqrt(n). Of
    # the widths 32 is more than V, so it squeezes nothing; 3 is far less
    narrow = (("listing, d = 3", AutoRegressiveModel, 3), ("d = 3, + ReLU", WithReLU, 3))
    for name, kind, d in (("listing, d = 32", AutoRegressiveModel, 32), *narrow):
        model = trained(kind(V, d, 32), train, 16, steps, seed, lr=0.005)
        found[name] = validation_loss(model, held) / math.log(2)
        if d >= V:
            found["excess"] = validation_loss(model, train) / math.log(2) - shannon_f(texts[0], 2)
    for n in lengths:
        model = trained(SeedLM(V), train, n, steps, seed, lr=0.05 / math.sqrt(n))
        found[f"formula, {n} back"] = validation_loss(model, held, n) / math.log(2)
    return {**found, "letters alone": float(alone)}


# %%
if __name__ == "__main__":
    steps, lengths, seeds = (100, (1, 8), (0,)) if setting.fast else (500, (1, 2, 8, 32), (0, 1, 2))
    corpora = [datasets.load("stdlib-en", size=40_000 if setting.fast else "full", seed=seed) for seed in seeds]
    raw = corpora[0].train
    changed = sum(c.isupper() or not (c.isalpha() or c.isspace()) for c in raw) / len(raw)
    print(f"defect 13: {changed:.1%} of the characters are capitals, digits or marks: changed, or thrown away")
    measured = [measure(corpus, seed, steps, lengths) for seed, corpus in enumerate(corpora)]
    bits = {name: [one[name] for one in measured] for name in measured[0]}
    excess = max(bits.pop("excess"))
    print(f"on the training text the listing needs {excess:.4f} bits more than the counted table")
    assert -1e-4 < excess < (0.5 if setting.fast else 0.03)  # why 500 steps: with fewer it is more
    for name, values in bits.items():
        print(f"{name:<20} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}) bits per character")
    judged = BAND.judge(float(np.mean(bits["listing, d = 32"])), setting.fast)

# %% [markdown]
r"""
The figure
----------

- The wide listing is the counted table, but for 0.02 bits that noise in training costs. A. Karpathy's *makemore* shows
  the same for one layer and names. All that "deep learning" added here is time.
- The narrow listing is worse than counting: 4 of 27 ranks. A ReLU gives part of it back, since d no longer limits the
  rank. Nothing gets below the table, since nothing sees more than one letter.
- The formula with one letter back *is* a table: a row of $W_h$ for each letter. With more letters it gets *worse*,
  although it knows more. The nearest letter says by far the most about the next one, and the formula cannot tell which
  is the nearest: a letter has the same row wherever it stands. To see more helps only who can tell where.

In lesson 10 each position chooses where to look. The thin lines reach from the smallest to the largest of three splits.
"""

# %%
if __name__ == "__main__":
    fig, ax = figure()
    alone = float(np.mean(bits.pop("letters alone")))
    means = bars(ax, bits, ["#555555"] + [COLOURS[0]] * 3 + [COLOURS[1]] * len(lengths), start=2)
    for x, label in ((means[0], "counted pairs "), (alone, "letters alone ")):
        ax.axvline(x, color="#333333", linewidth=1, linestyle="--")
        ax.annotate(label, (x, -0.75), ha="right", color="#333333", fontsize=9)
    ax.set_ylim(len(bits) - 0.5, -1.1)
    ax.set_xlim(2, 4.3)
    ax.set_xlabel("bits per character, held-out text (the axis begins at 2)")
    ax.set_title("The listing is a counted table; the formula loses the order", loc="left", fontsize=11)
    each = ", ".join(f"{name}: {mean:.2f}" for name, mean in zip(bits, means))
    alt = f"Bars of bits per character on held-out text. {each}. A dashed line at {alone:.2f}: the shares of letters."
    numbers = {"bits": bits, "letters alone": alone, "band": judged}
    print(*save_figure(fig, setting.out / "l08_seed_models", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l08_seed_models.py``; ``minillm check 08`` says how far you are, and gives hints.

- ``Listing``: write the listing so that it runs: find its mistakes before you look at the repaired one.
- ``logit_table``: the V rows that are all a model of one word can say. A check looks at their rank.
- ``as_listing``: no training at all: find weights of the listing that give a table you choose, or the nearest one.

Then try: put ``WithReLU`` at d = 40 and h = 3; what is the rank now, and why? Give the formula one $W_h$ for the last
letter and another for all before: how many bits is the order of one letter worth?
"""

# %%
QUIZ = (
    Question(
        "The listing has 10 million parameters, and V = 500 words. What is the least loss it can have in training?",
        ("0", "that of the counted table of word pairs", "that of the shares of single words"),
        1,
        "It sees one word, so it has one row of answers for each word; the best are the counted shares. Parameters "
        "that make the same table in another way add nothing.",
    ),
    Question(
        "Embedding of width 16, hidden layer of width 64, no ReLU, biases, V = 500. How large can the rank be?",
        ("16", "64", "17"),
        2,
        "The product goes through 16 numbers, so its rank is at most 16; the biases add one and the same row to all "
        "rows, which adds at most one.",
    ),
    Question(
        "Why does the formula get worse when it sums over 32 letters and not over one?",
        ("It cannot tell which one is the nearest.", "It is stuck in a bad valley.", "It has too many parameters."),
        0,
        "A letter adds the same row wherever it stands, so all 32 speak equally loud. The loss is convex in the "
        "parameters, so there is no other valley, and their number does not depend on the length.",
    ),
)

# %%
if __name__ == "__main__":
    ask(8, QUIZ)

# %% [markdown]
r"""
Sources
-------

- A. Radford, K. Narasimhan, T. Salimans, I. Sutskever, Improving Language Understanding by Generative Pre-Training,
  2018 (what the seed's second reference should be).
- A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, L. Kaiser, I. Polosukhin, Attention Is All You
  Need, NeurIPS 2017 (the third).
- A. Karpathy, makemore, https://github.com/karpathy/makemore (a trained table of pairs equals the counted one).
- C. Eckart, G. Young, The Approximation of One Matrix by Another of Lower Rank, Psychometrika 1, 1936.
"""
