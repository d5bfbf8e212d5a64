"""Making texts more alike before they are cut into tokens; every step is optional, since each loses something.

Lower case loses names and beginnings of sentences, stripped punctuation loses questions and code. What is lost cannot
be generated: a language model that was trained on normalised text writes normalised text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Normalizer:
    """The steps, in this order; ``normalizer(text)`` takes them.

    Attributes:
        lowercase: no capital letters.
        nfc: Unicode's composed form, so that an accented letter is one character however it was typed. After lower
            case, since some letters have a composed form only there.
        strip_punctuation: characters of Unicode's punctuation and symbol categories become spaces.
        fold_whitespace: runs of white space become one space, or one line break if there was one.

    >>> Normalizer(lowercase=True, strip_punctuation=True, fold_whitespace=True)("Hello,  World!")
    'hello world '
    """

    lowercase: bool = False
    nfc: bool = False
    strip_punctuation: bool = False
    fold_whitespace: bool = False

    def __call__(self, text: str) -> str:
        if self.lowercase:
            text = text.lower()
        if self.nfc:
            text = unicodedata.normalize("NFC", text)
        if self.strip_punctuation:
            marks = {c for c in set(text) if unicodedata.category(c)[0] in "PS"}
            text = text.translate({ord(c): " " for c in marks})
        if self.fold_whitespace:
            text = re.sub(r"\s+", lambda m: "\n" if "\n" in m.group() else " ", text)
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return asdict(self)


def split_words(text: str) -> list[str]:
    """Return the words of a text, and every other mark on its own; white space separates and is left out.

    >>> split_words("It's 5 o'clock.")
    ['It', "'", 's', '5', 'o', "'", 'clock', '.']
    """
    return _WORD.findall(text)
