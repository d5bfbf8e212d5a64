# %% [markdown]
r"""
From a label to words
=====================

*Can a label write the sentence?*

A classifier goes from words to a label. This lesson goes the other way: given a label, the model writes the words. It
is the second of the two ways of fine-tuning. Bayes' rule turns it round: a model that knows how texts about fruit are
written, and how texts about tools are, can tell which of the two a text is.

- You need: lessons 07 (naive Bayes), 08 (the formula with a label), 11 and 12 (the GPT, pretraining) and 15
- Time: 80 s and 170 MB on two cores
- Corpus: ``microworld`` to pretrain on, ``microworld-topics`` with labels, as in lesson 15
- Band: 0.36 to 0.56 test accuracy (label vectors, 50 labels, mean of three seeds)
"""

# %%
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minillm
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from lessons.l11_gpt import GPT, GPTConfig
from lessons.l12_pretraining import load_run, preprocess
from lessons.l15_classification import few_labels
from lessons.parts.l15_label_curves import label_curves, pretrain_body, subset
from lessons.parts.l15_labelled import begin_or_go_on, draw, load_labelled, record_of
from lessons.parts.l16_label_vectors import LabelVectors
from lessons.parts.l16_writing_task import Pair, WritingTask, collate
from minillm import datasets
from minillm.datasets import IGNORE_INDEX
from minillm.generation import Sampling, generate
from minillm.text import ByteBPETokenizer, Tokenizer
from minillm.training import Trainer, TrainingConfig, read_config, save_figure, write_atomically
from minillm.training.baselines import label_baselines

Examples = Sequence[tuple[str, int]]
QUESTION = "Can a label write the sentence?"
BAND = Band(
    "test accuracy of label vectors with 50 labels",
    0.36,
    0.56,
    "which texts get a label, and what the body read first: 0.47 here, with two other bodies 0.42 and 0.49",
)
END = "\n\n"
"""What ends a text: an empty line, as in the text that the model was pretrained on."""

# %% [markdown]
r"""
The label as a word sequence
----------------------------

The probability of a text, given its label y, is a product of guesses, as in lesson 01; each guess now sees the label
too. The seed's formula, as lesson 08 repaired it, makes them of three sums: how common a word is, what the words of
the label say about it, and what the words before it say:

$$ P(w_1 \dots w_n \mid y) = \prod_{i=1}^{n} \mathrm{softmax}\left(W_e + \sum_{j} W_h[l_j] + \sum_{j < i}
W_h[w_j]\right)[w_i] $$

Here $l_1 l_2 \dots$ is the *word sequence of the label*. (As printed, the sum ran up to y, so the label was a number of
words.) Without the third sum, every word depends on the label alone: that is naive Bayes, a row of word shares for each
label. With it, order is still lost. So we put in their place what lesson 12 has pretrained: the label's words are
written in front of the text, and a GPT reads on. Only the words of the text count in the loss, since nobody wants to
predict the label:

$$ \log P(w_1 \dots w_n \mid y) = \sum_{i=1}^{n} \log P_{\mathrm{GPT}}(w_i \mid l_1 l_2 \dots, w_1 \dots w_{i-1}) $$

Keskar and others (2019) trained CTRL in this way, a large GPT with *control codes* in front of its texts.

One trap. The model sees ``block_size`` tokens, and labels differ in length. If each text is cut where its own label
leaves off, a long label has fewer words to guess, so a larger probability, and wins. All labels get the same words.
"""


# %%
def label_words(label: str) -> str:
    """Return the words that stand for a label in front of a text.

    >>> label_words("text processing")
    'Topic: text processing\\n\\n'
    """
    return f"Topic: {label}\n\n"


