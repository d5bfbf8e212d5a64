# %% [markdown]
r"""
A pretraining run, end to end
=============================

*What do the seven steps look like for real?*

Pretraining needs no labels: the next word of every text is known. Seven steps lead from a text to a saved model:

1. load the text and split it into a part to learn from and a part to be judged on;
2. preprocess it: cut it into tokens, and if one wants strip punctuation and lower the case;
3. initialise the parameters of the model;
4. compute the conditional probability of every token given those before it, $P(w_{t+1} \mid w_1 \dots w_t)$;
5. change the parameters by gradient descent so that the loss, $-\log P$, falls;
6. evaluate on the validation part and tune the settings;
7. save the model.

Each is a function here, ``pretrain`` does all of them, and ``minillm pretrain`` calls it.

- You need: lesson 02 (tokens), 05 (the optimizer and its step size), 11 (the GPT)
- Time: 45 s and 180 MB on two cores
- Corpus: ``microworld``, stories of a toy town, made by a grammar: how low the loss can get is known exactly
- Band: 0.45 to 0.6 bits per byte (held-out text, mean of three seeds)
"""

# %%
from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from lessons.frame import Band, Question, ask, options
from lessons.l11_gpt import GPT, SIZES, GPTConfig
from lessons.parts.l12_saved_runs import draw_curves
from lessons.parts.l12_saved_runs import load_run as load_run  # step 7 read backwards, for later lessons
from minillm import datasets
from minillm.generation import Sampling, generate
from minillm.text import ByteBPETokenizer, Normalizer, Tokenizer
from minillm.training import (
    Checkpoints,
    LanguageTask,
    RunError,
    Trainer,
    TrainingConfig,
    create_run,
    evaluate_language,
    go_on,
    read_config,
    save_figure,
    write_atomically,
)
from minillm.training.baselines import WittenBell, text_baselines

QUESTION = "What do the seven steps look like for real?"
PROMPTS = ("The ", "Return the ", "If the")
BAND = Band(
    "bits per byte on held-out text, mean of three seeds",
    0.45,
    0.6,
    "the corpus is the same everywhere; other numbers of threads and other processors round differently, which a few "
    "hundred steps of training enlarge",
)


# %% [markdown]
r"""
Steps 1 to 3: text, tokens, parameters
--------------------------------------

``load_and_split`` takes what the reader's own Python brings along, or a folder. A paragraph goes to one part or the
other, never to both, and repeated paragraphs are removed first: otherwise learning by heart would be rewarded.
"""


# %%
@dataclass(frozen=True)
class Tokens:
    """A corpus as token ids, with what is needed to turn them back into text.

    Attributes:
        tokenizer: text to ids and back.
        train, validation: ids.
        train_bytes, validation_bytes: lengths of the two texts in UTF-8.
    """

    tokenizer: Tokenizer
    train: np.ndarray
    validation: np.ndarray
    train_bytes: int
    validation_bytes: int

    @property
    def bits_per_nat(self) -> float:
        """What one nat per token is in bits per byte, on the validation text."""
        return (len(self.validation) - 1) / self.validation_bytes / math.log(2)


def load_and_split(text: str | Path | None = None, seed: int = 0) -> datasets.TextCorpus:
    """Step 1: load a text and split it; the standard library's English and docstrings if none is given."""
    return datasets.pretraining_mix(seed=seed) if text is None else datasets.from_folder(text, seed=seed)


def preprocess(corpus: datasets.TextCorpus, vocab_size: int = 4096, normalizer: Normalizer | None = None) -> Tokens:
    """Step 2: normalise (if asked to), learn a vocabulary from the training part, and cut both parts into tokens."""
    train, validation = corpus.train, corpus.validation
    if normalizer is not None:
        train, validation = normalizer(train), normalizer(validation)
    tokenizer = ByteBPETokenizer.train(train, vocab_size)
    return Tokens(
        tokenizer,
        tokenizer.encode_array(train),
        tokenizer.encode_array(validation),
        len(train.encode("utf-8")),
        len(validation.encode("utf-8")),
    )


