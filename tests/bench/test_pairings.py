"""Each library gets the environment that its pairing says."""

from __future__ import annotations

import pytest

from tests.bench import pairings
from tests.bench.pairings import environment, lacks


@pytest.fixture(autouse=True)
def preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("LD_PRELOAD", raising=False)


def test_as_it_stands_nothing_changes() -> None:
    assert environment("stands", "minillm")["OPENBLAS_CORETYPE"] == "Zen"
    assert environment("stands", "torch")["MKL_ENABLE_INSTRUCTIONS"] == "SSE4_2"


@pytest.mark.parametrize("library", ["minillm", "torch", "jax"])
def test_as_installed_nobody_chooses_kernels_and_threads_stay(library: str) -> None:
    chosen = environment("installed", library)
    assert not set(pairings.CHOICES) & set(chosen)
    assert chosen["OMP_NUM_THREADS"] == "3"


def test_with_avx2_both_are_held_to_it() -> None:
    assert environment("avx2", "minillm")["OPENBLAS_CORETYPE"] == "Haswell"
    assert environment("avx2", "torch")["MKL_ENABLE_INSTRUCTIONS"] == "AVX2"
    assert "OPENBLAS_CORETYPE" not in environment("avx2", "torch")


@pytest.mark.parametrize(("vendor", "told"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_with_avx512_mkl_is_told_only_on_other_processors(
    vendor: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairings, "cpu_vendor", lambda: vendor)
    monkeypatch.setattr(pairings, "shim", lambda: "shim.so")
    assert environment("avx512", "torch").get("LD_PRELOAD") == ("shim.so" if told else None)
    assert "LD_PRELOAD" not in environment("avx512", "minillm")


def test_what_a_processor_cannot_do_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairings.platform, "machine", lambda: "arm64")
    assert lacks("avx2") == "arm64 has neither AVX2 nor AVX-512"
    assert not lacks("installed") and not lacks("stands")
    monkeypatch.setattr(pairings.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(pairings.sys, "platform", "linux")
    monkeypatch.setattr(pairings, "cpu_flags", lambda: {"avx2"})
    assert not lacks("avx2") and lacks("avx512") == "this processor has no AVX-512"
