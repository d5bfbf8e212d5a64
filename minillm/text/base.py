"""What all tokenizers share: text to ids and back, special tokens, one JSON file."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

VERSION = 1
_LARGEST = 2**26  # bytes; a vocabulary of a hundred thousand tokens takes about three million
_KINDS: dict[str, type[Tokenizer]] = {}


class Tokenizer(ABC):
    """Text to ids and back.

    Special tokens, such as ``<|endoftext|>``, have ids of their own after all others. In a text they are plain text
    unless they are allowed: nobody can end a document by writing its name into it.

    Attributes:
        special_tokens: ids of the special tokens by name.
    """

    type: ClassVar[str]
    special_tokens: dict[str, int]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "type" in cls.__dict__:
            _KINDS[cls.type] = cls

    # --- what a kind of tokenizer defines ----------------------------------------------------------------------------
    @property
    @abstractmethod
    def base_size(self) -> int:
        """How many tokens there are beside the special ones; the special ones follow."""

    @abstractmethod
    def _encode_plain(self, text: str) -> list[int]:
        """Return the ids of a text without special tokens."""

    @abstractmethod
    def _token_bytes(self, id: int) -> bytes:
        """Return what an id (not of a special token) stands for, in UTF-8 or a part of it."""

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """Return what is saved."""

    @classmethod
    @abstractmethod
    def _from_content(cls, content: dict[str, Any]) -> Tokenizer:
        """Make a tokenizer from what was saved.

        Raises:
            ValueError: naming the entry that is wrong.
        """

    # --- text and ids
    # --------------------------------------------------------------------------------------------------
    @property
    def vocab_size(self) -> int:
        """How many different ids there are."""
        return self.base_size + len(self.special_tokens)

    def encode(self, text: str, allowed_special: str | Iterable[str] = ()) -> list[int]:
        """Return the ids of a text.

        Args:
            text: any text.
            allowed_special: special tokens that count as such where they stand in the text, or "all".

        Raises:
            ValueError: for half of a surrogate pair, naming its position; for an unknown special token.
        """
        check_surrogates(text)
        allowed = self.special_tokens if allowed_special == "all" else list(allowed_special)
        for name in allowed:
            if name not in self.special_tokens:
                raise ValueError(f"encode: {name!r} is not a special token; known are {list(self.special_tokens)}")
        if not allowed:
            return self._encode_plain(text)
        # The longest first, where one is the beginning of another.
        pattern = "|".join(re.escape(name) for name in sorted(allowed, key=len, reverse=True))
        ids: list[int] = []
        for part in re.split(f"({pattern})", text):
            ids += [self.special_tokens[part]] if part in allowed else self._encode_plain(part)
        return ids

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids of a text as an array of the smallest unsigned type that holds them: for whole corpora."""
        return np.asarray(self.encode(text), dtype=np.min_scalar_type(max(1, self.vocab_size - 1)))

    def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
        """Return the bytes that ids stand for.

        Raises:
            TypeError: for what is not a whole number.
            IndexError: for an id that does not exist, naming it and the number of ids.
        """
        special = {id: name.encode("utf-8") for name, id in self.special_tokens.items()}
        parts = []
        for raw in ids:
            id = token_id(raw, "decode")
            if not 0 <= id < self.vocab_size:
                raise IndexError(f"decode: id {id} is not in 0 .. {self.vocab_size - 1}")
            parts.append(special[id] if id in special else self._token_bytes(id))
        return b"".join(parts)

    def decode(self, ids: Sequence[int] | np.ndarray, errors: str = "replace") -> str:
        """Return the text that ids stand for; half a character at a cut becomes U+FFFD (``errors="strict"`` raises)."""
        return self.decode_bytes(ids).decode("utf-8", errors)

    # --- files
    # ---------------------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return all of the tokenizer as a dictionary that JSON can hold."""
        return {"version": VERSION, "type": self.type, "special_tokens": self.special_tokens, **self._content()}

    def fingerprint(self) -> str:
        """Return a sha256 that two tokenizers share if they are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to a JSON file, whole or not at all."""
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=0), encoding="utf-8")
        os.replace(temporary, path)

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """Read a tokenizer of any kind.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming what is wrong in the file.
        """
        path = Path(path)
        try:
            if path.is_file() and path.stat().st_size > _LARGEST:
                raise ValueError(f"{path.stat().st_size:,} bytes, at most {_LARGEST:,} are read")
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number too long, too deep
            raise ValueError(f"{path}: not a tokenizer file: {error}") from None
        try:
            return Tokenizer.from_dict(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @staticmethod
    def from_dict(content: Any) -> Tokenizer:
        """Make a tokenizer from what ``to_dict`` returned.

        Raises:
            ValueError: naming the entry that is wrong.
        """
        if not isinstance(content, dict):
            raise ValueError(f"expected an object with 'version' and 'type', got {type(content).__name__}")
        if type(content.get("version")) is not int or content["version"] != VERSION:  # 1.0 and true equal 1
            raise ValueError(f"version: expected {VERSION}, got {shown(content.get('version'))}")
        kind = content.get("type")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"type: expected one of {sorted(_KINDS)}, got {shown(kind)}")
        made = _KINDS[kind]._from_content(content)
        special = content.get("special_tokens")
        if not isinstance(special, dict) or not all(
            isinstance(name, str) and type(i) is int for name, i in special.items()
        ):
            raise ValueError("special_tokens: expected names with ids")
        numbered(special, made.base_size)  # checks the names
        expected = list(range(made.base_size, made.base_size + len(special)))
        if sorted(special.values()) != expected:
            raise ValueError(
                f"special_tokens: expected the ids {shown(expected)}, got {shown(sorted(special.values()))}"
            )
        made.special_tokens = dict(special)
        return made


