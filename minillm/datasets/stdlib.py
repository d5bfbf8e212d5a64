"""English that every Python brings along: the topics of ``help()`` and the docstrings of the standard library.

Nothing is copied into minillm: the text is read from the Python that runs. So it differs a little from version to
version, and the card of a corpus says which version it was.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from .cards import SourceMissing

# Since 3.14, -OO takes the docstrings out of parsed code as well, unless this is said; 3.12 and older do not know it.
_PARSING: dict[str, Any] = {"optimize": 0} if sys.version_info >= (3, 13) else {}

# Folders of the standard library that hold tests, applications, tables or other people's packages.
_SKIPPED = frozenset(
    "__phello__ __pycache__ _pyrepl dist-packages encodings ensurepip idle_test idlelib lib2to3 pydoc_data "
    "site-packages test tests turtledemo".split()
)

# Label -> modules and packages of the standard library (any that a Python lacks are passed over).
TOPICS: dict[str, tuple[str, ...]] = {
    label: tuple(modules.split())
    for label, modules in {
        "concurrency": "asyncio asyncore asynchat concurrent multiprocessing queue sched selectors signal subprocess "
        "threading _threading_local",
        "dates": "calendar datetime _pydatetime _strptime zoneinfo",
        "email": "base64 email mailbox mailcap mimetypes quopri uu",
        "files": "bz2 _compression compression filecmp fileinput fnmatch genericpath glob gzip lzma ntpath os pathlib "
        "posixpath _pyio shutil stat tarfile tempfile zipfile",
        "imports": "compileall distutils importlib modulefinder pkgutil py_compile runpy site sysconfig venv zipapp "
        "zipimport",
        "interface": "curses tkinter turtle",
        "language": "_py_abc abc ast code codeop collections contextlib copy copyreg dataclasses dis enum functools "
        "inspect opcode _opcode_metadata pyclbr pydoc reprlib symtable token tokenize types typing weakref _weakrefset",
        "network": "ftplib http imaplib ipaddress nntplib poplib smtpd smtplib socket socketserver ssl telnetlib "
        "urllib webbrowser wsgiref xmlrpc",
        "numbers": "bisect decimal _pydecimal fractions heapq numbers random statistics _pylong",
        "testing": "bdb cProfile doctest pdb profile pstats timeit trace traceback tracemalloc unittest",
        "text": "argparse codecs configparser csv difflib gettext html json locale optparse plistlib pprint re "
        "sre_compile sre_parse string textwrap tomllib xml",
    }.items()
}


class Docstring(NamedTuple):
    """One docstring and the file that it stands in, relative to the standard library."""

    file: str
    text: str

    @property
    def topic(self) -> str | None:
        """The label of the family that the file's module belongs to, or None."""
        module = self.file.split("/")[0].removesuffix(".py")
        return next((label for label, modules in TOPICS.items() if module in modules), None)


def topics_text() -> str:
    """Return the topics of ``help()`` (``pydoc_data.topics``) in alphabetical order, as one text.

    Raises:
        SourceMissing: if this Python came without them (some distributions leave them out).
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise SourceMissing(
            f"stdlib-en: this Python ({sys.executable}) has no pydoc_data.topics; use another Python (the one from "
            "python.org has it), or your own text with from_folder"
        ) from error
    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics))


def stdlib_folder() -> Path:
    """Return the folder of the standard library's sources."""
    return Path(sysconfig.get_path("stdlib"))


def docstrings(folder: Path | None = None) -> tuple[Docstring, ...]:
    """Return every docstring in the sources of the standard library, by file and line; a few seconds the first time.

    The files are parsed, never imported or run. The result is kept in memory for the next call.

    Args:
        folder: where the sources are; the running Python's standard library when None.

    Raises:
        SourceMissing: if the folder holds no sources with docstrings (a zipped or stripped standard library).
    """
    return _harvest(folder or stdlib_folder())


@lru_cache(maxsize=2)
def _harvest(folder: Path) -> tuple[Docstring, ...]:
    """The work of `docstrings`."""
    found: list[Docstring] = []
    for name, path in sorted((p.relative_to(folder).as_posix(), p) for p in _sources(folder)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a parser's complaints about other people's escape sequences
                tree = ast.parse(path.read_bytes(), **_PARSING)
        except (OSError, SyntaxError, ValueError):  # unreadable, or a template that is no Python
            continue
        found.extend(Docstring(name, text) for text in _texts(tree))
    if not found:
        raise SourceMissing(
            f"docstrings: there are no sources with docstrings under {folder} (a zipped or stripped one?); "
            "use another Python, or your own text with from_folder"
        )
    return tuple(found)


def _sources(folder: Path) -> list[Path]:
    """The Python files below the folder, without those of the skipped folders."""
    if not folder.is_dir():
        return []
    files: list[Path] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name not in _SKIPPED and not entry.name.startswith(("config-", "lib-")):
                files.extend(_sources(entry))
        elif entry.suffix == ".py" and not entry.name.startswith("_sysconfigdata"):
            files.append(entry)
    return files


def _texts(node: ast.AST) -> list[str]:
    """The docstrings of a module, and of the classes and functions in it, in the order of the source."""
    texts: list[str] = []
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        text = ast.get_docstring(node)
        if text:
            texts.append(text)
    for block in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, block, ()):
            if isinstance(child, (ast.stmt, ast.ExceptHandler)):
                texts.extend(_texts(child))
    return texts
