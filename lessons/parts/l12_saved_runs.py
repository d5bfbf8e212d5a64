"""Runs of lesson 12 in their folders: read model and tokenizer back, with every doubt about the files; draw curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.text import Tokenizer
from minillm.training import Checkpoints, RunError, plot_curves, read_config, read_metrics


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


def draw_curves(folder: str | Path) -> list[Path]:
    """Draw the learning curves of a run of ``pretrain``, with the best n-gram and lzma as lines."""
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