def initialise(config: GPTConfig, seed: int, device: str = "cpu") -> GPT:
    """Step 3: a model with random parameters, the same for the same seed on every device."""
    minillm.manual_seed(seed)
    return GPT(config).to(device)


# %% [markdown]
r"""
Step 4: the conditional probability of every token
--------------------------------------------------

One pass gives them all: row t of the logits (the scores before the softmax) belongs to the token after t. This
function spells it out for a text; the trainer computes the same, and only its mean.
"""


# %%
def token_probabilities(model: GPT, ids: list[int]) -> np.ndarray:
    """Step 4: return $P(w_{t+1} | w_1 .. w_t)$ for t = 1 .. n - 1 of one text of at most ``block_size`` tokens."""
    with minillm.no_grad():
        logits = model(minillm.tensor([ids], device=model.tokens.weight.device))[0]  # (T, V)
        p = logits.softmax(-1)
        return p[minillm.arange(len(ids) - 1, device=p.device), minillm.tensor(ids[1:], device=p.device)].cpu().numpy()


# %%
if __name__ == "__main__":
    setting = options()
    corpus = datasets.load("microworld", size=30_000 if setting.fast else 300_000)
    # why 512: the town has few words; with them whole, a window of 64 tokens sees a whole story
    tokens = preprocess(corpus, 300 if setting.fast else 512)
    shape = GPTConfig(tokens.tokenizer.vocab_size, block_size=64, n_layer=2, n_head=2, n_embd=64)
    model = initialise(shape, seed=0)
    print(f"{len(tokens.train):,} tokens to learn from, {model.num_parameters():,} parameters to learn")
    ids = tokens.validation[:20].tolist()
    at_once = token_probabilities(model, ids)
    # The naive way runs the model once for each beginning of the text.
    one_by_one = [token_probabilities(model, ids[: t + 1])[-1] for t in range(1, len(ids))]
    assert np.allclose(at_once, one_by_one, rtol=1e-4)
    bits = -np.log2(at_once).mean()
    print(f"before any training: {bits:.2f} bits per token; guessing evenly: {math.log2(shape.vocab_size):.2f}")
    assert abs(bits - math.log2(shape.vocab_size)) < 1

# %% [markdown]
r"""
Steps 5 to 7: train, judge, tune, save
--------------------------------------

``Trainer`` does step 5: take a batch, compute the loss, go a step downhill, and now and then look at the validation
text. Everything goes into one folder: settings, vocabulary, log, texts that the model wrote, and *checkpoints*, from
which the run can go on. To write, the model draws from its 50 likeliest tokens at a temperature of 0.8 (lesson 11): a
little more cautious than it is, so that what it has learned shows through.
"""


# %%
def sample_text(
    model: GPT, tokenizer: Tokenizer, prompts: tuple[str, ...] = PROMPTS, length: int = 60, seed: int = 1
) -> str:
    """Return texts that continue fixed prompts, one a line: what to read while the loss falls."""
    generator = minillm.Generator().manual_seed(seed)
    rows = generate(
        model, [tokenizer.encode(p) for p in prompts], length, Sampling(temperature=0.8, top_k=50), generator=generator
    )
    return "\n".join(repr(tokenizer.decode(row))[1:-1] for row in rows)


@dataclass
class Pretrained:
    """A run: its folder, the model with its best weights, the tokens, and the figures."""

    folder: Path
    model: GPT
    tokens: Tokens
    trainer: Trainer
    figures: dict[str, Any]


