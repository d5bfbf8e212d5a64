"""What a run needs was moved since it began: it goes on with it elsewhere, bit for bit, and only with the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from lessons.__main__ import main
from tests.lessons.test_command import TINY, labelled, table, words

FEW = "--quiet --steps 4 --eval-every 2 --batch-size 8".split()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts and a pretraining run in ``old``, a copy of that run, and two fine-tuned from it."""
    folder = tmp_path_factory.mktemp("moved")
    (folder / "old").mkdir()
    (folder / "old/text.txt").write_text(words(6000, 0), encoding="utf-8")
    data, held = (str(table(folder / f"old/{n}.csv", labelled(n))) for n in (120, 60))
    assert main(["pretrain", "--text", str(folder / "old/text.txt"), "--out", str(folder / "old/base"), *TINY]) == 0
    shutil.copytree(folder / "old/base", folder / "run")
    for task, out in (("classify", "classifier"), ("generate", "writer")):
        argv = ["finetune", str(folder / "old/base"), "--data", data, "--task", task, "--out", str(folder / out), *FEW]
        assert main([*argv, *(["--validation", held] if task == "classify" else [])]) == 0
    return folder


def config_of(run: Path) -> dict:
    return json.loads((run / "config.json").read_text(encoding="utf-8"))


def checkpoints(run: Path) -> dict[str, dict[str, bytes]]:
    """Return the numbers of all checkpoints; beside them stands where the text lay."""
    paths = sorted((run / "checkpoints").glob("*.safetensors"))
    return {path.name: {name: a.tobytes() for name, a in load_file(path).items()} for path in paths}


@pytest.mark.parametrize("name", ["run", "classifier", "writer"])
def test_a_run_goes_on_with_a_moved_text_as_if_it_had_not_been_moved(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Twins that go on for three more steps, one where its texts were, one elsewhere."""
    stayed, moved, new = tmp_path / "stayed", tmp_path / "moved", tmp_path / "new"
    for twin in (stayed, moved):
        shutil.copytree(home / name, twin)
    (home / "old").rename(new)
    kept = config_of(moved)
    options = ["--text", str(new / "text.txt")] if name == "run" else ["--data", str(new / "120.csv")]
    options += ["--validation", str(new / "60.csv")] if name == "classifier" else []
    options += ["--pretrained", str(new / "base")] if name != "run" else []
    more = ["--quiet", "--steps", "9"]
    try:
        assert main(["resume", str(moved), *more]) == 2
        said = capsys.readouterr()
        assert f"which does not exist; say with {options[0]} where it lies" in said.err and not said.out
        assert main(["resume", str(moved), *more, *options[:-1], str(new / "gone")]) == 2
        assert f"{options[-2]}: {new / 'gone'} does not exist" in capsys.readouterr().err
        assert config_of(moved) == kept
        assert main(["resume", str(moved), *more, *options]) == 0
        said = capsys.readouterr()
        for path in options[1::2]:
            old = str(home / "old" / Path(path).name)
            assert f": {old} before, {path} from now on" in said.out and str(path) in json.dumps(config_of(moved))
    finally:
        new.rename(home / "old")
    assert main(["resume", str(stayed), *more]) == 0
    assert checkpoints(stayed) == checkpoints(moved) != checkpoints(home / name)
    for log in ("metrics.jsonl", "result.json"):
        assert (stayed / log).read_bytes() == (moved / log).read_bytes()


def test_another_text_is_refused_and_forgotten(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other, run = tmp_path / "other.txt", tmp_path / "run"
    other.write_text(words(6000, 1), encoding="utf-8")
    shutil.copytree(home / "run", run)
    kept = (run / "config.json").read_bytes()
    assert main(["resume", str(run), "--quiet", "--text", str(other), "--steps", "9"]) == 2
    said = capsys.readouterr()
    assert "the text has changed since the run began" in said.err
    assert [line.rpartition(" ")[2] for line in said.out.splitlines()] == ["on", "on", "again", "again"]
    assert (run / "config.json").read_bytes() == kept
    assert main(["resume", str(run), "--quiet"]) == 0


def test_another_pretrained_run_is_refused_and_forgotten(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """With a tokenizer of its own, its tokens are other texts."""
    other, run = tmp_path / "other", tmp_path / "run"
    (tmp_path / "other.txt").write_text(words(6000, 1), encoding="utf-8")
    assert main(["pretrain", "--text", str(tmp_path / "other.txt"), "--out", str(other), *TINY]) == 0
    shutil.copytree(home / "classifier", run)
    kept = (run / "config.json").read_bytes()
    capsys.readouterr()
    assert main(["resume", str(run), "--quiet", "--pretrained", str(other), "--steps", "9"]) == 2
    assert "does not fit the run: tokenizer_sha256 is " in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == kept


@pytest.mark.parametrize("name", ["run", "classifier", "writer"])
def test_what_is_judged_on_texts_that_are_gone_says_what_to_give(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = config_of(home / name)
    place = config if name == "run" else config["table"]
    key = "text" if name == "run" else "data"
    shutil.copytree(home / name, tmp_path / "run")
    place[key] = "gone"
    (tmp_path / "run/config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert f"has learned from gone, which does not exist in {Path.cwd()}; give a t" in said.err and not said.out
    assert said.err.rstrip().endswith(f"to judge it on with --{key}") and said.err.count("\n") == 1


def test_texts_around_the_run_are_refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(home / "run", tmp_path / "texts/run")
    kept = config_of(tmp_path / "texts/run")
    assert main(["resume", str(tmp_path / "texts/run"), "--quiet", "--text", str(tmp_path / "texts")]) == 2
    said = capsys.readouterr()
    assert "so its samples would be read as text; move one of them" in said.err and not said.out
    assert config_of(tmp_path / "texts/run") == kept


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("run", option) for option in ("--data", "--validation", "--pretrained")),
        *(("classifier", "--text"), ("writer", "--validation")),
    ],
)
def test_a_run_that_has_no_such_text(
    name: str, option: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(home / name, tmp_path / "run")
    kept = config_of(tmp_path / "run")
    assert main(["resume", str(tmp_path / "run"), "--quiet", option, str(home / "old/text.txt")]) == 2
    said = capsys.readouterr()
    assert f"did not begin with {option}" in said.err and said.err.count("\n") == 1 and not said.out
    assert config_of(tmp_path / "run") == kept
