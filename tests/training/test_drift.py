"""A run goes on only with what it began with; what the user asks to change is changed, and named."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

import minillm
from minillm.training import (
    Checkpoints,
    ConfigError,
    EarlyStopping,
    RunError,
    Trainer,
    TrainingConfig,
    change_config,
    create_run,
    go_on,
    read_config,
)
from minillm.training.run_folder import differences
from tests.training.test_nonfinite import Spoiled, plain, trainer_for
from tests.training.test_run_folder import tree

ABOUT = {"kind": "pretrain", "model": {"n_layer": 2, "n_embd": 64}, "tokenizer_sha256": "aa", "corpus_sha256": "bb"}
SETTINGS = {"steps": 12, "eval_every": 4, "log_every": 1, "lr": 0.01, "warmup_steps": 2, "accumulate": 2}


def trainer_in(folder: Path, about: dict[str, Any] | None = None, **changes: Any) -> Trainer:
    minillm.manual_seed(0)
    model = minillm.nn.Linear(3, 1).double()
    return Trainer(model, Spoiled(), TrainingConfig(**{**SETTINGS, **changes}), folder, about=about)


@pytest.mark.parametrize(
    ("about", "changes", "words"),
    [
        ({"model": {"n_layer": 2, "n_embd": 32}}, {}, ["model.n_embd was 64, is 32"]),
        (
            {"tokenizer_sha256": "cc", "corpus_sha256": "dd"},
            {},
            ["tokenizer_sha256 was 'aa', is 'cc'", "corpus_sha256"],
        ),
        ({"kind": "classifier"}, {}, ["kind was 'pretrain', is 'classifier'"]),
        ({}, {"lr": 0.02, "clip": None}, ["training.lr was 0.01, is 0.02", "training.clip was 1.0, is None"]),
        ({"changed": ["lr"]}, {"lr": 0.02, "seed": 1}, ["training.seed was 0, is 1"]),
        ({"changed": ["lr", "model"], "model": {"n_layer": 3}}, {"lr": 0.02}, ["model.n_layer was 2, is 3"]),
        ({}, {"precision": "float16"}, ["training.precision was 'float32', is 'float16'"]),
        ({}, {"skip_nonfinite": True}, ["training.skip_nonfinite was False, is True"]),
    ],
)
def test_what_differs_is_named_with_both_values_and_nothing_is_touched(
    tmp_path: Path, about: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    trainer_in(tmp_path, ABOUT).fit()
    other = trainer_in(tmp_path, {**ABOUT, **about}, **changes)
    before, weights = tree(tmp_path), plain(other.model.state_dict())
    with pytest.raises(RunError, match=r"saved with other settings: .*\. Put them back .*or start a new run$") as error:
        other.resume()
    for word in words:
        assert word in str(error.value)
    assert str(error.value).count(", is ") == len(words)
    assert tree(tmp_path) == before and plain(other.model.state_dict()) == weights and other.step == 0


def test_what_was_asked_for_is_applied(tmp_path: Path) -> None:
    trainer_in(tmp_path, ABOUT).fit()
    changes = {"steps": 20, "lr": 0.5, "schedule": "constant"}
    other = trainer_in(tmp_path, {**ABOUT, "changed": sorted(changes)}, **changes)
    other.resume()
    assert (other.step, other.total_steps) == (12, 20)
    other.fit()
    assert other.step == 20 and other.history[-2]["lr"] == 0.5
    again = trainer_in(tmp_path, {**ABOUT, "changed": sorted(changes)}, **changes)
    again.resume()
    assert again.step == 20


def test_a_run_that_was_stopped_at_its_last_step_still_looks_when_it_goes_on(tmp_path: Path) -> None:
    first = trainer_for(Spoiled(), tmp_path, steps=11)  # the last step is not one where a look is due
    first.task.then[21] = lambda: signal.raise_signal(signal.SIGINT)  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="after step 11"):
        first.fit()
    assert "val_loss" not in first.history[-1]
    again = trainer_for(Spoiled(), tmp_path, steps=11)
    again.resume()
    assert "val_loss" in again.fit() and again.history[-1]["step"] == 11
    whole = trainer_for(Spoiled(), tmp_path / "whole", steps=11)
    whole.fit()
    assert again.history == whole.history


def test_a_stop_during_the_last_look_is_not_swallowed(tmp_path: Path) -> None:
    trainer = trainer_for(Spoiled(), tmp_path)
    evaluate = trainer.task.evaluate

    def stopped(model: Any) -> dict[str, float]:
        if trainer.step == 12:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(model)

    trainer.task.evaluate = stopped  # type: ignore[method-assign]
    with pytest.raises(Exception, match="stopped by SIGTERM after step 12"):
        trainer.fit()
    assert Checkpoints(tmp_path / "checkpoints").load_latest()[1]["trainer"]["step"] == 12


def test_checkpoints_from_before_settings_were_kept_in_them_load(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, ABOUT)
    trainer._started = 0.0
    state = trainer.state_dict()
    del state["about"]
    Checkpoints(tmp_path / "checkpoints").save(0, state)
    trainer_in(tmp_path, {**ABOUT, "kind": "other"}).resume()
    old = {"training": {k: v for k, v in TrainingConfig(**SETTINGS).to_dict().items() if k != "anomaly"}}
    Checkpoints(tmp_path / "checkpoints").save(1, {**state, "about": old})  # a setting that came later is not compared
    trainer_in(tmp_path, ABOUT, anomaly=True).resume()


# --- config.json -----------------------------------------------------------------------------------------------------
def config() -> dict[str, Any]:
    return {**ABOUT, "training": TrainingConfig(**SETTINGS).to_dict()}


def test_a_config_that_fits_is_returned_and_one_that_does_not_is_named(tmp_path: Path) -> None:
    create_run(tmp_path, config())
    assert go_on(tmp_path, config()) == {**config(), "changed": []}
    with pytest.raises(RunError, match=r"config\.json: does not fit the run: model\.n_embd is 64 there, expected 32$"):
        go_on(tmp_path, {**config(), "model": {"n_layer": 2, "n_embd": 32}})


def test_changes_are_written_down(tmp_path: Path) -> None:
    create_run(tmp_path, config())
    assert change_config(tmp_path, {}) == change_config(tmp_path, {"lr": 0.01}) == {}
    assert read_config(tmp_path) == config()
    assert change_config(tmp_path, {"lr": 0.5, "steps": 12, "clip": None}) == {"clip": (1.0, None), "lr": (0.01, 0.5)}
    assert change_config(tmp_path, {"patience": 3}) == {"patience": (None, 3)}
    changed = read_config(tmp_path)
    assert changed["changed"] == ["clip", "lr", "patience"]
    settings = dataclasses.replace(TrainingConfig(**SETTINGS), lr=0.5, clip=None, patience=3)
    assert TrainingConfig.from_dict(changed["training"]) == settings
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="lr=-1"):
        change_config(tmp_path, {"lr": -1.0})
    with pytest.raises(RunError, match=r"no config\.json"):
        change_config(tmp_path / "nowhere", {"lr": 1.0})
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("was", "now", "found"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {}),
        ({"a": 1}, {"a": 1.0}, {"a": (1, 1.0)}),
        ({"a": True}, {"a": 1}, {"a": (True, 1)}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1, "d": 3}}}, {"a.b.d": (2, 3)}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": ({"b": 1}, 5)}),
        ({"b": [1], "a": None}, {"b": [1, 2], "a": ""}, {"a": (None, ""), "b": ([1], [1, 2])}),
    ],
)
def test_differences(was: dict[str, Any], now: dict[str, Any], found: dict[str, Any]) -> None:
    assert differences(was, now) == found and list(differences(was, now)) == sorted(found)
    assert differences(json.loads(json.dumps(was)), was) == {}


def test_a_new_patience_counts_the_looks_that_were_made(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, ABOUT)
    trainer.task.evaluate = lambda model: {"loss": float(trainer.step)}  # type: ignore[method-assign]
    trainer.fit()
    again = trainer_in(tmp_path, {**ABOUT, "changed": ["patience", "steps"]}, patience=3, steps=100)
    again.resume()
    assert isinstance(again.stopper, EarlyStopping) and again.stopper.should_stop
    again.fit()
    assert again.step == 12
