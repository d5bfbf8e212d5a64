"""What can happen to a run from outside: signals at any moment, a full disk, a second trainer, an edited config."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import minillm
from lessons.__main__ import main
from lessons.console import typed
from minillm.training import Checkpoints, LanguageTask
from tests.lessons.test_command import TINY, labelled, table, words
from tests.lessons.test_command_processes import MINILLM, environment
from tests.training.test_run_folder import tree

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no POSIX signals to send to a child process")
FEW = "--quiet --steps 4 --eval-every 2 --batch-size 8".split()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a table, and a run of each kind."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(words(4000, 0), encoding="utf-8")
    table(folder / "topics.csv", labelled(120))
    run, data = str(folder / "run"), str(folder / "topics.csv")
    assert main(["pretrain", "--text", str(folder / "text.txt"), "--out", run, *TINY]) == 0
    assert main(["finetune", run, "--data", data, "--out", str(folder / "classifier"), *FEW]) == 0
    assert main(["finetune", run, "--data", data, "--task", "generate", "--out", str(folder / "writer"), *FEW]) == 0
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """A copy of the pretrained run, to be spoiled."""
    return Path(shutil.copytree(home / "run", tmp_path / "run"))


def said_by(argv: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str]:
    capsys.readouterr()
    status = main(argv)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err, err
    return status, err


def pretraining(home: Path, run: Path, *more: str, code: str | None = None) -> subprocess.Popen:
    """A process that trains until it is stopped; with ``code``, after something was changed in it."""
    start = MINILLM if code is None else [sys.executable, "-c", code]
    options = [*TINY[:-4], "--eval-every", "5", "--minutes", "10", "--text", str(home / "text.txt"), "--out", str(run)]
    return subprocess.Popen(
        [*start, "pretrain", *options, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=home,
    )  # fmt: skip


def wait_until(process: subprocess.Popen, condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the moment never came: {process.communicate()}")
        time.sleep(0.001)  # the file of a save is there for a few milliseconds


# --- signals ---------------------------------------------------------------------------------------------------------
MOMENTS: dict[str, Callable[[Path], Any]] = {
    "the folder is made": lambda run: run.exists(),
    "the first look begins": lambda run: (run / "run.lock").exists(),
    "the first save begins": lambda run: (run / "checkpoints").exists(),
    "a step is logged": lambda run: (run / "metrics.jsonl").exists(),
    "a save begins": lambda run: list(run.glob("checkpoints/step-*[1-9]*.tmp")),  # not the first
}


@POSIX
@pytest.mark.parametrize(("moment", "status"), [(m, (130, 143)[i % 2]) for i, m in enumerate(MOMENTS)])
def test_a_stop_at_any_moment(home: Path, tmp_path: Path, moment: str, status: int) -> None:
    run, sent = tmp_path / "run", signal.SIGINT if status == 130 else signal.SIGTERM
    process = pretraining(home, run)
    wait_until(process, lambda: MOMENTS[moment](run))
    process.send_signal(sent)
    begun = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 10
    assert process.returncode == status and out == "" and err.count("\n") == 1, err
    if run.exists():
        assert f"minillm resume {typed(run)}" in err
        assert main(["resume", str(run), "--quiet", "--minutes", "0.0001"]) == 0
        assert not list(run.rglob("*.tmp")) and not (run / "run.lock").exists()
    else:
        assert err == "minillm: stopped\n"  # nothing was worth keeping


SLOW = """
import pathlib, sys, time
from lessons.__main__ import main
from minillm.training import LanguageTask

batch = LanguageTask.batch

def slow(self, number):
    if number == 7:
        pathlib.Path("slow").touch()
        time.sleep(300)
    return batch(self, number)

LanguageTask.batch = slow
sys.exit(main(sys.argv[1:]))
"""
# The share of the thread that trains along takes long; this thread's own is done, or takes long, too.
SLOW_THREADS = """
import pathlib, sys, threading, time
from lessons.__main__ import main
from minillm.training import LanguageTask, trainer

trainer.default_workers = lambda: 2  # also on one core
loss, steps = LanguageTask.loss, []

def slow(self, model, batch):
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread:
        steps.append(1)
    if len(steps) >= 7 and OWN in (main_thread, None):
        pathlib.Path("slow").touch()
        time.sleep(300)
    return loss(self, model, batch)

