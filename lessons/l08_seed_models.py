# %% [markdown]
r"""
The seed's models, exactly
==========================

*What does this formula compute?*

This course grew from a short text about training language models. It gives a formula for pretraining,

$$ P(w_{t+1} \mid w_1 \dots w_t) = \mathrm{softmax}\left(W_e[w_{t+1}] + \sum_{i=1}^{t} W_h[w_i]\right), $$

a listing in PyTorch that is meant to implement it, and a second formula for fine-tuning with a label. This lesson
builds all three as they stand and trains them: the formula is a bag of words, and the listing sees one word only.
"""

# %%
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.optim as optim

QUESTION = "What does this formula compute?"


# %% [markdown]
r"""
The formula
-----------

For the formula to give one score for each candidate word v, $W_e$ must hold one number a word (a bias that says how
common the word is) and $W_h$ one row of V numbers a word (how much each word of the context speaks for every
candidate):

$$ \mathrm{score}(v) = W_e[v] + \sum_{i=1}^{t} W_h[w_i, v] $$

The order of the context does not matter. Naive: add up row after row. Real: a running sum over the rows of the text.
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


# %% [markdown]
r"""
The listing
-----------

Embedding, linear layer, linear layer: there is nothing between the two linear layers, so they are one matrix, and no
position sees any other, so the model is a table of word pairs. Its ``train`` method has the name of a method that every
Module has already; that is kept here because it is what the listing says. ``num_epochs`` was left undefined there.
"""


# %%
class AutoRegressiveModel(nn.Module):
    """The listing's model: embedding, linear, linear.

    Args:
        vocab_size: V.
        embedding_dim: width of the embedding.
        hidden_dim: width of the layer between.

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
        optimizer = optim.Adam(self.parameters())
        criterion = nn.CrossEntropyLoss()
        losses = []
        for _ in range(num_epochs):
            for x, y in data:
                x, y = x.to(device), y.to(device)
                y_hat = self(x)
                # The listing passes (B, T, V) and (B, T); cross-entropy wants one row a prediction.
                loss = criterion(y_hat.reshape(-1, y_hat.shape[-1]), y.reshape(-1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses


# %% [markdown]
r"""
A label in front
----------------

The second formula sums $W_h[w_j]$ "from j = 1 to y", with a label y as the upper bound. A label is not a number of
words. The repair: a label stands for a sequence of words, and the sum runs over these and over the words before:

$$ P(w_1 \dots w_n \mid y) = \prod_{i=1}^{n} \mathrm{softmax}\left(W_e[w_i] + \sum_{j} W_h[l_j] + \sum_{j < i}
W_h[w_j]\right) $$
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


# %% [markdown]
r"""
Check: the real version equals the naive one
--------------------------------------------
"""

# %%
if __name__ == "__main__":
    minillm.manual_seed(0)
    model = SeedLM(7)
    nn.init.normal_(model.word)
    nn.init.normal_(model.context.weight)
    text = [3, 1, 4, 1, 5]
    with minillm.no_grad():
        real = model(minillm.tensor([text]))[0].softmax(-1).numpy()
    naive = [
        seed_probability_naive(model.word.detach().numpy(), model.context.weight.detach().numpy(), text[: t + 1])
        for t in range(len(text))
    ]
    print("largest difference:", float(np.abs(real - naive).max()))
    assert np.allclose(real, naive, atol=1e-6)

# %% [markdown]
r"""
Measure: three models on one text
---------------------------------

The same text in words, the same batches: the formula, the listing, and the table of word pairs that is counted.
"""


# %%
def word_batches(steps: int, block_size: int = 16, batch_size: int = 16, vocab_size: int = 500, seed: int = 0) -> Any:
    """Return training batches, validation ids and the vocabulary of ``stdlib-en`` in lower-case words without
    punctuation.
    """
    from minillm import datasets
    from minillm.text import Normalizer, WordTokenizer

    corpus = datasets.load("stdlib-en", seed=seed)
    clean = Normalizer(nfc=True, lowercase=True, strip_punctuation=True)
    train, validation = clean(corpus.train), clean(corpus.validation)
    tokenizer = WordTokenizer.train(train, vocab_size)
    ids = tokenizer.encode_array(train)
    batches = [
        tuple(map(minillm.tensor, datasets.random_windows(ids, block_size, batch_size, seed=seed, step=step)))
        for step in range(steps)
    ]
    return batches, tokenizer.encode_array(validation), tokenizer


def validation_loss(model: nn.Module, ids: np.ndarray, block_size: int = 16) -> float:
    """Return the loss in nats per word on a text, window by window."""
    from minillm.training import evaluate_language

    return evaluate_language(model, ids, 1, block_size)["loss"]


# %%
if __name__ == "__main__":
    batches, held_out, tokenizer = word_batches(steps=300)
    minillm.manual_seed(0)
    formula = SeedLM(tokenizer.vocab_size)
    fit(formula, batches)
    listing = AutoRegressiveModel(tokenizer.vocab_size, embedding_dim=64, hidden_dim=64)
    listing.train(batches, "cpu", num_epochs=3)
    print(f"formula: {validation_loss(formula, held_out):.3f} nats per word")
    print(f"listing: {validation_loss(listing, held_out):.3f} nats per word")
