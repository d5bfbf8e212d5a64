"""What is fuzzed: one function for each reader of files, from bytes to nothing.

A target swallows the errors that its reader documents. Whatever else it raises is a finding: an error of another kind,
a message that does not name the file, a file that was accepted and does not work.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import minillm
from lessons.l11_gpt import GPTConfig
from minillm.datasets import DataError, from_table, read_table
from minillm.text import ByteBPETokenizer, CharTokenizer, Tokenizer, WordTokenizer
from minillm.training import ConfigError, TrainingConfig, read_config
from tests import hostile_safetensors

SLOW = 5.0
"""Seconds of processor time above which a file is a finding, whatever comes of it."""


def memory() -> str | None:
    """A folder in memory, where there is one: a busy disk would decide the speed."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class _Folder:
    """A folder of this process that goes when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("FUZZ_FOLDER") or memory()))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@functools.cache
def _folder() -> _Folder:
    return _Folder()


def _file(name: str, data: bytes) -> Path:
    path = _folder().path / name
    path.write_bytes(data)
    return path


@contextlib.contextmanager
def _documented(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Swallow the errors that are promised, if they say which file is wrong, in one line that can be read."""
    try:
        yield
    except kinds as error:
        text = str(error)
        if str(path) not in text or len(text) > 3000:
            raise AssertionError(f"a message without the file, or too long: {text[:200]!r}") from error
        text.encode("utf-8")


def checkpoint(data: bytes) -> None:
    """``minillm.load``; what it accepts can be saved, and is the same when it is loaded again."""
    path = _file("x.safetensors", data)
    with _documented(path, ValueError):
        found = minillm.load(path)
        again = path.with_name("again")
        minillm.save(found, again)
        assert _plain(minillm.load(again)) == _plain(found)


def tokenizer(data: bytes) -> None:
    """``Tokenizer.load``; what it accepts writes and reads texts, and is the same when it is loaded again."""
    path = _file("tokenizer.json", data)
    with _documented(path, ValueError):
        found = Tokenizer.load(path)
        for id in {0, found.base_size - 1, found.vocab_size - 1}:
            assert found.decode_bytes([id])
        if isinstance(found, ByteBPETokenizer):
            text = "a b\nhi hi \u00e9 <|endoftext|>"
            assert found.decode(found.encode(text), errors="strict") == text
            assert found.decode(found.encode(text, "all"), errors="strict") == text
        found.save(path)
        assert Tokenizer.load(path).fingerprint() == found.fingerprint()


def csv(data: bytes) -> None:
    """``read_table`` and ``from_table`` of a .csv file."""
    _table(_file("t.csv", data))


def jsonl(data: bytes) -> None:
    """``read_table`` and ``from_table`` of a .jsonl file."""
    _table(_file("t.jsonl", data))


def _table(path: Path) -> None:
    with _documented(path, DataError):
        rows = read_table(path, group=None)
        assert rows and all(row.text.strip() and row.label.strip() and row.line >= 1 for row in rows)
        corpus = from_table(path)
        assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == len(rows)


def config(data: bytes) -> None:
    """``read_config``, and the settings in it."""
    path = _file("config.json", data)
    with _documented(path, ValueError):
        found = read_config(path.parent)
        for made in (TrainingConfig, GPTConfig):
            with contextlib.suppress(ConfigError):  # of these, nobody knows the file
                settings: Any = made.from_dict(found["training" if made is TrainingConfig else "model"])
                assert made.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def _plain(x: Any) -> Any:
    """Values that ``==`` compares bit for bit."""
    if isinstance(x, minillm.Tensor):
        return str(x.dtype), tuple(x.shape), x.numpy().tobytes()
    if isinstance(x, dict):
        return {("key", k): _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [type(x).__name__, *map(_plain, x)]
    return "nan" if isinstance(x, float) and math.isnan(x) else (type(x).__name__, x)


TARGETS: dict[str, Callable[[bytes], None]] = {f.__name__: f for f in (checkpoint, tokenizer, csv, jsonl, config)}


def seeds(target: str) -> list[bytes]:
    """Return files to begin with: good ones, and some that are wrong in a known way."""
    if target == "checkpoint":
        path = _folder().path / "seed"
        minillm.save({"w": minillm.arange(6.0).reshape(2, 3), 3: [1, 2.5, None, (True, "a")], "b": {}}, path)
        return [path.read_bytes(), *(data for data in hostile_safetensors.corpus().values() if len(data) < 2000)]
    if target == "tokenizer":
        made = [
            CharTokenizer(["a", "b", "\u732b"], ["<|end|>"]),
            WordTokenizer(["<unk>", "cat", "."]),
            ByteBPETokenizer([(104, 105), (32, 116), (256, 256), (0xC3, 0xA9)], ["<|endoftext|>", "<|end|>"]),
        ]
        return [json.dumps(t.to_dict(), ensure_ascii=plain).encode() for t in made for plain in (True, False)]
    rows = [(f"text {i}, \u00e9\u732b", "ab"[i % 2]) for i in range(12)]
    if target == "csv":
        plain = "text,label\n" + "".join(f'"{t}",{y}\n' for t, y in rows)
        return [plain.encode(), b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode(), b'label,text\na,"x ""y""\nz"\n']
    if target == "jsonl":
        lines = [json.dumps({"text": t, "label": y if y == "a" else 3}, ensure_ascii=y == "a") for t, y in rows]
        return ["\n".join(lines).encode(), b'{"text": "a\\ud83d\\ude00", "label": "b", "x": [1, {"y": null}]}\r\n']
    shape = GPTConfig(vocab_size=257, block_size=8, n_layer=1, n_head=2, n_embd=4).to_dict()
    whole = {"kind": "pretrain", "model": shape, "training": TrainingConfig(minutes=1.5).to_dict(), "text": None}
    return [json.dumps({**whole, "bits_per_nat": 1.0, "labels": ["a"], "device": "cpu"}).encode(), b'{"kind": "demo"}']
