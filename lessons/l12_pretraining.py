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
"""

# %%
from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from lessons.l11_gpt import GPT, SIZES, GPTConfig
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
    halving,
    plot_curves,
    random_settings,
    read_config,
    write_atomically,
)
from minillm.training.baselines import text_baselines

QUESTION = "What do the seven steps look like for real?"
PROMPTS = ("The ", "Return the ", "If the")


# %% [markdown]
r"""
Steps 1 to 3: text, tokens, parameters
--------------------------------------

The text is what the reader's own Python brings along. A paragraph goes to one part or the other, never to both, and
repeated paragraphs are removed first: otherwise the validation loss would reward learning by heart.
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

One pass gives them all: row t of the logits belongs to the token after t. This function spells it out for a text; the
trainer computes the same, and only its mean.
"""


# %%
def token_probabilities(model: GPT, ids: list[int]) -> np.ndarray:
    """Step 4: return $P(w_{t+1} | w_1 .. w_t)$ for t = 1 .. n - 1 of one text of at most ``block_size`` tokens."""
    with minillm.no_grad():
        logits = model(minillm.tensor([ids], device=model.tokens.weight.device))[0]  # (T, V)
        p = logits.softmax(-1)
        return p[minillm.arange(len(ids) - 1, device=p.device), minillm.tensor(ids[1:], device=p.device)].cpu().numpy()


# %% [markdown]
r"""
Steps 5 to 7: train, judge, tune, save
--------------------------------------
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
            f"{config['corpus_sha256'][:12]}...); start a new run"
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


def draw_curves(folder: str | Path) -> list[Path]:
    """Draw the learning curves of a run of ``pretrain``, with the best n-gram and lzma as lines."""
    from minillm.training import read_metrics

    folder, config = Path(folder), read_config(folder)
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    lines = {}
    if "baselines" in result:
        best = result["baselines"]["best_ngram"]
        lines = {f"best n-gram (order {best['order']})": best["bits_per_byte"], "lzma": result["baselines"]["lzma"]}
    return plot_curves(
        {folder.name: read_metrics(folder)},
        folder / "curves",
        bits_per_nat=config["bits_per_nat"],
        baselines=lines,
        title=f"Pretraining a GPT with {result['parameters']:,} parameters" if result else "Pretraining a GPT",
        stopped_at=result.get("best_step"),
    )


def load_run(folder: str | Path, device: str = "cpu") -> tuple[GPT, Tokenizer, dict[str, Any]]:
    """Step 7, the other way: return the best model of a run, its tokenizer and its config.

    Raises:
        RunError: if the folder does not hold a pretrained model.
    """
    folder, config = Path(folder), read_config(folder)
    if config["kind"] not in ("pretrain", "generator"):
        raise RunError(f"{folder}: holds a run of kind {config['kind']!r}, expected a language model")
    tokenizer, shape = load_tokenizer(folder, config), GPTConfig.from_dict(config["model"])
    weights = load_weights(folder, shape)
    model = GPT(shape)
    model.load_state_dict(weights)
    model.eval()
    return model.to(device), tokenizer, config


def load_weights(folder: Path, shape: GPTConfig) -> dict[str, Any]:
    """Return the weights in the best checkpoint of a run.

    Raises:
        RunError: if there are none in it, or fewer than the model needs. That is found out before the model is made:
            one number in a config.json can ask for terabytes.
    """
    path, state = Checkpoints(folder / "checkpoints").load_best()
    weights = state.get("model") if isinstance(state, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(w, minillm.Tensor) for w in weights.values()):
        raise RunError(f"{path}: holds no weights of a model")
    needed = (shape.vocab_size + shape.block_size + 12 * shape.n_layer * shape.n_embd) * shape.n_embd
    found = sum(w.numel() for w in weights.values())
    if needed > found:
        raise RunError(
            f"{folder / 'config.json'}: describes a model of at least {needed} weights, but {path.name} holds {found}; "
            "they are of different runs"
        )
    return weights


def load_tokenizer(folder: Path, config: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of a run.

    Raises:
        RunError: if it is not the one that the run began with.
    """
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    size = GPTConfig.from_dict(config["model"]).vocab_size
    if tokenizer.vocab_size != size:
        raise RunError(f"{folder / 'tokenizer.json'}: has {tokenizer.vocab_size} tokens, the model of this run {size}")
    found = tokenizer.fingerprint()
    expected = str(config.get("tokenizer_sha256", found))
    if found != expected:
        raise RunError(
            f"{folder / 'tokenizer.json'}: not the tokenizer of this run (sha256 {found[:12]}..., expected "
            f"{expected[:12]}...)"
        )
    return tokenizer


# %% [markdown]
r"""
Step 6, second half: tuning
---------------------------

Settings are drawn at random and all tried for a short time; the better half goes on for twice as long, and so on until
one is left (successive halving).
"""


# %%
def tune(
    tokens: Tokens, n: int = 8, budget: int = 40, seed: int = 0, block_size: int = 32, eval_tokens: int = 2_000
) -> list[dict[str, Any]]:
    """Step 6: search the step size and the width; return all trials, the winner's longest one last."""
    ranges = {"lr": (3e-4, 3e-2), "n_embd": [32, 64, 96]}

    def evaluate(settings: dict[str, Any], steps: int) -> float:
        config = TrainingConfig(steps=steps, lr=settings["lr"], warmup_steps=steps // 10, eval_every=steps, seed=seed)
        shape = GPTConfig(tokens.tokenizer.vocab_size, block_size, n_layer=2, n_head=2, n_embd=settings["n_embd"])
        task = LanguageTask(
            tokens.train,
            tokens.validation,
            tokens.validation_bytes,
            block_size=block_size,
            batch_size=config.batch_size,
            seed=seed,
            evaluation_tokens=eval_tokens,
        )
        trainer = Trainer(initialise(shape, seed), task, config)
        return trainer.fit()["val_bits_per_byte"]

    return [
        {**t.settings, "steps": t.budget, "bits_per_byte": t.score}
        for t in halving(random_settings(ranges, n, seed), evaluate, budget)
    ]


# %%
if __name__ == "__main__":
    corpus = load_and_split()
    tokens = preprocess(corpus)
    print(corpus.card)

# %%
if __name__ == "__main__":
    for trial in tune(tokens, n=4, budget=20):
        print(
            f"lr {trial['lr']:.4f}  width {trial['n_embd']:3d}  {trial['steps']:3d} steps  "
            f"{trial['bits_per_byte']:.3f} bits/byte"
        )

# %%
if __name__ == "__main__":
    run = pretrain(
        "runs/l12", corpus, tokens=tokens, size="tiny", training=TrainingConfig(steps=300, eval_every=100), force=True
    )
    print(
        f"{run.figures['bits_per_byte']:.3f} bits per byte; best n-gram "
        f"{run.figures['baselines']['best_ngram']['bits_per_byte']:.3f}"
    )
    print(sample_text(run.model, run.tokens.tokenizer))
