"""Run folders that somebody was sent: files that do not belong together, or ask for too much, are named in one line."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minillm
import minillm.nn as nn
from lessons.__main__ import main
from lessons.console import visible
from lessons.l11_gpt import GPT, GPTConfig
from minillm.text import ByteBPETokenizer, CharTokenizer
from minillm.training import CheckpointError, Checkpoints, Trainer, TrainingConfig
from tests.lessons.test_console import Terminal, steers
from tests.training.test_resume import fingerprint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder that looks like a run of `minillm pretrain`, made in no time."""
    minillm.manual_seed(0)
    folder, tokenizer = tmp_path / "run", ByteBPETokenizer([])
    shape = GPTConfig(tokenizer.vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=4)
    Checkpoints(folder / "checkpoints").save(1, {"model": GPT(shape).state_dict()})
    tokenizer.save(folder / "tokenizer.json")
    (folder / "metrics.jsonl").write_text('{"step": 1, "val_loss": 1.0}\n', encoding="utf-8")
    config = {"kind": "pretrain", "model": shape.to_dict(), "training": {"seed": 0}, "device": "cpu", "text": None}
    (folder / "config.json").write_text(json.dumps({**config, "bits_per_nat": 1.0}), encoding="utf-8")
    return folder


def complaint(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    """What the command says to bad input: one line, no traceback, exit status 2, and soon."""
    began = time.process_time()
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "Traceback" not in said.err and said.out == "", said
    assert time.process_time() - began < 5 and len(said.err) < 2000
    return said.err


def test_the_run_works_before_it_is_broken(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["generate", str(run), "--max-new-tokens", "2", "--prompt", "ab"]) == 0
    assert capsys.readouterr().out.startswith("ab")


HUGE_MODELS = [{"n_layer": 10**9}, {"n_embd": 2 * 10**9}, {"block_size": 10**12}, {"n_embd": 40_000, "n_head": 1}]
CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"kind": 3}, "'kind'"),
    ({"kind": "poem"}, "'poem'"),
    ({"model": []}, "expected names with values in 'model'"),
    ({"model": {}}, "missing vocab_size"),
    ({"model": None}, "expected names with values in 'model'"),
    *(({"model": change}, "describes a model of at least") for change in HUGE_MODELS),
    ({"model": {"vocab_size": 10**9}}, "tokenizer.json: has 257 tokens, the model of this run 1000000000"),
    ({"model": {"vocab_size": 300}}, "tokenizer.json: has 257 tokens, the model of this run 300"),
    ({"model": {"n_layer": 1.5, "n_head": 0}}, "n_head=0"),
    ({"model": {"n_embd": 2}}, "the module has shape (257, 2), the state (257, 4)"),
    ({"model": {"n_layerz": 1}}, "did you mean 'n_layer'?"),
    ({"tokenizer_sha256": 3}, "'tokenizer_sha256'"),
    ({"device": []}, "'device'"),
    ({"changed": 5}, "expected a list of names in 'changed'"),
    ({"changed": [["lr"]]}, "expected a list of names in 'changed'"),
    ({"labels": [1, None]}, "expected a list of names in 'labels'"),
    ({"prior": ["x"]}, "expected a list of numbers in 'prior'"),
]


