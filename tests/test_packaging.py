"""What a newcomer installs: metadata, extras, the README's two commands, and CI that runs the very same."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()  # as setuptools reads it: without interpolation
    parser.read_string(text_of("setup.cfg"))
    return parser


def requirements(text: str) -> list[str]:
    """The lines of a list in setup.cfg, without comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def ci_command(name: str) -> str:
    """A command of .ci/run, by the name of its variable."""
    found = re.search(rf"^readonly {name}='(.*)'$", text_of(".ci/run"), re.MULTILINE)
    assert found, f".ci/run no longer defines {name}"
    return found[1]


def test_version_is_a_literal_that_can_be_read_without_an_import() -> None:
    values = [
        ast.literal_eval(node.value)
        for node in ast.parse(text_of("minillm/__init__.py")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert len(values) == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", values[0])


def test_metadata_is_complete(setup_cfg: configparser.RawConfigParser) -> None:
    metadata = setup_cfg["metadata"]
    assert metadata["name"] == "minillm"
    assert metadata["version"] == "attr: minillm.__version__"
    assert metadata["license"] == "MIT" and text_of("LICENSE").startswith("MIT License")
    assert metadata["long_description"] == "file: README.md"
    assert setup_cfg["options"]["python_requires"] == ">=3.11"
    assert requirements(setup_cfg["options.entry_points"]["console_scripts"]) == ["minillm = lessons.__main__:main"]


def test_only_the_build_system_and_ruff_stand_in_pyproject() -> None:
    settings = tomllib.loads(text_of("pyproject.toml"))
    assert set(settings) == {"build-system", "tool"} and set(settings["tool"]) == {"ruff"}


def test_a_bare_install_brings_five_packages(setup_cfg: configparser.RawConfigParser) -> None:
    names = [re.split(r"[<>=!~]", line)[0] for line in requirements(setup_cfg["options"]["install_requires"])]
    assert names == ["numpy", "matplotlib", "tqdm", "safetensors", "threadpoolctl"]


def test_the_extras_are_these(setup_cfg: configparser.RawConfigParser) -> None:
    expected = {"bench", "bf16", "compile", "dev", "fast", "gpu12", "gpu13", "oracle", "site", "test"}
    assert set(setup_cfg["options.extras_require"]) == expected


def test_requirements_are_floors(setup_cfg: configparser.RawConfigParser) -> None:
    lists = [setup_cfg["options"]["install_requires"], *setup_cfg["options.extras_require"].values()]
    for line in [line for text in lists for line in requirements(text)]:
        if not line.startswith("minillm["):
            fits = re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", line)
            assert fits, f"{line}: expected NAME>=VERSION; pins and ceilings rot"


def test_ci_installs_no_older_oracle_than_the_extra_asks(setup_cfg: configparser.RawConfigParser) -> None:
    floor = requirements(setup_cfg["options.extras_require"]["oracle"])[0].removeprefix("torch>=")
    exact = re.search(r"torch==([\d.]+)", text_of(".ci/run"))
    assert exact and [int(n) for n in exact[1].split(".")] >= [int(n) for n in floor.split(".")]


@pytest.mark.parametrize("name", ["demo_command", "test_command"])
def test_readme_has_the_command_that_ci_runs(name: str) -> None:
    lines = [line.strip() for line in text_of("README.md").splitlines()]
    assert ci_command(name) in lines, f"README.md must contain this line, as .ci/run has it:\n{ci_command(name)}"


def test_the_commands_need_nothing_but_python(setup_cfg: configparser.RawConfigParser) -> None:
    extras = set(setup_cfg["options.extras_require"])
    for name in ("demo_command", "test_command"):
        first, install, last = ci_command(name).split(" && ")
        assert first == "python3 -m venv .venv"
        assert install.startswith(".venv/bin/pip install -e ") and set(re.findall(r"\[(\w+)\]", install)) <= extras
        assert last.startswith(".venv/bin/")


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither bash nor an executable bit")
def test_ci_script_is_executable_and_parses() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)


def test_pre_commit_runs_what_ci_runs() -> None:
    hooks = re.findall(r"entry: python (-m .*)", text_of(".pre-commit-config.yaml"))
    in_ci = re.findall(r'^"\$tests/bin/python" (-m (?!pytest).*)$', text_of(".ci/run"), re.MULTILINE)
    assert hooks == in_ci == ["-m ruff check", "-m mypy"]


def test_every_file_of_the_packages_is_packed(setup_cfg: configparser.RawConfigParser) -> None:
    listed = subprocess.run(["git", "ls-files", "minillm", "lessons"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("not a git checkout: the list of the project's own files comes from git")
    patterns = [p.strip() for p in setup_cfg["options.package_data"]["*"].split(",")]
    loose = [p for p in listed.stdout.split() if not p.endswith(".py") and not any(map(Path(p).match, patterns))]
    assert not loose, f"not matched by [options.package_data]: {loose}"


def test_help_of_the_module_form_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "lessons", "--help"], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "usage: minillm" in done.stdout
