"""``save`` and ``load``: what goes in comes out, a reader sees all or nothing, and no file can run code."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import minillm
import minillm.nn as nn
from minillm.testing.strategies import arrays, shapes

reused_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]

tensor_trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.builds(lambda a, t: minillm.tensor(a).to(getattr(minillm, t)), arrays(shapes()), st.sampled_from(TYPES)),
    lambda inner: st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, minillm.Tensor):
        return isinstance(b, minillm.Tensor) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(
            a.numpy(), b.numpy(), equal_nan=a.is_floating_point()
        )  # fmt: skip
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@reused_folder
@given(tree=tensor_trees)
def test_what_goes_in_comes_out(tmp_path: Path, tree: Any) -> None:
    minillm.save(tree, tmp_path / "x")
    assert same(minillm.load(tmp_path / "x"), tree)
    assert os.listdir(tmp_path) == ["x"]


def test_bfloat16_comes_out(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    cases: list[Any] = [[1.5, -2.0], 0.25, [[]], [float("nan"), float("-inf"), -0.0]]
    for values in cases:
        x = minillm.tensor(values).to(minillm.bfloat16)
        minillm.save({"x": x}, tmp_path / "x")
        found = minillm.load(tmp_path / "x")["x"]
        assert found.dtype == minillm.bfloat16 and found.shape == x.shape
        assert found.numpy().tobytes() == x.numpy().tobytes()
    # Also where nothing has asked for the type before.
    code = "import sys, minillm; print(minillm.load(sys.argv[1])['x'].dtype)"
    root = Path(__file__).resolve().parents[1]
    run = [sys.executable, "-c", code, str(tmp_path / "x")]
    assert subprocess.run(run, cwd=root, capture_output=True, encoding="utf-8").stdout.strip() == "bfloat16"


def test_views_shared_tensors_and_graphs(tmp_path: Path) -> None:
    x = minillm.arange(12.0).reshape(3, 4).requires_grad_()
    shared = minillm.ones(2)
    minillm.save({"t": x.T, "s": x[:, ::2], "a": shared, "b": shared, "g": (x * 2).sum()}, tmp_path / "x")
    found = minillm.load(tmp_path / "x")
    assert found["t"].tolist() == x.T.tolist() and found["s"].tolist() == x[:, ::2].tolist()
    assert found["a"] is found["b"] and found["g"].item() == 132 and not found["g"].requires_grad


@pytest.mark.parametrize(
    ("name", "options"),
    [("AdamW", {}), ("Adam", {"amsgrad": True}), ("SGD", {"momentum": 0.9, "nesterov": True}), ("SGD", {}),
     ("RMSprop", {"centered": True, "momentum": 0.5}), ("Adagrad", {})],
    ids=str,
)  # fmt: skip
def test_a_model_and_its_optimizer_go_on(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    def made() -> tuple[nn.Module, Any]:
        minillm.manual_seed(0)
        model = nn.Linear(3, 2)
        groups = [{"params": [model.weight], "weight_decay": 0.1}, {"params": [model.bias]}]
        return model, getattr(minillm.optim, name)(groups, lr=0.1, **options)

    def step(model: nn.Module, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(minillm.ones(1, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = made()
    step(model, optimizer)
    minillm.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "state")
    step(model, optimizer)
    twin, other = made()
    state = minillm.load(tmp_path / "state")
    twin.load_state_dict(state["model"])
    other.load_state_dict(state["optimizer"])
    step(twin, other)
    assert same(twin.state_dict(), model.state_dict()) and state["epoch"] == 3
    assert same(other.state_dict(), optimizer.state_dict())


def test_other_programs_read_the_tensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    minillm.save(nn.Linear(2, 3).state_dict(), tmp_path / "ours")
    assert {k: v.shape for k, v in load_file(tmp_path / "ours").items()} == {"weight": (3, 2), "bias": (3,)}
    save_file({"w": np.arange(3)}, tmp_path / "theirs")
    assert minillm.load(tmp_path / "theirs")["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": {"b": object()}}, "a.b: cannot keep a object"),
        (nn.Linear(1, 1), r"save model\.state_dict\(\)"),
        ({(1, 2): 3}, r"keys are texts or integers, got \(1, 2\)"),
        ({True: 3}, "got True"),
        ([lambda: 0], "0: cannot keep a function"),
        (np.arange(3), "cannot keep a ndarray"),
    ],
    ids=["object", "module", "tuple key", "bool key", "function", "array"],
)
def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path: Path, value: Any, words: str) -> None:
    minillm.save({"old": 1}, tmp_path / "x")
    with pytest.raises(TypeError, match=words):
        minillm.save(value, tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"] and minillm.load(tmp_path / "x") == {"old": 1}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minillm.save({"old": 1}, tmp_path / "x")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(os, name, full)
            minillm.save({"new": 2}, tmp_path / "x")
        assert os.listdir(tmp_path) == ["x"] and minillm.load(tmp_path / "x") == {"old": 1}


# --- files that are not ours; more of them in test_hostile_files.py -------------------------------------------------
@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 19280], ids=lambda n: repr(n.to_bytes(2, "little")))
def test_a_header_whose_length_looks_like_a_pickle(tmp_path: Path, length: int) -> None:
    minillm.save({"w": minillm.ones(2), "text": ""}, tmp_path / "x")
    missing = length - struct.unpack("<Q", (tmp_path / "x").read_bytes()[:8])[0]
    minillm.save({"w": minillm.ones(2), "text": "a" * missing}, tmp_path / "x")
    assert struct.unpack("<Q", (tmp_path / "x").read_bytes()[:8])[0] == length
    assert len(minillm.load(tmp_path / "x")["text"]) == missing


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"version": 2, "tree": 1}', '{"version": 1, "tree": {"$tensor": "nowhere"}}',
     '{"version": 1, "tree": {"$code": "x"}}', '{"version": 1, "tree": {"$dict": [["a"]]}}',
     '{"version": 1, "tree": {"$dict": [[["a"], 1]]}}', '{"version": 1, "tree": {"$list": [], "$dict": []}}',
     '{"version": 1, "tree": {}}', '{"version": 1, "tree": ' + "9" * 5000 + "}", "null", "[1]", '"text"',
     '{"version": 1, "tree": {"$dict": 3}}',
     '{"version": 1, "tree": ' + '{"$list": [' * 100_000 + "]}" * 100_000 + "}"],
    ids=lambda text: text[:50],
)  # fmt: skip
def test_metadata_that_make_no_sense_are_refused(tmp_path: Path, content: str) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.arange(3)}, tmp_path / "x", {"minillm": content})
    with pytest.raises(ValueError, match="its metadata cannot be read"):
        minillm.load(tmp_path / "x")


NAMES = ["a", "b", "a.b", "a.b.a", "", "tensor", "0", "a_", "__metadata__", "a.b_"]
deep_dicts = st.recursive(
    st.integers(0, 99).map(lambda i: minillm.tensor([i])),
    lambda inner: st.dictionaries(st.sampled_from([*NAMES, 0, 1]), inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@reused_folder
@given(tree=deep_dicts)
@example({"a.b": minillm.tensor([1]), "a": {"b": minillm.tensor([2])}})
@example({0: minillm.tensor([1]), "0": minillm.tensor([2])})
@example({"": minillm.tensor([1]), "tensor": minillm.tensor([2])})
@example({"__metadata__": minillm.tensor([1])})
def test_tensors_whose_names_meet_are_told_apart(tmp_path: Path, tree: Any) -> None:
    minillm.save(tree, tmp_path / "x")
    assert same(minillm.load(tmp_path / "x"), tree)


@reused_folder
@given(data=st.data())
def test_a_flipped_byte_never_runs_away(tmp_path: Path, data: st.DataObject) -> None:
    minillm.save({"w": minillm.arange(3), "n": [1, "a"]}, tmp_path / "x")
    whole = bytearray((tmp_path / "x").read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "x").write_bytes(bytes(whole))
    with contextlib.suppress(ValueError):  # the one error that is promised
        minillm.load(tmp_path / "x")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        minillm.load(tmp_path / "nowhere")