LanguageTask.loss = slow
sys.exit(main(sys.argv[1:]))
"""


@POSIX
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(SLOW, id="while a batch is made"),
        pytest.param(SLOW_THREADS.replace("OWN", "False"), id="in another thread"),
        pytest.param(SLOW_THREADS.replace("OWN", "None"), id="in all threads"),
    ],
)
def test_a_second_ctrl_c_quits_at_once_and_keeps_the_older_checkpoint(home: Path, tmp_path: Path, program: str) -> None:
    run = tmp_path / "run"
    (home / "slow").unlink(missing_ok=True)
    process = pretraining(home, run, code=program)
    wait_until(process, lambda: (home / "slow").exists())
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the step is not finished yet
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 10 and process.returncode == 130
    assert err == f"stopped; saved. Go on with: minillm resume {typed(run)}\n"
    checkpoints = Checkpoints(run / "checkpoints")
    assert checkpoints.load_latest()[0].name == "step-00000005.safetensors"
    assert not (run / "run.lock").exists()
    assert main(["resume", str(run), "--quiet", "--minutes", "0.0001"]) == 0


def test_a_killed_command_goes_on_to_the_same_result(home: Path, tmp_path: Path) -> None:
    longer = ["--steps", "60", "--accumulate", "2", "--dropout", "0.1"]  # the last --steps counts
    options = ["pretrain", "--text", str(home / "text.txt"), *TINY, *longer]
    whole, part = tmp_path / "whole", tmp_path / "part"
    process = subprocess.Popen(
        [*MINILLM, *options, "--out", str(part)], stderr=subprocess.PIPE, text=True, env=environment(), cwd=home
    )
    wait_until(process, lambda: list(part.glob("checkpoints/step-0000001*.json")))
    process.kill()
    process.communicate()
    assert not (part / "result.json").exists() and (part / "run.lock").exists()
    assert main(["resume", str(part), "--quiet"]) == 0
    assert main([*options, "--out", str(whole)]) == 0
    same = ("config.json", "metrics.jsonl", "samples.txt", "tokenizer.json", "result.json", "checkpoints/best.json")
    for name in same:
        assert (part / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (part / "run.lock").exists()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["load_and_split", "preprocess", "evaluate_language", "draw_curves"])
def test_a_stop_before_and_after_the_training(
    home: Path, tmp_path: Path, where: str, sent: signal.Signals, status: int, capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run, handlers = tmp_path / "run", [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(f"lessons.l12_pretraining.{where}", lambda *_, **__: signal.raise_signal(sent))
    found, err = said_by(["pretrain", "--text", str(home / "text.txt"), "--out", str(run), *TINY], capsys)
    assert found == status
    if where in ("load_and_split", "preprocess"):
        assert err == "minillm: stopped\n" and not run.exists()
    else:
        assert err == f"stopped; saved. Go on with: minillm resume {typed(run)}\n"
        monkeypatch.undo()
        assert main(["resume", str(run), "--quiet"]) == 0 and (run / "result.json").exists()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


@POSIX
@pytest.mark.parametrize("held_off", [False, True])
def test_a_closed_terminal_is_a_stop_unless_nohup_holds_it_off(home: Path, tmp_path: Path, held_off: bool) -> None:
    run = tmp_path / "run"
    code = "import signal, sys; from lessons.__main__ import main; "
    code += f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if held_off else 'SIG_DFL'}); "  # as nohup or a shell does
    process = pretraining(home, run, code=code + "sys.exit(main())")
    assert process.stderr is not None and process.stdout is not None
    wait_until(process, lambda: list(run.glob("checkpoints/step-0000000*.json")))
    process.stderr.close()  # who reads it is gone, too
    process.send_signal(signal.SIGHUP)
    if held_off:
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == (143 if held_off else 129)
    process.stdout.close()
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps and not (run / "run.lock").exists()
    assert main(["resume", str(run), "--quiet", "--minutes", "0.0001"]) == 0


def test_a_stop_before_a_new_run_began_does_not_name_the_earlier_one(
    home: Path, run: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(run)
    monkeypatch.setattr("lessons.l12_pretraining.load_and_split", lambda *_: signal.raise_signal(signal.SIGINT))
    again = ["pretrain", "--text", str(home / "text.txt"), "--out", str(run), "--force", *TINY]
    assert said_by(again, capsys) == (130, "minillm: stopped\n")
    assert tree(run) == before


@pytest.mark.parametrize("name", ["my run", "-run", "it's $HOME"])
def test_the_line_that_goes_on_can_be_pasted(
    home: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lessons.l12_pretraining.draw_curves", lambda *_: signal.raise_signal(signal.SIGINT))
    status, err = said_by(["pretrain", "--text", str(home / "text.txt"), f"--out={name}", *TINY], capsys)
    assert status == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    pasted = err.split("Go on with: ")[1]
    argv = shlex.split(pasted) if os.name != "nt" else ["minillm", "resume", f".{os.sep}{name}"]
    assert argv[:2] == ["minillm", "resume"] and main([*argv[1:], "--quiet"]) == 0


def test_a_change_that_failed_is_not_made_by_a_later_resume(
    home: Path, run: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "config.json").read_bytes()
    for lr in ("0.5", "1e30"):
        if lr == "0.5":
            monkeypatch.setattr(
                "lessons.l12_pretraining.load_and_split", lambda *_: (home / "gone.txt").read_text(encoding="utf-8")
            )
        status = main(["resume", str(run), "--quiet", "--lr", lr, "--steps", "20", "--eval-every", "9"])
        out, err = capsys.readouterr()
        assert status == (2 if lr == "0.5" else 1) and "Traceback" not in err and "steps: 6 again" in out
        assert (run / "config.json").read_bytes() == before
        monkeypatch.undo()
    assert main(["resume", str(run), "--quiet", "--lr", "0.001", "--steps", "12"]) == 0
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["changed"] == ["lr", "steps"]


# --- a second trainer ------------------------------------------------------------------------------------------------
@POSIX
def test_a_second_trainer_is_refused_and_the_first_goes_on(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    process = pretraining(home, run)
    wait_until(process, lambda: list(run.glob("checkpoints/step-0000000*.json")))
    again = ["pretrain", "--text", str(home / "text.txt"), "--out", str(run), *TINY]
    for argv in (["resume", str(run)], [*again, "--force"], ["resume", str(run), "--lr", "1"]):
        status, err = said_by(argv, capsys)
        assert status == 2 and f"process {process.pid} on" in err and "is training in it" in err
    assert said_by(again, capsys)[0] == 2  # not empty
    assert main(["generate", str(run), "--max-new-tokens", "3"]) == 0  # reading is free
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    process.communicate()
    assert main(["resume", str(run), "--quiet", "--minutes", "0.0001"]) == 0


# --- a full disk -----------------------------------------------------------------------------------------------------
@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond so many bytes, as ``ulimit -f`` does."""
    resource = pytest.importorskip("resource", reason="Windows has no limits on file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_stops_the_training_and_loses_nothing(
    run: Path, capsys: pytest.CaptureFixture, file_size_limit: Callable[[int], None]
) -> None:
    before = tree(run / "checkpoints")
    file_size_limit(100_000)  # a checkpoint is larger; what else a run writes is not
    status, err = said_by(["resume", str(run), "--quiet", "--steps", "20"], capsys)
    assert status == 1
    told = re.search(
        r"resume: (.+): not written \(File too large\): needs about ([\d,]+) bytes, ([\d,]+) are free", err
    )
    assert told and Path(told[1]) == run / "checkpoints" / "step-00000009.safetensors" and "make room and resume" in err
    assert int(told[2].replace(",", "")) > 100_000
    assert tree(run / "checkpoints") == before
    file_size_limit(10**9)
    assert main(["resume", str(run), "--quiet"]) == 0
    assert Checkpoints(run / "checkpoints").load_latest()[1]["trainer"]["step"] == 20


