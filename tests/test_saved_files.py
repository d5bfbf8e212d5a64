"""Files that each released version has written are read by every later one, to the same numbers.

``tests/saved/VERSION/`` is written once, by that version, with ``python -m tests.test_saved_files``; it never changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.text import ByteBPETokenizer, CharTokenizer, Tokenizer, WordTokenizer
from minillm.training import Checkpoints, TrainingConfig
from tests.test_hostile_runs import trainer

SAVED = Path(__file__).with_name("saved")
VERSIONS = sorted(path.name for path in SAVED.iterdir())
WHOLE = {  # what state.safetensors holds
    "f32": [[0.0, 1.5], [-2.25, 3e38]], "i64": [-(2**62), 7], "bool": [True, False], "none": [],
    "tree": {3: [1, None, True, 0.1, "\u00e9\u732b"], "pair": (1, {"deep": [[]]})},
}  # fmt: skip
MERGES = [(104, 105), (32, 116), (256, 256), (0xC3, 0xA9)]
TOKENIZERS = {
    "char": CharTokenizer(["a", "b", "\u732b"], ["<|end|>"]),
    "word": WordTokenizer(["<unk>", "cat", "."], ["<|end|>"]),
    "byte-bpe": ByteBPETokenizer(MERGES, ["<|endoftext|>", "<|end|>"]),
}


def write(folder: Path) -> None:
    """Write the files of this version."""
    (folder / "tokenizers").mkdir(parents=True)
    tensors = {"f32": minillm.float32, "i64": minillm.int64, "bool": minillm.bool, "none": minillm.float64}
    minillm.save(
        {**WHOLE, **{k: minillm.tensor(WHOLE[k], dtype=t) for k, t in tensors.items()}}, folder / "state.safetensors"
    )
    for name, tokenizer in TOKENIZERS.items():
        tokenizer.save(folder / "tokenizers" / f"{name}.json")
    made = trainer(folder / "run", 0)
    made.fit()
    for path in [
        *(folder / "run").glob("*.*"),
        *(folder / "run/checkpoints").glob("best.*"),
        *(folder / "run/checkpoints").glob("*0.*"),
        *(folder / "run/checkpoints").glob("*1.*"),
    ]:
        path.unlink()
    settings = {"training": TrainingConfig(steps=7, minutes=1.5).to_dict(), "model": GPTConfig(257, n_embd=8).to_dict()}
    (folder / "config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    return x.tolist() if isinstance(x, minillm.Tensor) else x


@pytest.mark.parametrize("version", VERSIONS)
def test_tensors_and_plain_values(version: str) -> None:
    found = minillm.load(SAVED / version / "state.safetensors")
    wanted = {**WHOLE, "f32": minillm.tensor(WHOLE["f32"], dtype=minillm.float32).tolist()}
    assert plain(found) == wanted
    assert [str(found[k].dtype) for k in ("f32", "i64", "bool", "none")] == ["float32", "int64", "bool", "float64"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers(version: str, name: str) -> None:
    found = Tokenizer.load(SAVED / version / "tokenizers" / f"{name}.json")
    assert found.to_dict() == TOKENIZERS[name].to_dict()
    text = {"char": "ab\u732b<|end|>a", "word": "cat . dog<|end|>", "byte-bpe": "hihi t\u00e9<|end|>"}[name]
    assert found.encode(text, ["<|end|>"]) == TOKENIZERS[name].encode(text, ["<|end|>"])


@pytest.mark.parametrize("version", VERSIONS)
def test_settings(version: str) -> None:
    config = json.loads((SAVED / version / "config.json").read_text(encoding="utf-8"))
    assert TrainingConfig.from_dict(config["training"]) == TrainingConfig(steps=7, minutes=1.5)
    assert GPTConfig.from_dict(config["model"]) == GPTConfig(257, n_embd=8)
    GPT(GPTConfig.from_dict(config["model"]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_goes_on(version: str, tmp_path: Path) -> None:
    shutil.copytree(SAVED / version / "run", tmp_path / "run")
    (path,) = Checkpoints(tmp_path / "run/checkpoints").paths()
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    made = trainer(tmp_path / "run", 99)
    assert made.resume().name == path.name
    assert made.step == made.total_steps == 2 and made.history[-1]["val_loss"] == 1.0
    found = minillm.load(path)
    assert plain(made.model.state_dict()) == plain(found["model"])
    assert made.optimizer.state_dict()["state"][0]["step"] == 2
    before = plain(found["model"])["0.weight"]
    made.total_steps = 3
    made.fit()
    assert made.step == 3 and plain(made.model.state_dict())["0.weight"] != before


def test_this_version_can_be_saved(tmp_path: Path) -> None:
    write(tmp_path / "now")
    for version in VERSIONS:
        names = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*")) for f in (tmp_path / "now", SAVED / version)]
        assert names[0] == names[1]


if __name__ == "__main__":
    write(SAVED / minillm.__version__)
