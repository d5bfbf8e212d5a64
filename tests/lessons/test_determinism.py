"""The same seed gives the same bytes: weights, losses and text, in another process and with another hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import hashlib, json, sys
import numpy as np
import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.generation import Sampling, generate
from minillm.text import CharTokenizer
from minillm.training import LanguageTask, Trainer, TrainingConfig

text = "the cat sat on the mat. " * 40
tokenizer = CharTokenizer.train(text)
ids = np.array(tokenizer.encode(text))
minillm.manual_seed(1)
model = GPT(GPTConfig(tokenizer.vocab_size, block_size=16, n_layer=2, n_head=2, n_embd=32, dropout=0.1))
training = TrainingConfig(steps=25, batch_size=4, eval_every=10, seed=1)
task = LanguageTask(ids, ids[:200], validation_bytes=200, block_size=16, batch_size=4, seed=1)
losses = []
trainer = Trainer(model, task, training)
trainer.fit()
weights = {k: v.numpy() for k, v in model.state_dict().items()}
digest = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in weights.values())).hexdigest()
written = tokenizer.decode(generate(model, tokenizer.encode("the "), 30, Sampling(temperature=0.9)))
print(json.dumps({
    "weights": digest, "text": written, "loss": repr(task.evaluate(model)),
    "sums": [float(w.astype("f8").sum()) for w in weights.values()],
}))
"""


def run(threads: int, hash_seed: int) -> dict:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": str(hash_seed),
        **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def first() -> dict:
    return run(threads=1, hash_seed=1)


def test_another_process_gives_the_same_bytes(first: dict) -> None:
    assert run(threads=1, hash_seed=2) == first


def test_another_number_of_threads_gives_almost_the_same(first: dict) -> None:
    # Sums are then added in another order; see "Same seed, same numbers" in the README.
    np.testing.assert_allclose(run(threads=2, hash_seed=1)["sums"], first["sums"], rtol=1e-6, atol=1e-5)