def test_a_run_that_cannot_even_begin_leaves_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture, file_size_limit: Callable[[int], None]
) -> None:
    argv = ["pretrain", "--text", str(home / "text.txt"), "--out", str(tmp_path / "new"), *TINY]
    for limit, status, expected in ((0, 2, "cannot be written to (File too large)"), (100_000, 1, "needs about")):
        file_size_limit(limit)
        found, err = said_by(argv, capsys)
        file_size_limit(10**9)
        assert found == status and expected in err and str(tmp_path / "new") in err
        assert not (tmp_path / "new").exists()


# --- an edited config ------------------------------------------------------------------------------------------------
TAMPERED: list[tuple[str, Any, str]] = [
    ("size.n_embd", 16, r"model\.n_embd is 64 there, expected 16"),
    ("model.n_layer", 7, r"model\.n_layer is 7 there, expected 2"),
    ("dropout", 0.5, r"model\.dropout is 0\.0 there, expected 0\.5"),
    ("vocab_size", 280, r"tokenizer_sha256 is '\w+' there, expected '\w+'"),
    ("tokenizer_sha256", "00", r"tokenizer_sha256 is '00' there, expected '\w+'"),
    ("corpus_sha256", "00", r"the text has changed since the run began \(sha256 \w+\.\.\., expected 00"),
    ("training.lr", 1.0, r"training\.lr was 0\.004, is 1\.0"),
    ("training.batch_size", 5, r"training\.batch_size was 4, is 5"),
    ("training.weight_decay", -1.0, r"weight_decay=-1\.0 \(expected 0 or more"),
    ("bits_per_nat", 1.0, r"bits_per_nat is 1\.0 there, expected"),
]


