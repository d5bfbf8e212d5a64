"""The demo goes on where it was stopped: a stage that has saved goes on, one that has not begins anew."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lessons import demo
from minillm.training import Checkpoints

STAGES = [
    ("pretrained", "l12_pretraining", "pretrain"),
    ("classifier", "l15_classification", "finetune"),
    ("scratch", "l15_classification", "finetune"),
    ("writer", "l16_label_to_words", "finetune"),
]


class Reached(Exception):
    """A stage was about to begin."""


@pytest.mark.parametrize("saved", [False, True], ids=["killed before its first save", "killed later"])
@pytest.mark.parametrize("number", range(4), ids=[name for name, *_ in STAGES])
def test_a_killed_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, saved: bool) -> None:
    name, lesson, begins = STAGES[number]
    corpus = SimpleNamespace(train="", validation="")
    monkeypatch.setattr("lessons.l12_pretraining.load_and_split", lambda **_: corpus)
    monkeypatch.setattr("lessons.l12_pretraining.preprocess", lambda _: None)
    monkeypatch.setattr("lessons.demo.text_baselines", lambda *_: None)
    reached: list[tuple[str, Path]] = []
    for how in (begins, "resume"):

        def reach(folder: Path, *_: Any, how: str = how, **__: Any) -> None:
            reached.append((how, folder))
            raise Reached

        monkeypatch.setattr(f"lessons.{lesson}.{how}", reach)
    for done, *_ in STAGES[:number]:
        (tmp_path / done).mkdir()
        (tmp_path / done / "result.json").write_text("{}", encoding="utf-8")
    checkpoints = Checkpoints(tmp_path / name / "checkpoints")
    checkpoints.folder.mkdir(parents=True)
    (checkpoints.folder / "step-00000000.safetensors.tmp").write_bytes(b"half")
    if saved:
        checkpoints.save(0, {})
    with pytest.raises(Reached):
        demo.run(tmp_path, quiet=True, resume=True)
    assert reached == [("resume" if saved else begins, tmp_path / name)]