def check_surrogates(text: str, where: str = "text") -> None:
    """Refuse what is no text, and half of a surrogate pair, which no UTF-8 can hold.

    Args:
        text: any text.
        where: what the text is, for the message.

    Raises:
        TypeError: if it is not a text at all.
        ValueError: naming the position of half a pair.
    """
    if not isinstance(text, str):
        hint = "; decode them first: data.decode('utf-8')" if isinstance(text, (bytes, bytearray)) else ""
        raise TypeError(f"{where}: expected a text (str), got {type(text).__name__}{hint}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: position {error.start}: {text[error.start]!r} is half of a surrogate pair and no character; "
            "read the text with errors='replace', or remove it"
        ) from None


def token_id(value: Any, where: str) -> int:
    """Return a token id as Python's number.

    Raises:
        TypeError: if it is not a whole number; 1.5 is not cut to 1, nor a digit read as a number.
    """
    try:
        return operator.index(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{where}: expected token ids, whole numbers, got {shown(value)}") from None


def shown(value: Any, length: int = 80) -> str:
    """Return a value as Python writes it, cut off if it is long: a message is one line, whatever a file holds."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a deep {type(value).__name__}"
    return text if len(text) <= length else text[: length - 3] + "..."


def numbered(special_tokens: Iterable[str], first: int) -> dict[str, int]:
    """Return ids for special tokens, from ``first`` on.

    Raises:
        ValueError: if one is empty, occurs twice, or holds half of a surrogate pair.
    """
    names = list(special_tokens)
    if len(set(names)) != len(names) or not all(names):
        raise ValueError(f"special_tokens: expected different, non-empty names, got {shown(names)}")
    check_surrogates("".join(names), "special_tokens")
    return {name: first + i for i, name in enumerate(names)}


def check_tokens(content: dict[str, Any], key: str = "tokens") -> list[str]:
    """Return the list of tokens in a file.

    Raises:
        ValueError: if it is not a list of different texts, naming the entry.
    """
    tokens = content.get(key)
    if not isinstance(tokens, list) or not tokens:
        raise ValueError(f"{key}: expected a list of texts")
    seen: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if not isinstance(token, str) or not token:
            raise ValueError(f"{key}[{i}]: expected a text, got {shown(token)}")
        if token in seen:
            raise ValueError(f"{key}[{i}]: {shown(token)} is there already, at {seen[token]}")
        check_surrogates(token, f"{key}[{i}]")
        seen[token] = i
    return tokens
