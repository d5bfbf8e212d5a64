"""What ``python -m tests.everywhere`` installs, and what it makes of failures; the suites are run by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import everywhere


def test_the_oldest_packages_are_the_floors_and_the_newest_are_open() -> None:
    oldest, newest = everywhere.requirements(True), everywhere.requirements(False)
    assert "numpy==2.1.*" in oldest and "numpy>=2.1" in newest and "pytest-timeout==2.3.1.*" in oldest
    assert len(oldest) == len(newest) == 10 and all(line.count("=") == 2 for line in oldest)


def test_one_failure_fails_the_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    asked: list[tuple[str, bool]] = []

    def suite(python: str, oldest: bool, more: list[str], tests: list[str], folder: Path) -> int:
        assert more == ["torch"] and tests == ["tests/ops", "-x"] and folder.is_dir()
        asked.append((python, oldest))
        return int(python == "b")

    monkeypatch.setattr(everywhere, "suite", suite)
    words = ["--also", "torch", "--python"]
    assert everywhere.main([*words, "a", "--python", "b", "--", "tests/ops", "-x"]) == 1
    assert asked == [("a", True), ("b", False)] and "b: pytest ended with 1" in capsys.readouterr().out
    assert everywhere.main([*words, "a", "--", "tests/ops", "-x"]) == 0


def test_the_command_that_takes_the_network_away_does() -> None:
    command = everywhere.without_network()
    if not command:
        pytest.skip("this system has no unshare")
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "unreachable" in done.stderr.lower()
