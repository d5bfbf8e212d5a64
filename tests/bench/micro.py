"""Small things: the cost of the tape for each op, the tokenizer, the import."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CORPUS_BYTES = 2_000_000


def best(run: Callable[[], Any], repeats: int = 7) -> float:
    """Return the shortest time of a call, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def tape(torch_like: Any) -> dict[str, float]:
    """Return microseconds an op on tiny tensors: a chain of products, without and with a graph, and its backward."""
    n = 1000
    x = torch_like.ones(4)
    w = torch_like.ones(4, requires_grad=True)

    def chain(start: Any) -> Any:
        y = start
        for _ in range(n):
            y = y * start
        return y

    def forward_and_backward() -> None:
        chain(w).sum().backward()

    return {
        "op": 1e6 * best(lambda: chain(x)) / n,
        "op, recorded": 1e6 * best(lambda: chain(w)) / n,
        "op, recorded, and its backward": 1e6 * best(forward_and_backward) / n,
    }


def import_seconds(module: str) -> float:
    """Return how long an import takes in a fresh process, without Python's own start."""

    def run(code: str) -> float:
        return best(lambda: subprocess.run([sys.executable, "-c", code], check=True), 5)

    return run(f"import {module}") - run("pass")


def corpus() -> str:
    """Return two million bytes from this Python: English and docstrings, then source code until it is enough."""
    from minillm.datasets import pretraining_mix
    from minillm.datasets.stdlib import stdlib_folder

    data = pretraining_mix().train.encode("utf-8")
    for file in sorted(stdlib_folder().glob("*.py")):
        data += b"" if len(data) >= CORPUS_BYTES else file.read_bytes()
    return data[:CORPUS_BYTES].decode("utf-8", errors="ignore")


def tokenizers() -> dict[str, Any]:
    """Return seconds to train 8,000 merges and MB encoded a second, beside Hugging Face's tokenizers."""
    from minillm.text import ByteBPETokenizer

    text = corpus()
    megabytes = len(text.encode("utf-8")) / 1e6
    found: dict[str, Any] = {"megabytes": megabytes}
    start = time.perf_counter()
    ours = ByteBPETokenizer.train(text, 8256)
    found["minillm"] = {"train_s": time.perf_counter() - start}

    def fresh(text: str) -> Any:
        return ByteBPETokenizer.from_dict(ours.to_dict()).encode(text)

    found["minillm"]["encode_mb_s, first time"] = megabytes / best(lambda: fresh(text), 3)
    found["minillm"]["encode_mb_s"] = megabytes / best(lambda: ours.encode(text), 3)
    if importlib.util.find_spec("tokenizers") is not None:
        import os

        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        theirs = Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=8256, initial_alphabet=alphabet, show_progress=False)
        start = time.perf_counter()
        theirs.train_from_iterator([text], trainer)
        found["tokenizers"] = {"train_s": time.perf_counter() - start}
        found["tokenizers"]["encode_mb_s"] = megabytes / best(lambda: theirs.encode(text), 3)
    return found


def measure() -> dict[str, Any]:
    """Return all of it."""
    import minillm

    found: dict[str, Any] = {"tape_us": {"minillm": tape(minillm)}, "import_s": {"minillm": import_seconds("minillm")}}
    if importlib.util.find_spec("torch") is not None:
        import torch

        found["tape_us"]["torch"] = tape(torch)
        found["import_s"]["torch"] = import_seconds("torch")
    found["tokenizer"] = tokenizers()
    return found