def pretrain(
    folder: str | Path,
    corpus: datasets.TextCorpus | None = None,
    *,
    size: str | dict[str, int] = "small",
    vocab_size: int = 4096,
    training: TrainingConfig | None = None,
    text: str | None = None,
    device: str = "cpu",
    dropout: float = 0.0,
    title: str | None = "pretraining",
    force: bool = False,
    baselines: dict[str, Any] | None = None,
    tokens: Tokens | None = None,
    resume: bool = False,
) -> Pretrained:
    """Do all seven steps and leave a run folder behind.

    Args:
        folder: of the run.
        corpus: the text; ``load_and_split(text)`` if not given.
        size: "tiny", "small" or "base", see ``SIZES``; or such settings themselves.
        vocab_size: tokens of the byte-level BPE vocabulary.
        training: how to train.
        text: where the corpus comes from, for ``resume``; ``None`` is the standard library.
        device: "cpu" or "cuda".
        dropout: share of activations set to 0 in training.
        title: of the progress bar; ``None`` shows none.
        force: start anew in a folder that holds an earlier run.
        baselines: what ``text_baselines`` returned for this corpus, if it is known already.
        tokens: what ``preprocess`` returned for this corpus, if it is known already.
        resume: go on with the run in the folder.
    """
    if isinstance(size, str) and size not in SIZES:
        raise ValueError(f"size={size!r} (expected one of {', '.join(SIZES)}, or such settings themselves)")
    training = training or TrainingConfig()
    corpus = corpus or load_and_split(text, training.seed)
    tokens = tokens or preprocess(corpus, vocab_size)
    shape = GPTConfig.from_dict(
        {
            **(SIZES[size] if isinstance(size, str) else size),
            "vocab_size": tokens.tokenizer.vocab_size,
            "dropout": dropout,
        }
    )
    if min(len(tokens.train), len(tokens.validation)) < shape.block_size + 1:
        raise ValueError(
            f"the text gives {len(tokens.train)} tokens to train on and {len(tokens.validation)} to validate on, but "
            f"the model reads {shape.block_size} at a time; give a longer text or a smaller --size"
        )
    model = initialise(shape, training.seed, device)
    folder = Path(folder)
    config = {
        "kind": "pretrain",
        "model": shape.to_dict(),
        "training": training.to_dict(),
        "size": size,
        "vocab_size": vocab_size,
        "dropout": dropout,
        "text": text,
        "device": device,
        "bits_per_nat": tokens.bits_per_nat,
        "tokenizer_sha256": tokens.tokenizer.fingerprint(),
        "corpus_sha256": corpus.card.sha256,
    }
    if resume:
        config = go_on(folder, config)
    else:
        create_run(folder, config, {"corpus": corpus.card.to_dict()}, force)
    tokens.tokenizer.save(folder / "tokenizer.json")
    task = LanguageTask(
        tokens.train,
        tokens.validation,
        tokens.validation_bytes,
        block_size=shape.block_size,
        batch_size=training.batch_size,
        seed=training.seed,
        evaluation_tokens=10_000,
        sampler=lambda m: sample_text(m, tokens.tokenizer),
    )
    trainer = Trainer(model, task, training, folder, title=title, about=config)
    if resume:
        trainer.resume()
    trainer.fit()
    trainer.load_best()
    # why stride: in training every window starts without a past; to judge, each token gets at least half a window.
    figures = evaluate_language(
        model, tokens.validation, tokens.validation_bytes, shape.block_size, stride=shape.block_size // 2
    )
    counted = baselines or text_baselines(corpus.train, corpus.validation)
    result = {
        **figures,
        "steps": trainer.step,
        "best_step": trainer.stopper.best_step,
        "parameters": model.num_parameters(),
        "baselines": counted,
    }
    write_atomically(folder / "result.json", json.dumps(result, indent=1) + "\n")
    draw_curves(folder)
    return Pretrained(folder, model, tokens, trainer, result)


