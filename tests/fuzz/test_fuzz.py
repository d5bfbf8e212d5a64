"""A short run of the fuzzer; ``python -m tests.fuzz --minutes 5`` is the long one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.text import Tokenizer
from tests.fuzz.__main__ import Finding, fuzz, main
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_no_findings(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(number=st.integers(0, 2**32))
def test_changed_files_are_read_or_refused(name: str, number: int) -> None:
    rng, begin = random.Random(number), seeds(name)
    for _ in range(10):
        TARGETS[name](mutate(rng.choice(begin), begin, rng))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=100) | st.text(max_size=50).map(lambda s: s.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    TARGETS[name](data)


@given(st.binary(max_size=60), st.integers(0, 2**32))
def test_mutation_depends_on_its_seed_alone(data: bytes, number: int) -> None:
    first, second = (mutate(data, [b"{}", b""], random.Random(number)) for _ in range(2))
    assert first == second


def test_a_fault_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path) -> Tokenizer:
        return Tokenizer.from_dict(json.loads(path.read_text(encoding="utf-8")))  # errors without the file's name

    monkeypatch.setattr(Tokenizer, "load", staticmethod(careless))
    executions, findings = fuzz("tokenizer", 0.5, seed=0)
    assert executions > 5 and findings
    assert all(isinstance(found, Finding) for found in findings)
    with pytest.raises(AssertionError, match="a message without the file"):
        TARGETS["tokenizer"](findings[0].data)
    assert main(["--minutes", "0.005", "--target", "tokenizer", "--engine", "random", "--out", str(tmp_path)]) == 1
    kept = sorted(tmp_path.iterdir())
    assert kept and all(path.name.startswith("tokenizer-") for path in kept)
    assert main(["--target", "tokenizer", "--replay", str(kept[0])]) == 1


def test_the_guided_fuzzer_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("atheris", reason="guides the fuzzer by the lines that it reaches; pip install atheris")
    assert main(["--minutes", "0.05", "--target", "jsonl", "--engine", "atheris", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "0 findings (atheris)" in said and int(said.split()[1].replace(",", "")) > 100


def test_nothing_found_is_a_good_end(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--minutes", "0.002", "--engine", "random", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert all(f"{name:>10}" in said for name in TARGETS) and "0 findings" in said
    assert not (tmp_path / "out").exists()
