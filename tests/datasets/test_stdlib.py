"""Docstrings are read from sources, without running them."""

from __future__ import annotations

import inspect
import sys
import textwrap
from pathlib import Path

import pytest

from minillm.datasets import SourceMissing
from minillm.datasets.stdlib import TOPICS, Docstring, docstrings, topics_text


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def test_every_docstring_is_found_in_order_and_nothing_runs(tmp_path: Path) -> None:
    write(
        tmp_path,
        "json/tool.py",
        '''
        """The module."""
        raise SystemExit("a source that is run would end here")
        def outer():
            """  The function.

                indented
            """
            if True:
                class Inner:
                    """The class inside."""
                    async def method(self):
                        "The method."
            else:
                def other(): "In the else."
            try:
                x = """not a docstring"""
            except ValueError:
                def handler(): """In a handler."""
            finally:
                def last(): """At last."""
        ''',
    )
    write(tmp_path, "abc.py", '"""First by name."""')
    write(tmp_path, "broken.py", 'def f(:\n    """Never."""')
    write(tmp_path, "escape.py", r'"""A bad \d escape."""')
    for folder in ("test", "idlelib", "site-packages/x", "pydoc_data", "email/test", "__pycache__"):
        write(tmp_path, f"{folder}/x.py", '"""Skipped."""')
    found = docstrings(tmp_path)
    assert [d.text for d in found] == [
        "First by name.",
        r"A bad \d escape.",
        "The module.",
        "The function.\n\nindented",
        "The class inside.",
        "The method.",
        "In the else.",
        "In a handler.",
        "At last.",
    ]
    assert {d.file for d in found} == {"abc.py", "escape.py", "json/tool.py"}


def test_topics_follow_the_module() -> None:
    assert Docstring("json/tool.py", "").topic == "text"
    assert Docstring("threading.py", "").topic == "concurrency"
    assert Docstring("this.py", "").topic is None


def test_no_module_stands_under_two_topics() -> None:
    modules = [module for names in TOPICS.values() for module in names]
    assert len(modules) == len(set(modules))
    assert len(TOPICS) == 11


@pytest.mark.parametrize("name", ["no such folder", "."])
def test_a_library_without_sources_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceMissing, match=r"no sources with docstrings under .*from_folder"):
        docstrings(tmp_path / name)


def test_missing_topics_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(FileNotFoundError, match=r"has no pydoc_data\.topics; use another Python"):
        topics_text()


def test_the_real_harvest_agrees_with_what_python_says() -> None:
    import bisect
    import textwrap as module

    texts = {(d.file, d.text) for d in docstrings()}
    for file, thing in (("textwrap.py", module), ("textwrap.py", module.TextWrapper.wrap), ("bisect.py", bisect)):
        assert (file, inspect.getdoc(thing)) in texts
    assert docstrings() is docstrings()
    assert len(texts) > 3000