def room_beside(labels: Sequence[str], tokenizer: Tokenizer, block_size: int) -> int:
    """Return how many tokens of a text the model can judge, whichever of the labels stands in front.

    Raises:
        ValueError: if the longest label leaves no room.
    """
    longest = max(labels, key=lambda label: len(tokenizer.encode(label_words(label))))
    room = block_size + 1 - len(tokenizer.encode(label_words(longest)))
    if room < 1:
        raise ValueError(f"the label {longest[:40]!r} fills the {block_size} tokens that the model sees; shorten it")
    return room


def encode_pair(text: str, label: str, tokenizer: Tokenizer, room: int) -> Pair:
    """Return inputs and targets of one text with its label in front; of the text so many tokens as there is room for.

    Targets inside the label's words are ignored: the model is to learn the text given the label, not the label.
    """
    prefix, words = tokenizer.encode(label_words(label)), tokenizer.encode(text.strip() + END)[:room]
    ids = [*prefix, *words]
    return ids[:-1], [IGNORE_INDEX] * (len(prefix) - 1) + words


def log_probability_naive(model: GPT, text: str, label: str, tokenizer: Tokenizer, room: int) -> float:
    """Return log P(text | label) in nats, one word after the other."""
    past, total = tokenizer.encode(label_words(label)), 0.0
    for word in tokenizer.encode(text.strip() + END)[:room]:
        logits = model(minillm.tensor([past]))[0, -1]  # (V,)
        total += logits.log_softmax(-1)[word].item()
        past = [*past, word]
    return total


# %% [markdown]
r"""
A label writes
--------------

To write is lesson 11's loop, begun with the label. ``write_clearly`` lets each label write several drafts and keeps the
one that Bayes' rule (next) gives to its label most surely.
"""


# %%
def write(
    model: GPT,
    tokenizer: Tokenizer,
    labels: Sequence[str],
    length: int = 40,
    seed: int = 0,
    how: Sampling | None = None,
) -> list[str]:
    """Return a text by the model for each of the labels; a label that stands there twice gets two texts."""
    prompts = [tokenizer.encode(label_words(label)) for label in labels]
    generator = minillm.Generator().manual_seed(seed)
    rows = generate(model, prompts, length, how or Sampling(temperature=0.7, top_k=40), generator=generator)
    texts = [tokenizer.decode(row[len(p) :]) for row, p in zip(rows, prompts, strict=True)]
    return [text.split(END)[0].strip() for text in texts]


def write_clearly(
    model: GPT, tokenizer: Tokenizer, labels: Sequence[str], prior: np.ndarray, drafts: int = 8, seed: int = 0
) -> dict[str, str]:
    """Return a text for each label: the one of several drafts that Bayes' rule gives to the label most surely."""
    texts = write(model, tokenizer, [label for label in labels for _ in range(drafts)], seed=seed)
    p = classify(model, tokenizer, texts, labels, prior).reshape(len(labels), drafts, len(labels))
    best = [int(p[y, :, y].argmax()) for y in range(len(labels))]
    return {label: texts[y * drafts + best[y]] for y, label in enumerate(labels)}


# %% [markdown]
r"""
Bayes' rule: the writer as a classifier
---------------------------------------

How likely is each label, after the words were seen? With P(y), the share of label y in training, the *prior*:

$$ P(y \mid w_1 \dots w_n) = \frac{P(y) \, P(w_1 \dots w_n \mid y)}{\sum_{c} P(c) \, P(w_1 \dots w_n \mid c)} $$

The sum below is the *evidence*, P(text): the same for all labels, so the best label is found without it. Probabilities
of texts are tiny (50 words at one in ten: $10^{-50}$), so all is done in logarithms, and the largest is taken out
before the exponential. It costs one pass through the model *for each label*; a classifier needs one.
"""


