"""The user's own text: read whole, or refused with the place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minillm.datasets import DataError, from_folder
from minillm.datasets.folder import read_text

PARAGRAPHS = [
    f"Paragraph {i} says {'abcdefghij'[i % 10] * (i % 7 + 3)} and \u00e4 \u4e2d \U0001f600." for i in range(60)
]
TEXT = "\n\n".join(PARAGRAPHS)


def test_a_file_is_split_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(TEXT, encoding="utf-8")
    corpus = from_folder(file)
    assert sorted(corpus.train.split("\n\n") + corpus.validation.split("\n\n")) == sorted(PARAGRAPHS)
    assert corpus.card.name == str(file) and str(file.resolve()) in corpus.card.origin
    assert from_folder(file) == corpus != from_folder(file, seed=1)


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, part in (("b/2.txt", PARAGRAPHS[20:40]), ("c.txt", PARAGRAPHS[40:]), ("a.txt", PARAGRAPHS[:20])):
        (tmp_path / name).write_text("\n" + "\n\n".join(part) + "\n\n\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "other.md").write_bytes(b"\xff")
    corpus = from_folder(tmp_path, split="tail", validation=0.5)
    assert corpus.train + corpus.validation == TEXT
    assert "4 file(s)" in corpus.card.notes
    assert any("1 file(s) without text left out" in note and "empty.txt" in note for note in corpus.card.notes)
    with pytest.raises(DataError, match=r"other\.md:1: byte 0 \(0xff\)"):
        from_folder(tmp_path, "*.md")


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_line_ends_do_no_harm(tmp_path: Path, start: bytes, end: bytes) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(start + TEXT.encode("utf-8").replace(b"\n", end))
    assert read_text(file) == TEXT


def test_a_text_of_one_line_is_split_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "line.txt"
    file.write_text("word " * 100, encoding="utf-8")
    corpus = from_folder(file)
    assert corpus.card.split == "tail" and len(corpus.validation) == 50
    assert any("fewer than 10 paragraphs" in note for note in corpus.card.notes)


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (b"", "there is no text in it"),
        (b" \n\t\n", "there is no text in it"),
        (b"too short", "9 characters are too few; at least 100 are needed"),
        (b"good\nbad \xff here" + b"x" * 200, r"mine\.txt:2: byte 9 \(0xff\) is not valid UTF-8"),
        (b"x" * 200 + b"\xe4\xb8", r"mine\.txt:1: byte 200 \(0xe4\) is not valid UTF-8"),
        (b"overlong \xc0\xaf", r"byte 9 \(0xc0\)"),
        (b"surrogate \xed\xa0\x80", r"byte 10 \(0xed\)"),
        ("text".encode("utf-16"), "the file is UTF-16, UTF-8 is needed"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path: Path, data: bytes, fragment: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(data)
    with pytest.raises(DataError, match=fragment) as caught:
        from_folder(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.txt: there is no such file or folder"):
        from_folder(tmp_path / "nothing.txt")
    with pytest.raises(FileNotFoundError, match=r"no file in this folder fits the pattern '\*\.txt'"):
        from_folder(tmp_path)
    with pytest.raises(DataError, match="is a folder; a file is needed"):
        read_text(tmp_path)


def test_a_bad_split_is_said_with_the_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(TEXT, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.txt: unknown split 'files'"):
        from_folder(file, split="files")
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        from_folder(file, validation=2)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_two_bytes_a_character_are_no_text_even_without_a_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "wide.txt").write_bytes(("plain English words " * 20).encode(encoding))
    with pytest.raises(DataError, match=r"wide\.txt: more than a third of it is zero bytes: UTF-16 perhaps"):
        from_folder(tmp_path / "wide.txt")


def test_a_folder_that_may_not_be_looked_into_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open.txt").write_text("plain English words " * 20, encoding="utf-8")
    real = os.scandir

    def scandir(path: str | Path) -> object:  # chmod would not do: the superuser may read everything
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"closed: cannot be read \(Permission denied\); check its permissions"):
        from_folder(tmp_path)