@pytest.mark.parametrize(("changes", "words"), CONFIGS, ids=[str(c)[:50] for c, _ in CONFIGS])
def test_a_hostile_config_is_one_line(
    run: Path, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture
) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    if changes.get("model"):
        changes = {"model": {**config["model"], **changes["model"]}}
    (run / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    assert words in complaint(["generate", str(run)], capsys)


@pytest.mark.parametrize("name", ["kind", "model", "training", "text"])
@pytest.mark.parametrize("command", ["generate", "evaluate", "resume", "finetune"])
def test_a_config_without_one_of_its_names(run: Path, name: str, command: str, capsys: pytest.CaptureFixture) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    del config[name]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    reads = {"generate": {"kind", "model"}, "finetune": {"kind", "model"}, "resume": {"kind", "training", "text"}}
    if name in reads.get(command, {"kind", "model", "training"}):
        more = ["--out", str(run.parent / "out")] if command == "finetune" else []
        assert f"{name!r}" in complaint([command, str(run), *more], capsys)
        assert not (run.parent / "out").exists()


@pytest.mark.parametrize("state", [[], {}, {"model": 3}, {"model": {"tokens.weight": 1.0}}, "text", None], ids=str)
def test_a_checkpoint_without_a_model(run: Path, state: Any, capsys: pytest.CaptureFixture) -> None:
    Checkpoints(run / "checkpoints").save(2, state)
    assert "holds no weights of a model" in complaint(["generate", str(run)], capsys)


def test_other_names_than_the_models(run: Path, capsys: pytest.CaptureFixture) -> None:
    weights = Checkpoints(run / "checkpoints").load_latest()[1]["model"]
    weights["head.wait"] = weights.pop("head.weight")
    weights["norm.weight"] = minillm.ones(7)
    Checkpoints(run / "checkpoints").save(2, {"model": weights})
    said = complaint(["generate", str(run)], capsys)
    for words in ("missing: head.weight", "unexpected: head.wait", "norm.weight: the module has shape (4,), the state"):
        assert words in said


ORDERS = "\x1b\x9b\x07\r\n\t\x7fa"


@pytest.fixture
def steering_run(tmp_path: Path) -> Path:
    """A run whose tokens are orders to a terminal."""
    minillm.manual_seed(0)
    folder, tokenizer = tmp_path / "steers", CharTokenizer.train(ORDERS)
    shape = GPTConfig(tokenizer.vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=4)
    Checkpoints(folder / "checkpoints").save(1, {"model": GPT(shape).state_dict()})
    tokenizer.save(folder / "tokenizer.json")
    config = {"kind": "generator", "model": shape.to_dict(), "labels": ["\x1b[2Jcold"], "training": {}, "text": None}
    (folder / "config.json").write_text(json.dumps({**config, "device": "cpu"}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("more", [[], ["--prompt", "a", "--prompt", "\x1ba"], ["--beams", "2"]], ids=str)
def test_a_text_cannot_steer_a_terminal(
    steering_run: Path, more: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = [] if "--beams" in more else ["--temperature", "3"]
    argv = ["generate", str(steering_run), *hot, "--prompt", "a", *more]
    assert main(argv) == 0
    raw, terminal = capsys.readouterr().out, Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(argv) == 0
    assert steers(raw) or "--beams" in more
    assert terminal.getvalue() == visible(raw) and not steers(terminal.getvalue())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals that a test can open")
def test_nor_a_real_one(steering_run: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lessons", "generate", str(steering_run), "--prompt", "a", "--temperature", "3"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    with process.stderr as errors:  # type: ignore[union-attr]
        assert errors.read() == b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        shown = os.read(ours, 10_000)
    os.close(ours)
    assert process.wait() == 0
    assert b"\\x1b" in shown and not {0x1B, 0x07, 0x7F} & set(shown)


def test_a_message_cannot_either(run: Path, steering_run: Path, capsys: pytest.CaptureFixture) -> None:
    table = run.parent / "t.csv"
    table.write_text("text,la\x1b[2Jbel\na,b\n", encoding="utf-8")
    weights = Checkpoints(run / "checkpoints").load_latest()[1]["model"]
    Checkpoints(run / "checkpoints").save(2, {"model": {**weights, "head.\x1b[2J": minillm.ones(1)}})
    for argv in (
        ["generate", str(steering_run), "--label", "warm"],
        ["generate", str(run)],
        ["generate", str(run) + "\x1b[2J"],
        ["finetune", str(run), "--data", str(table), "--out", str(run.parent / "out")],
    ):
        said = complaint(argv, capsys)
        assert "\\x1b[2J" in said and not steers(said), said


def trainer(folder: Path | None, seed: int) -> Trainer:
    class Nothing:
        def batch(self, number: int) -> Any:
            return minillm.ones(2, 3)

        def count(self, batch: Any) -> int:
            return 2

        def loss(self, model: Any, batch: Any) -> minillm.Tensor:
            return model(batch).square().mean()

        def evaluate(self, model: Any) -> dict[str, float]:
            return {"loss": 1.0}

        def sample(self, model: Any) -> None:
            return None

    minillm.manual_seed(seed)
    config = TrainingConfig(steps=2, eval_every=1, log_every=1, warmup_steps=0)
    return Trainer(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), Nothing(), config, folder)


def places(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a state, three levels deep."""
    for key in state if isinstance(state, dict) else range(len(state)) if isinstance(state, list) else ():
        yield (*path, key)
        if len(path) < 2:
            yield from places(state[key], (*path, key))


GONE = object()
PUT = [GONE, None, "x", -1, [[]], minillm.ones(5)]


def contents(folder: Path | None) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} if folder else {}


def test_a_state_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    trainer(tmp_path / "first", 0).fit()
    path = Checkpoints(tmp_path / "first/checkpoints").paths()[-1]
    names, refused, loaded = (tmp_path / str(n) for n in itertools.count()), 0, True
    for place, value in itertools.product(places(minillm.load(path)), PUT):
        if loaded:  # some places take some other values; then the next one begins anew
            folder = next(names) if place[0] in ("trainer", "log_sizes") else None  # without, it is faster
            other = trainer(folder, 1)
            other.fit()
            before, files = fingerprint(other), contents(folder)
        state = inner = minillm.load(path)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        if value is GONE:
            del inner[place[-1]]
        try:
            other.load_state_dict(state)
            loaded = True
        except (ValueError, RuntimeError) as error:
            refused, loaded = refused + 1, False
            assert str(error)
            assert (fingerprint(other), contents(folder)) == (before, files), (place, value)
    assert refused > 100


def test_a_file_of_a_run_cannot_be_another_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("a year of work", encoding="utf-8")
    for name in ("metrics.jsonl", "config.json.tmp", "curves.png", "checkpoints/step-00000002.safetensors.tmp", "x/y"):
        path = run / name
        path.parent.mkdir(exist_ok=True)
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        try:
            path.symlink_to(precious)
        except OSError:
            pytest.skip("Windows makes no links unless it is told to")
        for command in ("generate", "evaluate", "resume"):
            assert f"{path}: is a link that leads out of the run" in complaint([command, str(run)], capsys)
        path.unlink()
        if kept is not None:
            path.write_bytes(kept)
    assert precious.read_text(encoding="utf-8") == "a year of work"
    (run / "again.json").symlink_to(run / "config.json")  # inside, links do no harm
    assert main(["generate", str(run), "--max-new-tokens", "2"]) == 0


EACH_FILE = "config.json tokenizer.json metrics.jsonl run.lock checkpoints/best.json".split()
EACH_FILE += ["checkpoints/step-00000001.json", "checkpoints/step-00000001.safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a hole may take the disk, and not all have pipes")
@pytest.mark.parametrize("name", EACH_FILE)
def test_a_file_of_a_run_cannot_be_without_end(run: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    path = run / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert f"{path}: is neither a file nor a folder" in complaint(["generate", str(run)], capsys)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert f"{path}: is a link that leads out" in complaint(["generate", str(run)], capsys)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**42)
    if path.suffix.startswith(".json"):
        assert "bytes, more than a run writes" in complaint(["generate", str(run)], capsys)
    elif path.suffix == ".safetensors":
        with pytest.raises(CheckpointError, match=r"damaged: 4,398,046,511,104 bytes, expected"):
            Checkpoints(run / "checkpoints").load(path)


def test_weights_that_are_nan_write_nothing(run: Path, capsys: pytest.CaptureFixture) -> None:
    weights = Checkpoints(run / "checkpoints").load_latest()[1]["model"]
    Checkpoints(run / "checkpoints").save(2, {"model": {name: t * math.nan for name, t in weights.items()}})
    for more in ([], ["--beams", "2"], ["--temperature", "0"]):
        assert main(["generate", str(run), *more]) == 2
        said = capsys.readouterr()
        assert "the logits of the model are NaN" in said.err and said.err.count("\n") == 1
        assert said.out in ("", "The ")


def test_a_checkpoint_cannot_cut_off_other_files(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("a year of work", encoding="utf-8")
    made = trainer(tmp_path / "run", 0)
    made.fit()
    state = made.state_dict()
    state["log_sizes"] |= {"../precious.txt": 0, str(precious): 0, "checkpoints/best.json": 0}
    mark = (tmp_path / "run/checkpoints/best.json").read_bytes()
    made.load_state_dict(state)
    assert precious.read_text(encoding="utf-8") == "a year of work"
    assert (tmp_path / "run/checkpoints/best.json").read_bytes() == mark
