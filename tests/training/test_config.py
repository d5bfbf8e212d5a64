"""Settings are checked when they are made: every broken rule is named, all of them at once."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lessons.l11_gpt import GPTConfig
from minillm.training import ConfigError, TrainingConfig

# For each setting, values that break its rule.
BROKEN: dict[str, list[Any]] = {
    "steps": [-1, 1.5, "3", True, None],
    "minutes": [0, -1.0, math.nan, math.inf, "5"],
    "batch_size": [0, -2, 1.0, True, None],
    "accumulate": [0, "1", False],
    "lr": [0.0, -1e-3, math.nan, math.inf, "3e-3", None],
    "warmup_steps": [-1, 0.5],
    "schedule": ["cosinus", "", 3, None],
    "min_lr_ratio": [-0.1, 1.1, math.nan],
    "weight_decay": [-1.0, math.nan, math.inf],
    "beta1": [1.0, -0.1, math.nan],
    "beta2": [1.0, 2.0, "0.9"],
    "clip": [0.0, -1.0, math.nan],
    "eval_every": [0, 2.5],
    "patience": [0, -1, 1.5],
    "min_delta": [-1e-9, math.nan, math.inf],
    "keep_last": [1, 0],
    "log_every": [0],
    "precision": ["float64", "bf16", "", 16, None],
    "skip_nonfinite": [1, "yes", None],
    "anomaly": [1, "yes", None],
    "seed": ["0", 1.5, True, -1],
    "workers": [0, -1, 1.5, "2"],
}
PAIRS = [(name, value) for name, values in BROKEN.items() for value in values]


def test_every_setting_has_values_that_break_its_rule() -> None:
    assert set(BROKEN) == {f.name for f in fields(TrainingConfig)}


@pytest.mark.parametrize(("name", "value"), PAIRS, ids=[f"{n}={v!r}" for n, v in PAIRS])
def test_a_broken_rule_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig(**{name: value})
    assert f"{name}={value!r} (expected " in str(error.value)
    assert ";" not in str(error.value)  # nothing else is wrong


@given(st.fixed_dictionaries({}, optional={n: st.sampled_from(v) for n, v in BROKEN.items()}).filter(bool))
def test_all_that_is_wrong_is_said_at_once(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig(**broken)
    named = [part.split("=")[0] for part in str(error.value).removeprefix("training settings: ").split("; ")]
    assert sorted(named) == sorted(broken)  # each of them once


VALID: dict[str, st.SearchStrategy] = {
    "steps": st.integers(0, 10**9),
    "minutes": st.none() | st.floats(1e-3, 1e4),
    "batch_size": st.integers(1, 512),
    "accumulate": st.integers(1, 64),
    "lr": st.floats(1e-8, 10),
    "warmup_steps": st.integers(0, 1000),
    "schedule": st.sampled_from(["linear", "cosine", "constant"]),
    "min_lr_ratio": st.floats(0, 1),
    "weight_decay": st.integers(0, 1) | st.floats(0, 1),
    "beta1": st.floats(0, 1, exclude_max=True),
    "beta2": st.floats(0, 1, exclude_max=True),
    "eval_every": st.integers(1, 1000),
    "min_delta": st.floats(0, 10),
    "keep_last": st.integers(2, 9),
    "log_every": st.integers(1, 1000),
    "clip": st.none() | st.floats(1e-6, 100),
    "patience": st.none() | st.integers(1, 100),
    "precision": st.sampled_from(["float32", "bfloat16", "float16"]),
    "skip_nonfinite": st.booleans(),
    "anomaly": st.booleans(),
    "seed": st.integers(0, 2**64),
    "workers": st.none() | st.integers(1, 64),
}


@given(st.fixed_dictionaries({}, optional=VALID))
def test_right_settings_survive_json(settings: dict[str, Any]) -> None:
    made = TrainingConfig(**settings)
    assert {name: getattr(made, name) for name in settings} == settings
    assert TrainingConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_the_valid_settings_leave_none_out() -> None:
    assert set(VALID) == {f.name for f in fields(TrainingConfig)}
    TrainingConfig()  # what is given by default is valid, too


def test_settings_do_not_change_once_they_are_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainingConfig().lr = -1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("typo", "meant"), [("batchsize", "batch_size"), ("learning_rate", None), ("warmup", "warmup_steps"), ("LR", None)]
)
def test_an_unknown_name_is_refused_with_the_nearest(typo: str, meant: str | None) -> None:
    with pytest.raises(ConfigError, match=f"unknown '{typo}'") as error:
        TrainingConfig.from_dict({typo: 1})
    assert ("did you mean" in str(error.value)) == (meant is not None)
    assert meant is None or f"did you mean '{meant}'?" in str(error.value)
    assert "known are steps, minutes" in str(error.value)


def test_all_unknown_names_are_listed() -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig.from_dict({"lr": 0.1, "stepps": 3, "qqq": 1, "clipp": None})
    assert "unknown 'stepps' (did you mean 'steps'?), 'qqq', 'clipp' (did you mean 'clip'?); known" in str(error.value)


def test_unknown_names_do_not_hide_what_else_is_wrong() -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig.from_dict({"stepps": 3, "lr": -1.0, "clip": "x", "seed": 1})
    for words in ("'stepps' (did you mean 'steps'?)", "lr=-1.0 (expected", "clip='x' (expected"):
        assert words in str(error.value)
    with pytest.raises(ConfigError) as error:
        GPTConfig.from_dict({"n_layers": 3, "n_head": 3, "n_embd": 10, "dropout": True, "bias": 1})
    for words in ("'n_layers' (did you mean 'n_layer'?)", "missing vocab_size", "n_embd=10 (expected a multiple of"):
        assert words in str(error.value)
    assert "dropout=True" in str(error.value) and "bias=1 (expected True or False)" in str(error.value)
    assert "vocab_size=" not in str(error.value)  # it is missing, not wrong


@pytest.mark.parametrize("given", [None, [], "steps", 3, [["steps", 3]]], ids=str)
def test_settings_are_names_with_values(given: Any) -> None:
    for made in (TrainingConfig.from_dict, GPTConfig.from_dict):
        with pytest.raises(ConfigError, match=f"expected names with values, got {type(given).__name__}"):
            made(given)  # type: ignore[arg-type]


models = st.builds(
    lambda share, **rest: GPTConfig(n_embd=share * rest["n_head"], **rest),
    st.integers(1, 8),
    vocab_size=st.integers(1, 1000),
    block_size=st.integers(1, 64),
    n_layer=st.integers(1, 4),
    n_head=st.integers(1, 4),
    dropout=st.floats(0, 1, exclude_max=True),
    bias=st.booleans(),
)


@given(models)
def test_models_survive_json(config: GPTConfig) -> None:
    assert config.n_embd % config.n_head == 0
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_embd": 10, "n_head": 3}, "n_embd=10 (expected a multiple of n_head=3"),
        ({"vocab_size": 0}, "vocab_size=0 (expected 1 or more)"),
        ({"block_size": 8.0}, "block_size=8.0 (expected a whole number)"),
        ({"n_layer": True}, "n_layer=True (expected a whole number)"),
        ({"dropout": 1.0}, "dropout=1.0 (expected from 0 to below 1)"),
        ({"dropout": math.nan}, "dropout=nan"),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_models_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        GPTConfig(**{"vocab_size": 5, **changes})
    assert words in str(error.value)
    assert ";" not in str(error.value)


def test_all_that_is_wrong_with_a_model_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        GPTConfig(vocab_size=0, n_embd=10, n_head=3)
    assert "vocab_size=0" in str(error.value) and "n_embd=10 (expected a multiple of n_head=3" in str(error.value)
    with pytest.raises(ConfigError) as error:
        GPTConfig(vocab_size=0, block_size="8", n_layer=True, dropout=2.0)  # type: ignore[arg-type]
    for words in ("vocab_size=0", "block_size='8'", "n_layer=True", "dropout=2.0"):
        assert words in str(error.value)
    with pytest.raises(ConfigError, match="did you mean 'n_layer'"):
        GPTConfig.from_dict({"vocab_size": 5, "n_layers": 3})