@pytest.mark.parametrize(("name", "value", "expected"), TAMPERED, ids=[name for name, *_ in TAMPERED])
def test_an_edited_config_is_refused_with_both_values(
    run: Path, name: str, value: Any, expected: str, capsys: pytest.CaptureFixture
) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    *path, last = name.split(".")
    place = config
    for part in path:
        place = place[part]
    assert place[last] != value
    place[last] = value
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    before = tree(run)
    status, err = said_by(["resume", str(run), "--quiet"], capsys)
    assert status == 2 and re.search(expected, err), err
    assert tree(run) == before


@pytest.mark.parametrize("kind", ["run", "classifier", "writer"])
def test_a_foreign_tokenizer_or_text_is_refused(
    home: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture
) -> None:
    run = Path(shutil.copytree(home / kind, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    for name in ("tokenizer_sha256", "corpus_sha256"):
        (run / "config.json").write_text(json.dumps({**config, name: "0123"}), encoding="utf-8")
        status, err = said_by(["resume", str(run), "--quiet"], capsys)
        assert status == 2 and "0123" in err and config[name][:12] in err
    use = {"run": "generate", "writer": "generate", "classifier": "evaluate"}[kind]
    (run / "config.json").write_text(json.dumps({**config, "tokenizer_sha256": "0123"}), encoding="utf-8")
    status, err = said_by([use, str(run)], capsys)
    assert status == 2 and "not the tokenizer of this run" in err and config["tokenizer_sha256"][:12] in err


def test_settings_are_changed_where_the_user_asks(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["resume", str(run), "--quiet", "--steps", "9", "--lr", "0.5", "--batch-size", "4"]) == 0
    out = capsys.readouterr().out
    assert "lr: 0.004 before, 0.5 from now on\nsteps: 6 before, 9 from now on\n" in out and "batch_size" not in out
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert log[-1]["step"] == 9 and log[-2]["lr"] > 0.01
    assert main(["resume", str(run), "--quiet"]) == 0  # the change stays
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["changed"] == ["lr", "steps"]


def test_a_run_of_an_earlier_version_goes_on(run: Path) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    del config["tokenizer_sha256"], config["training"]["anomaly"]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["resume", str(run), "--quiet", "--steps", "8"]) == 0
    assert main(["generate", str(run), "--max-new-tokens", "2"]) == 0


# --- numbers that go wrong -------------------------------------------------------------------------------------------
def test_the_op_that_makes_a_nan_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    loss = LanguageTask.loss

    def spoiled(self: LanguageTask, model: Any, batch: Any) -> minillm.Tensor:
        return loss(self, model, batch) * minillm.log(minillm.tensor(-1.0))

    monkeypatch.setattr(LanguageTask, "loss", spoiled)
    before = tree(run / "checkpoints")
    status, err = said_by(["resume", str(run), "--quiet", "--steps", "9"], capsys)
    assert status == 1 and "step 7: loss nan" in err and "--anomaly" in err
    capsys.readouterr()
    assert main(["resume", str(run), "--quiet", "--steps", "9", "--anomaly"]) == 1
    err = capsys.readouterr().err
    assert "resume: step 7: Log: made a NaN" in err and "in spoiled" in err and "Traceback" not in err
    assert tree(run / "checkpoints") == before
    with pytest.warns(UserWarning, match=r"step \d: loss nan.*skipped \(\d so far\)"):
        assert main(["resume", str(run), "--quiet", "--no-anomaly", "--steps", "9", "--skip-nonfinite"]) == 0
    assert Checkpoints(run / "checkpoints").load_latest()[1]["trainer"]["skipped"] == 3
