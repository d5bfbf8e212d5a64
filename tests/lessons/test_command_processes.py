"""The command as a process: how soon it answers, how it is stopped, and how it goes on."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lessons.__main__ import main
from lessons.console import typed
from tests.lessons.test_command import words

MINILLM = [sys.executable, "-m", "lessons"]
ROOT = Path(__file__).resolve().parents[2]
EXPORT, MEASURE = "course export", "course measure"
COMMANDS = "demo pretrain finetune generate evaluate plot resume lessons run check quiz notebook course".split()


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


@pytest.mark.parametrize("command", ["", *COMMANDS, EXPORT, MEASURE])
def test_help_imports_nothing_heavy(command: str) -> None:
    # Why modules and not seconds: a clock on a shared machine says nothing. These are what takes the time.
    code = (
        "import sys; from lessons.__main__ import main\n"
        f"try: main({[*command.split(), '--help']!r})\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "print('heavy:', sorted({'numpy', 'minillm', 'matplotlib', 'tqdm', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True, cwd=ROOT
    )
    assert done.stdout.endswith("heavy: []\n")
    assert "usage: minillm" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    process = subprocess.Popen(
        [*MINILLM, "lessons"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=ROOT
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 0


ENDLESS = """
import sys
from lessons import using
from lessons.__main__ import main

def write(arguments):
    while True:
        print("more " * 100, flush=True)

using.do_generate = write
sys.exit(main(["generate", "run"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no sh")
def test_head_ends_a_command_that_is_writing(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS, encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", f"{{ {shlex.join([sys.executable, 'endless.py'])}; echo $? >status; }} | head -n 1"],
        capture_output=True, env=environment(), cwd=tmp_path, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == b"more " * 100 + b"\n" and done.stderr == b""
    assert (tmp_path / "status").read_text(encoding="utf-8") == "0\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no sh")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_without_an_output(closed: str, tmp_path: Path) -> None:
    for argv, status in ((["lessons"], 0), (["generate", "nothing"], 2)):
        command = f"{shlex.join([*MINILLM, *argv])} {closed}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, env=environment(), cwd=tmp_path, check=False)
        assert done.returncode == status and b"Traceback" not in done.stderr + done.stdout


def test_an_old_console_gets_escapes_instead_of_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MINILLM, "pretrain", "--text", str(tmp_path / "caf\u00e9.txt")],
        capture_output=True, env=environment(PYTHONIOENCODING="ascii"), cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert rb"caf\xe9.txt: there is no such file" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no sh")
def test_without_an_input_or_a_language(tmp_path: Path) -> None:
    text = tmp_path / "caf\u00e9.txt"
    command = shlex.join([*MINILLM, "pretrain", "--text", str(text)])
    done = subprocess.run(
        ["sh", "-c", f"{command} <&-"], capture_output=True,
        env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", NO_COLOR="1"), cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and b"there is no such file" in done.stderr
    assert b"Traceback" not in done.stderr and done.stderr.isascii() and b"\x1b" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no POSIX signals to send to a child process")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_goes_on(sent: signal.Signals, status: int, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(words(4000, 0), encoding="utf-8")
    options = "--size tiny --block-size 16 --vocab-size 300 --batch-size 4 --eval-every 5 --quiet".split()
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*MINILLM, "pretrain", "--text", str(tmp_path / "text.txt"), "--out", str(run), "--minutes", "10", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and "val_loss" in metrics.read_text(encoding="utf-8")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    said = [line for line in err.splitlines() if "minillm resume" in line]
    assert len(said) == 1 and "Traceback" not in err, err
    told = re.search(r"after step (\d+).*minillm resume (.+)", said[0])
    assert told and told[2] == typed(run)
    stopped_at = int(told[1])

    # Its time is over as soon as it looks at the clock.
    assert main(["resume", str(run), "--quiet", "--minutes", "0.001"]) == 0
    steps = [json.loads(line)["step"] for line in metrics.read_text(encoding="utf-8").splitlines()]
    assert steps == sorted(steps) and steps[-1] > stopped_at
    assert (run / "result.json").exists()
