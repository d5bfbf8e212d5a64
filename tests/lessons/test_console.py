"""What reaches a terminal is shown, not obeyed."""

from __future__ import annotations

import io
import sys
import unicodedata
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lessons.__main__ import main
from lessons.console import Screen, harmless_output, say, visible

TEXTS = st.text() | st.text("\x1b\x9b\x07\r\n\t\x7f\x00[2Ja")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def steers(text: str) -> bool:
    return any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text)


@given(TEXTS)
def test_no_control_character_stays_and_no_other_goes(text: str) -> None:
    shown = visible(text)
    assert not steers(shown) and (steers(text) or shown == text)
    assert shown == "".join(f"\\x{ord(c):02x}" if steers(c) else c for c in text)


@given(st.lists(TEXTS, max_size=4))
def test_a_terminal_shows_what_a_file_receives(parts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        streams = io.StringIO(), Terminal()
        for stream in streams:
            patch.setattr(sys, "stdout", stream)
            with harmless_output():
                for part in parts:  # as generated text comes, piece by piece
                    print(part, end="", flush=True)
            assert sys.stdout is stream
    assert streams[0].getvalue() == "".join(parts) and streams[1].getvalue() == visible("".join(parts))
    assert Screen(streams[1]).isatty()


def test_messages_and_warnings_are_shown(capsys: pytest.CaptureFixture) -> None:
    with warnings.catch_warnings(), harmless_output():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *args, **_: print(warnings.formatwarning(*args), end="", file=sys.stderr)
        warnings.warn("the file says \x1b[2J\nand more", stacklevel=1)
    say("\x9b2J is\nno order")
    assert capsys.readouterr().err == "minillm: warning: the file says \\x1b[2J and more\n\\x9b2J is\nno order\n"
    assert "UserWarning" in warnings.formatwarning("x", UserWarning, "file", 1, "line")


def test_without_an_output_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["lessons"]) == 0
