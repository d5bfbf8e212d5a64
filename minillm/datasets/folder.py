"""The user's own text files, to pretrain on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from .cards import DataError
from .corpora import TextCorpus, text_corpus
from .splitting import SEPARATOR, paragraphs, split_text

MINIMUM = 100  # characters: less than this cannot be split into training and validation text with any sense


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark, lines ending in ``\\n``.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if it is a folder, cannot be read, or is not UTF-8 (with the offset of the first bad byte).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; a file is needed here")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: byte 0: the file is UTF-16, UTF-8 is needed; save it again as UTF-8")
    if data.count(0) * 3 > len(data):  # in UTF-16 every other byte of most texts is 0, which is valid UTF-8
        raise DataError(f"{path}: more than a third of it is zero bytes: UTF-16 perhaps, or no text; save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte {error.start} (0x{data[error.start]:02x}) is not valid UTF-8; save the file as UTF-8"
        ) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def from_folder(
    path: str | Path, pattern: str = "*.txt", *, split: str | None = None, validation: float = 0.1, seed: int = 0
) -> TextCorpus:
    """Load the user's own text: one file, or all files of a folder and the folders in it.

    Args:
        path: a text file in UTF-8, or a folder.
        pattern: which files of a folder to read, for example ``"*.md"``; they are read in alphabetical order.
        split: the rule of `split_text`; ``"blocks"`` when None, or ``"tail"`` where there are fewer than 10 paragraphs.
        validation: share of the text to validate on.
        seed: of the split.

    Raises:
        FileNotFoundError: if there is nothing at the path, or no file of the folder fits the pattern.
        DataError: if a file cannot be read or is not UTF-8, or if there is too little text.
        ValueError: if the split or the share is not valid.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        for _ in os.walk(path, onerror=_refuse_folder):  # rglob passes over a folder that it may not look into
            pass
        files = sorted((p for p in path.rglob(pattern) if p.is_file()), key=lambda p: p.relative_to(path).as_posix())
        if not files:
            raise FileNotFoundError(f"{path}: no file in this folder fits the pattern {pattern!r}")
    texts = [read_text(file) for file in files]
    empty = [str(file) for file, text in zip(files, texts, strict=True) if not text.strip()]
    whole = SEPARATOR.join(text.strip("\n") for text in texts if text.strip())
    if not whole:
        raise DataError(f"{path}: there is no text in it")
    if len(whole) < MINIMUM:
        raise DataError(f"{path}: {len(whole)} characters are too few; at least {MINIMUM} are needed, more are better")
    notes = [f"{len(files):,} file(s)"]
    if empty:
        notes.append(f"{len(empty)} file(s) without text left out, the first is {empty[0]}")
    rule = split
    if rule is None:
        rule = "blocks" if len(paragraphs(whole)) >= 10 else "tail"
        if rule == "tail":
            notes.append("fewer than 10 paragraphs: validation is the last part of the text")
    try:
        parts = split_text(whole, rule, validation=validation, seed=seed)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return text_corpus(
        str(path),
        parts,
        origin=f"the user's own text: {path.resolve()}",
        licence="the user's own",
        rule=rule,
        seed=seed,
        notes=tuple(notes),
    )