def resume(folder: str | Path, title: str | None = "pretraining") -> Pretrained:
    """Go on with an interrupted run in its folder, exactly where it stopped.

    Raises:
        RunError: if the text is not the one that the run began with.
    """
    config = read_config(folder)
    corpus = load_and_split(config["text"], config["training"]["seed"])
    if corpus.card.sha256 != config["corpus_sha256"]:
        raise RunError(
            f"{folder}: the text has changed since the run began (sha256 {corpus.card.sha256[:12]}..., expected "
            f"{config['corpus_sha256'][:12]}...); say with --text where it lies now, or start a new run"
        )
    return pretrain(
        folder,
        corpus,
        size=config["size"],
        vocab_size=config["vocab_size"],
        training=TrainingConfig.from_dict(config["training"]),
        text=config["text"],
        device=config["device"],
        dropout=config["dropout"],
        title=title,
        resume=True,
    )


# %% [markdown]
r"""
Stopped and gone on is the same as never stopped
------------------------------------------------

A long run is interrupted sooner or later. What has to be saved so that nothing is lost? The weights, of course; but
also Adam's running means, the place in the schedule of step sizes, the state of the random generator (for dropout),
and the place in the text (here the batches are a function of their number, so the step says it). The check: 20 steps,
Ctrl-C, a new process, 20 steps, against 40 steps in one go, must be equal *bit for bit*. Nearly equal is not enough:
it would hide whatever was forgotten.
"""

# %%
if __name__ == "__main__":
    from lessons.parts.l12_measure import curve, draw, grid_and_random, train_stopping, tune

    with tempfile.TemporaryDirectory() as folder:
        whole = train_stopping(tokens, Path(folder, "whole"), None)
        halves = train_stopping(tokens, Path(folder, "halves"), 19)
        assert (whole == halves).all(), "20 + 20 steps are not 40"
        state = Checkpoints(Path(folder, "halves", "checkpoints")).load_best()[1]
    print("equal bit for bit. What a checkpoint holds:", ", ".join(state))

# %% [markdown]
r"""
Step 6, second half: tuning
---------------------------

Step size, width, decay: nobody can compute which are best, so one tries. Three ways:

- *grid*: a few values of each, and all combinations;
- *random*: as many trials, each with its own value of everything;
- *halving*: many candidates for a short time; the better half again, for twice as long, and so on until one is left.

Bergstra and Bengio (2012) showed why random beats the grid: of several settings few matter, and nobody knows before
which. A grid of 3 times 3 tries 3 values of the one that matters; nine random trials try nine.
"""

# %% [markdown]
r"""
Measure
-------

Two questions. How far does the run come? Three seeds (other first weights, other order of the text), beside an n-gram
model and the *floor*: the corpus comes from a grammar, so we know its entropy, and no model can be better on average.
And which search finds the better setting, when both may try nine? Again three seeds, since one random search proves
nothing.
"""

# %%
if __name__ == "__main__":
    seeds = (0,) if setting.fast else (0, 1, 2)
    steps = 5 if setting.fast else 300  # why: enough to pass the best n-grams; 200 end at 0.74
    curves = [curve(tokens, shape, steps, seed) for seed in seeds]
    ends = [one["validation"][-1][1] for one in curves]
    print(f"after {steps} steps {np.mean(ends):.3f} bits per byte ({min(ends):.3f} to {max(ends):.3f})")
    judged = BAND.judge(float(np.mean(ends)), setting.fast)
    # why the best of ten: in lesson 01 five letters were best, but a town that repeats its phrases rewards more
    counted = WittenBell(5 if setting.fast else 10, unit="byte").fit(corpus.train).bits(corpus.validation)
    order, ngram = int(counted.argmin()), float(counted.min())
    floor = 0.231  # bits per byte, the exact entropy, as the card of the corpus says
    print(f"5-grams {counted[5]:.3f}, the best n-grams ({order}) {ngram:.3f}, the floor {floor:.3f}")
    print(sample_text(curves[0]["model"], tokens.tokenizer, ("On Monday", "Anna "), length=30))

