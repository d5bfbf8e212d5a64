"""Does a GPT reach the same loss in 16 bits? A small one, texts of the toy town, several seeds for each precision.

    python -m tests.bench.gpu_precision --steps 300 --seeds 3                  half a minute on two cores
    python -m tests.bench.gpu_precision --device cuda --steps 2000 --seeds 5   with a card

Prints the validation loss of each seed, how far the means lie apart beside the spread over seeds, and milliseconds a
step. With ``--steps 100`` on two cores: means of 3.9733, 3.9734 and 3.9733 nats per token in float32, bfloat16 and
float16, beside a spread over the three seeds of 0.077.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm import datasets
from minillm.text import ByteBPETokenizer
from minillm.training import LanguageTask, Trainer, TrainingConfig

PRECISIONS = ("float32", "bfloat16", "float16")
SHAPE = {"block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 32}


def tokens(characters: int, vocab_size: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Return ids to train on, ids to validate on, the bytes of the latter, and the size of the vocabulary."""
    corpus = datasets.load("microworld", size=characters)
    tokenizer = ByteBPETokenizer.train(corpus.train, vocab_size)
    ids = [tokenizer.encode_array(text) for text in (corpus.train, corpus.validation)]
    return ids[0], ids[1], len(corpus.validation.encode("utf-8")), tokenizer.vocab_size


def trained(data: Any, precision: str, seed: int, steps: int, device: str = "cpu", **settings: Any) -> dict[str, Any]:
    """Train from the first weights of a seed; return the validation loss in nats per token and ms a step."""
    train, validation, n_bytes, vocab_size = data
    minillm.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size, **SHAPE)).to(device)
    task = LanguageTask(train, validation, n_bytes, block_size=SHAPE["block_size"], batch_size=8, seed=seed,
                        evaluation_tokens=4_000)  # fmt: skip
    config = TrainingConfig(steps=steps, lr=3e-3, warmup_steps=steps // 10, eval_every=steps, seed=seed, workers=1,
                            precision=precision, **settings)  # fmt: skip
    trainer = Trainer(model, task, config)
    start = time.perf_counter()
    loss = trainer.fit()["val_loss"]
    return {"loss": loss, "ms": 1e3 * (time.perf_counter() - start) / steps, "scale": trainer.scaler.get_scale()}


def compare(data: Any, precisions: tuple[str, ...], seeds: int, steps: int, device: str = "cpu") -> dict[str, Any]:
    """Return, for each precision, the loss of every seed, mean, spread (largest less smallest) and ms a step."""
    found = {}
    for precision in precisions:
        runs = [trained(data, precision, seed, steps, device) for seed in range(seeds)]
        losses = [run["loss"] for run in runs]
        found[precision] = {
            "losses": losses,
            "mean": float(np.mean(losses)),
            "spread": float(np.ptp(losses)),
            "ms": float(np.median([run["ms"] for run in runs])),
            "scales": [run["scale"] for run in runs],
        }
    return found


def main() -> None:
    """Read the command line, train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    found = compare(tokens(200_000, 512), PRECISIONS, args.seeds, args.steps, args.device)
    for precision, one in found.items():
        losses = " ".join(f"{x:.4f}" for x in one["losses"])
        apart = one["mean"] - found["float32"]["mean"]
        print(f"{precision:<9} {losses}   mean {one['mean']:.4f} ({apart:+.4f} from float32), "
              f"spread {one['spread']:.4f}, {one['ms']:.1f} ms a step")  # fmt: skip


if __name__ == "__main__":
    main()
