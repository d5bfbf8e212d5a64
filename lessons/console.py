"""What reaches a terminal: nothing in a text, a label or a file's name may steer it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# All of Unicode's control characters but tab and line feed. ESC and CSI (U+009B) begin orders to a terminal: move the
# cursor, change its title, answer as if the user had typed.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    r"""Return a text with each control character but tab and line feed written as its number, such as ``\x1b``."""
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Screen:
    """A stream that a person looks at: control characters are shown, not obeyed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text as ``visible`` shows it; return its length."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def say(text: str) -> None:
    """Write a line to the standard error stream; a message may quote what stands in a file."""
    with contextlib.suppress(OSError):  # nobody is there any more: the terminal was closed
        print(visible(text), file=sys.stderr, flush=True)


def typed(path: str | Path) -> str:
    """Return a path as one types it in a command: quoted where it has to be, and never like an option."""
    text = f".{os.sep}{path}" if str(path).startswith("-") else str(path)
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline([text])
    return shlex.quote(text)


@contextlib.contextmanager
def harmless_output() -> Iterator[None]:
    """Inside, texts cannot steer a terminal, and a character that a console cannot show is no error.

    What goes to a file or to another program stays as it is. Warnings are one line.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a character shows its number
    screen = sys.stdout is not None and sys.stdout.isatty()
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: visible(f"minillm: warning: {' '.join(str(message).split())}\n")
    try:
        with contextlib.redirect_stdout(Screen(sys.stdout) if screen else sys.stdout):
            yield
    finally:
        warnings.formatwarning = usual