# %%
def log_likelihoods(
    model: GPT, tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str], batch_size: int = 64
) -> np.ndarray:
    """Return log P(text | label) in nats for every text and label, (N, number of labels)."""
    room, device = room_beside(labels, tokenizer, model.config.block_size), model.tokens.weight.device
    pairs = [encode_pair(text, label, tokenizer, room) for text in texts for label in labels]
    # Texts of similar length side by side: less filling.
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
    found = np.zeros(len(pairs))
    model.eval()
    with minillm.no_grad():
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            x, y = collate([pairs[i] for i in rows])  # (B, T), (B, T)
            logits = model(minillm.tensor(x, device=device))  # (B, T, V)
            losses = F.cross_entropy(
                logits.view(-1, logits.shape[-1]), minillm.tensor(y.reshape(-1), device=device), reduction="none"
            )
            found[rows] = -losses.cpu().numpy().reshape(x.shape).sum(axis=1)
    return found.reshape(len(texts), len(labels))


def by_bayes(log_p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return P(label | text) from log P(text | label), (N, number of labels) to the same."""
    joint = log_p + np.log(prior)
    p = np.exp(joint - joint.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def classify(
    model: GPT, tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str], prior: np.ndarray
) -> np.ndarray:
    """Return P(label | text) by Bayes' rule, (N, number of labels)."""
    return by_bayes(log_likelihoods(model, tokenizer, texts, labels), prior)


def label_prior(examples: Examples, n_labels: int) -> np.ndarray:
    """Return the share of each label, with one imagined example of each so that none is impossible."""
    counts = np.bincount([y for _, y in examples], minlength=n_labels) + 1.0
    return counts / counts.sum()


# %% [markdown]
r"""
A vector for each label
-----------------------

With a handful of labelled texts it is a risk to change all weights. There is a smaller way to tell a GPT the label, and
it is nearer to the formula: leave the GPT as it is, and add to what it expects next, h, a vector $e_y$ of the label,
before the scores are made:

$$ \mathrm{scores} = W (h_i + e_y) = W h_i + W e_y $$

The first term is what the words before say, said by a GPT; the second is one row of V numbers for each label, the same
at all places: the formula's row $W_h[l]$, made of C numbers instead of V. C is 64 here, so a label has 64 numbers to
learn, and what raises *mango* raises the words whose vectors are like it. Since e comes last, the body reads a text
once, not once for each label. (Yogatama and others, 2017, whom we follow in the measurement, share one network among
all labels in one of their models.)
"""


# %% [markdown]
r"""
Check
-----

One word after the other, with a loop over labels, and all at once in batches: the same logarithms, also for texts that
are filled up, or cut. Whatever the label, the same words are judged. Bayes' rule gives shares, which sum to 1. A label
vector adds the same row of scores everywhere, and 0 adds nothing.
"""

# %%
if __name__ == "__main__":
    setting = options()
    minillm.manual_seed(0)
    small, letters = GPT(GPTConfig(256, 40, n_layer=1, n_head=2, n_embd=16)).eval(), ByteBPETokenizer([], ())
    names, texts = ("tool", "instrument"), ["a saw", "an old flute", "a text that is too long for the model"]
    room = room_beside(names, letters, small.config.block_size)
    fast = log_likelihoods(small, letters, texts, names)  # (3, 2)
    with minillm.no_grad():
        slow = [[log_probability_naive(small, text, name, letters, room) for name in names] for text in texts]
        assert np.allclose(fast, slow, rtol=1e-5), f"{fast} in batches, {slow} by the loop"
        words = [[sum(y >= 0 for y in encode_pair(t, name, letters, room)[1]) for name in names] for t in texts]
        assert words == [[7, 7], [14, 14], [room, room]]
        assert np.allclose(by_bayes(fast, np.array([0.3, 0.7])).sum(axis=1), 1)
        h = small.features(minillm.tensor([[3, 1, 4], [1, 5, 9]]))  # (2, 3, 16)
        vectors, given = LabelVectors(small, 2), minillm.tensor([0, 1])
        own = vectors(h, given)  # (2, 3, 256)
        assert np.allclose(own.numpy(), small.head(h).numpy(), atol=1e-6)
        vectors.labels.weight.copy_(minillm.randn(2, 16))
        row = (vectors(h, given) - own).numpy()  # (2, 3, 256)
    assert np.allclose(row, row[:, :1], atol=1e-5) and np.abs(row[0] - row[1]).max() > 0.1
    print("word by word or in batches, with filling or cut: the same; a label adds one row of scores")

# %% [markdown]
r"""
The eight steps of fine-tuning in one function
----------------------------------------------

``minillm finetune --task generate`` calls this, and ``minillm demo``: docstrings and their topics, or a table of yours.
"""


# %%
def writing_task(
    model: GPT, tokenizer: Tokenizer, train: Examples, held_out: Examples, labels: Sequence[str], batch: int, seed: int
) -> WritingTask:
    """Return the task of learning P(text | label) from labelled texts, judged on held-out ones."""
    room = room_beside(labels, tokenizer, model.config.block_size)
    texts = [text for text, _ in held_out]
    pairs = [encode_pair(text, labels[y], tokenizer, room) for text, y in train]
    return WritingTask(
        pairs, batch, seed, given=np.array([y for _, y in held_out]), prior=label_prior(train, len(labels)),
        words=sum(len(tokenizer.encode(text.strip() + END)[:room]) for text in texts),
        judge=lambda model: log_likelihoods(model, tokenizer, texts, labels),
        sample=lambda model: "\n".join(map(": ".join, zip(labels, write(model, tokenizer, labels)))),
    )  # fmt: skip


@dataclass
class Generator:
    """A fine-tuned writer: its run folder, the model, the names of the labels, and the figures."""

    folder: Path
    model: GPT
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    figures: dict[str, Any]


def finetune(
    folder: str | Path, pretrained: str | Path, *, settings: dict[str, Any] | None = None,
    table: dict[str, Any] | None = None, device: str = "cpu", title: str | None = "label to words",
    force: bool = False, test_texts: int = 200, resuming: bool = False,
) -> Generator:  # fmt: skip
    """Fine-tune a pretrained GPT so that a label writes texts, and leave a run folder behind.

    The steps: (1) load the labelled texts, which come split; (2) preprocess: the pretrained tokenizer; (3) load the
    pretrained model; (4) labels become word sequences; (5) the probability of every word given label and past; (6)
    gradient descent; (7) judge on the validation texts and keep the best; (8) save.

    Args:
        settings: changes to the usual training settings.
        test_texts: on so many test texts the classification by Bayes' rule is judged (each costs a pass a label).
        folder, pretrained, table, device, title, force, resuming: see lesson 15.
    """
    model, tokenizer, config = load_run(pretrained, device)
    corpus = load_labelled(table)
    # why 3e-3: 1e-3 needs twice the steps to the same accuracy (validation texts of the toy town), 1e-2 gains nothing
    usual = {"steps": 400, "batch_size": 16, "lr": 3e-3, "warmup_steps": 20, "eval_every": 80, "weight_decay": 0.05}
    training = TrainingConfig(**{**usual, **(settings or {})})
    prior = label_prior(corpus.train, len(corpus.labels))
    folder = Path(folder)
    record = record_of(
        "generator", corpus, tokenizer, config, training=training.to_dict(), pretrained=str(pretrained), table=table,
        device=device, bits_per_nat=config["bits_per_nat"], prior=prior.tolist(), test_texts=test_texts,
    )  # fmt: skip
    held_out = subset(corpus.validation, 60, 0)  # why 60: a look then costs as much as a few training steps
    task = writing_task(model, tokenizer, corpus.train, held_out, corpus.labels, training.batch_size, training.seed)
    record = begin_or_go_on(folder, record, corpus, force=force, resuming=resuming)
    tokenizer.save(folder / "tokenizer.json")
    trainer = Trainer(model, task, training, folder, title=title, about=record)
    if resuming:
        trainer.resume()
    trainer.fit()
    trainer.load_best()
    test, right = zip(*subset(corpus.test, test_texts, 0))
    p = classify(model, tokenizer, test, corpus.labels, prior)
    result = {
        "test_accuracy": float((p.argmax(axis=1) == right).mean()),
        "test_texts": len(test),
        "samples": write_clearly(model, tokenizer, corpus.labels, prior),
        "validation_baselines": label_baselines(corpus.train, held_out, len(corpus.labels)),
    }
    write_atomically(folder / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    picture = f"Telling topics apart by Bayes' rule, with a model that writes texts of {len(corpus.labels)} topics"
    draw({folder.name: folder}, folder / "curves", picture)
    return Generator(folder, model, tokenizer, corpus.labels, result)


def resume(folder: str | Path, title: str | None = "label to words") -> Generator:
    """Go on with an interrupted run in its folder, exactly where it stopped."""
    config = read_config(folder)
    more = {key: config[key] for key in ("table", "device", "test_texts")}
    return finetune(folder, config["pretrained"], settings=config["training"], title=title, resuming=True, **more)


# %% [markdown]
r"""
Measure
-------

The same network, the same few labels, two questions asked of it. *Generative*: a vector for each label, learned so that
the labelled texts become likely, and Bayes' rule. *Discriminative*: lesson 15's classifier, head and body, learned so
that the labels become likely; it also gets held-out texts with labels, to stop at the right time, and the generative
one gets none. And naive Bayes, a generative classifier without order. All learn from the same texts, as in lesson 15.

Yogatama and others (2017) made this comparison with LSTMs, a kind of network older than the GPT: the generative ones
were better with few labels, came sooner to where they stay, and stayed at a higher error; with many labels the
discriminative ones won. It is what Ng and Jordan had found for naive Bayes and logistic regression (lesson 07).

Then a writer, with the label in front and all weights learning, from 400 labelled texts. Its accuracy by Bayes' rule
says how well its labels are obeyed.
"""

# %%
if __name__ == "__main__":
    from lessons.parts.l16_measure import by_label_vectors, draw_figure, train_writer

    stories = datasets.load("microworld", size=30_000 if setting.fast else 300_000)
    tokens = preprocess(stories, 300 if setting.fast else 512)
    corpus = datasets.load("microworld-topics", size=100 if setting.fast else "full")
    body, tokenizer = pretrain_body(tokens, 10 if setting.fast else 600), tokens.tokenizer
    sizes, test_texts = ((50,), 40) if setting.fast else ((25, 50, 100, 200), 250)
    shorter = {"steps": 5} if setting.fast else {}
    methods = {"generative": by_label_vectors(body, tokenizer, corpus, test_texts, **shorter)} | {
        name: few_labels(body, tokenizer, corpus, how, test_texts, **shorter)
        for name, how in (("discriminative", "full"), ("naive Bayes",) * 2)
    }
    curves = label_curves(methods, sizes, seeds=(0,) if setting.fast else (0, 1, 2))
    judged = BAND.judge(float(np.mean(curves["generative"][50])), setting.fast)

# %%
if __name__ == "__main__":
    n, steps, seeds, drafts = (50, 5, (0,), 1) if setting.fast else (400, 100, (0, 1, 2), 8)
    writers = [train_writer(body, tokenizer, corpus, n, seed, steps, test_texts) for seed in seeds]
    right = [accuracy for _, _, accuracy in writers]
    print(f"label in front, {n} labels: {np.mean(right):.2f} ({min(right):.2f} to {max(right):.2f})")
    samples = write_clearly(writers[0][0], tokenizer, corpus.labels, writers[0][1], drafts)
    for label, text in samples.items():
        print(f"{label:<11} {text!r}")

# %% [markdown]
r"""
The figure
----------

With 25 labels the generative classifier is right about 0.36 of the texts, the discriminative one about 0.12, which is
guessing. With 50 it is 0.47 against 0.42, and the draws overlap. From 100 on the discriminative one is ahead, and with
200 it has 0.92 against 0.66, and the other hardly gains any more. That is the shape that Yogatama and others found.

What differs: their networks learned from nothing but the labelled texts, ours share a body that has read. And naive
Bayes passes the label vectors at the end: 64 numbers cannot raise *mango* and leave its neighbours as they are. (With
V numbers for a label, in one trial, there was less at 50 and 100 labels, and more at 200.)

The writer with the label in front is right about 0.81 with 400 labels, below the discriminative one with half as many.
Its texts are those of the town, and most of them, not all, are about their label: some garment is a saw.
"""

# %%
if __name__ == "__main__":
    guessing = label_baselines(corpus.train, corpus.test[:test_texts], len(corpus.labels))["majority"]
    fig = draw_figure(curves, guessing, samples)
    ends = ("; ".join(f"{name} {np.mean(v[n]):.2f}" for name, v in curves.items()) for n in (sizes[0], sizes[-1]))
    alt = (
        "Two panels. Left: a text written by the model for each of eight labels, from fruit to jewel. Right: test "
        "accuracy against {} to {} labels, means of three seeds with error bars; left end: {}; right end: {}."
    ).format(sizes[0], sizes[-1], *ends)
    numbers = {"labels": sizes, "accuracy": curves, "label in front": right, "samples": samples,
               "largest class": guessing, "band": judged}  # fmt: skip
    print(*save_figure(fig, setting.out / "l16_label_to_words", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l16_label_to_words.py``; ``minillm check 16`` says how far you are, and gives hints.

- ``sequence_log_probability``: from scores to the logarithm of a text's probability; padding must never change it.
- ``log_evidence``: the probability of the text, whatever its label, for texts so long that no float holds it.
- ``label_probabilities``: Bayes' rule, the last piece of the classifier.

Then try: which of two labels does a text get that is about both? Give ``Sampling`` a temperature of 0.1, then of 2.
What is P(text) good for by itself? (Ask for that of a text of lesson 01.)
"""

# %%
QUIZ = (
    Question(
        "A text is to be given one of 1,000 labels, by a model that reads the label in front. What does it cost?",
        ("One pass through the model, and 1,000 scores.", "1,000 passes, one for each label.", "No pass at all."),
        1,
        "P(text | label) is asked for each label, and the label in front changes what every position sees. Where the "
        "label comes in only at the end, as with label vectors, the body reads once.",
    ),
    Question(
        "Text and label together are cut to 64 tokens, and 'ox' is shorter than 'musical instrument'. Which wins?",
        ("'ox', too often", "Neither: probabilities take care of it.", "'musical instrument', too often"),
        2,
        "Behind the longer label fewer words of the text are left, and each word that is not judged saves a factor "
        "below 1. All labels must be asked about the same words.",
    ),
    Question(
        "Why may the generative classifier be ahead with 25 labels, and behind with thousands?",
        (
            "It must explain all words, which is a strong assumption: it needs less data, and errs where it is wrong.",
            "It has more parameters, and these are filled later.",
            "Bayes' rule holds only for few labels.",
        ),
        0,
        "That each label raises the same words everywhere is nearly true, and says a lot. The discriminative one "
        "assumes less, needs the labels to tell it all, and in the end is not held back.",
    ),
)

# %%
if __name__ == "__main__":
    ask(16, QUIZ)

# %% [markdown]
r"""
Sources
-------

- D. Yogatama, C. Dyer, W. Ling, P. Blunsom, Generative and Discriminative Text Classification with Recurrent Neural
  Networks, 2017, https://arxiv.org/abs/1703.01898.
- N. S. Keskar, B. McCann, L. R. Varshney, C. Xiong, R. Socher, CTRL: A Conditional Transformer Language Model for
  Controllable Generation, 2019, https://arxiv.org/abs/1909.05858 (codes in front of texts, and which code a text fits).
- A. Y. Ng and M. I. Jordan, On Discriminative vs. Generative Classifiers, NIPS 14, 2001.
"""