# %%
if __name__ == "__main__":
    searches = [grid_and_random(tokens, 2 if setting.fast else 30, seed) for seed in seeds]
    best = {way: [min(t["bits"] for t in one[way]) for one in searches] for way in ("grid", "random")}
    for way, found in best.items():
        print(f"{way:<7} best of nine:", *(f"{bits:.3f}" for bits in found))
    for t in tune(tokens, n=4, budget=2 if setting.fast else 20, eval_tokens=1_000):
        print(f"halving: {t['steps']:3} steps of {t['lr']:.4f}, width {t['n_embd']}: {t['bits_per_byte']:.3f}")

# %% [markdown]
r"""
The figure
----------

Left the run: the curve of the training batches jumps, since each is another handful of text; the validation curve is
always asked about the same text. They lie close together: the model has read the text about twice and has not learned
it by heart. It passes the 5-grams (0.76), and then the best n-grams, which look at eight letters and so know half a
phrase of the town; a longer run goes on towards the floor. Right the search: crosses stand in three columns, three on
top of each other, since in so short a run the decay changes nothing. Of nine trials the grid wasted six. The circles,
random, were better in two of three seeds and equal in the third, and they show what the grid cannot: the best step
sizes lie at the end of the range, so the range was too small.
"""

# %%
if __name__ == "__main__":
    lines = {f"best n-gram (n = {order})": ngram, "floor: the entropy of the grammar": floor}
    fig, alt = draw(curves, lines, searches, best)
    numbers = {
        "training": curves[0]["training"],
        "validation": [one["validation"] for one in curves],
        "lines": {"n-grams": ngram, "floor": floor},
        "searches": searches,
        "best of nine": best,
        "band": judged,
    }
    print(*save_figure(fig, setting.out / "l12_pretraining", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l12_pretraining.py``; ``minillm check 12`` says how far you are, and gives hints.

- ``learning_rate``: the schedule, a rise and a fall.
- ``save`` and ``load``: 50 + 50 steps are 100 steps, bit for bit.

Then try: take one thing out of what you save, and see which check notices. Which step size would you choose from the
right panel for a run that is ten times as long? Run ``minillm pretrain``, press Ctrl-C, and ``minillm resume``.
"""

# %%
QUIZ = (
    Question(
        "Which of these may be missing from a checkpoint, if going on is to be exact?",
        (
            "Adam's running means, since they are small.",
            "The state of the random generator, since chance is chance.",
            "The batches that were read, since they follow from the number of the step.",
        ),
        2,
        "What can be computed again need not be saved. Without the running means Adam's next steps are others, and "
        "without the generator's state dropout silences other numbers.",
    ),
    Question(
        "Ten settings, of which only one matters, and nobody knows which. Why is random search better than a grid?",
        (
            "Each of its trials has a new value of the one that matters.",
            "It needs no training.",
            "Random numbers are closer to the best on average.",
        ),
        0,
        "A grid with k values spends most trials on combinations of what does not matter, and sees k values of what "
        "does. n random trials see n values of every setting (Bergstra and Bengio 2012).",
    ),
    Question(
        "The settings were chosen by the validation loss. What is the validation loss of the winner?",
        (
            "An honest estimate for new text.",
            "A little too good: the winner was also the luckiest on this text.",
            "Too high, because the winner was trained for longer.",
        ),
        1,
        "The more trials are compared on one text, the more the best of them owes to chance. For a number to report, "
        "a third part, the test text, is kept back and looked at once.",
    ),
)

# %%
if __name__ == "__main__":
    ask(12, QUIZ)

# %% [markdown]
r"""
Sources
-------

- J. Bergstra and Y. Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13, 2012 (figure 1: grid and random).
- K. Jamieson and A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016
  (successive halving).
- I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, ICLR 2019 (AdamW, which the trainer uses).
"""
