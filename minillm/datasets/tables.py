"""The user's own labelled texts: CSV, TSV or JSONL with named columns.

A row that cannot be used is refused with its file and line. Nothing is skipped or mended in silence: a table with one
broken row is more often a table that was written wrongly than a table with one bad row.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from minillm.text.base import shown

from .cards import DataError
from .corpora import Example, LabelledCorpus, labelled_corpus
from .folder import read_text
from .splitting import split_examples

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_LONG = 100  # characters; longer names are not compared with others


class Row(NamedTuple):
    """One labelled text, the group it belongs to (empty without a group column), and the line it begins on."""

    text: str
    label: str
    group: str
    line: int


def read_table(
    path: str | Path, text: str = "text", label: str | None = "label", *, group: str | None = None
) -> list[Row]:
    """Read a table; the ending of the file's name says what it is: .csv, .tsv or .jsonl.

    CSV and TSV have a header row and fields quoted as RFC 4180 says; JSONL has one object per line. White space around
    a label does not count, and line ends inside a quoted field become ``\\n``.

    Args:
        path: the file, in UTF-8 (a byte order mark and Windows line ends do no harm).
        text: the column of the text.
        label: the column of the label; None where there is none, then labels are empty strings.
        group: a column whose equal values belong together, for example the author or the document.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if anything in it is wrong; the message says ``file:line``, what is wrong and what was expected.
    """
    path = Path(path)
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path}: a table must end in {', '.join(sorted(_FORMATS))}; this one ends in {path.suffix!r}")
    content = read_text(path)
    if not content.strip():
        raise DataError(f"{path}: the file is empty; a table with columns {text!r} and {label!r} is needed")
    columns = [name for name in (text, label, group) if name is not None]
    records = _jsonl(path, content, columns) if kind == "jsonl" else _csv(path, content, columns, kind)
    rows = []
    for line, fields in records:
        if not fields[0].strip():
            _refuse(path, line, f"the text (column {text!r}) is empty")
        if label is not None and not fields[1].strip():
            _refuse(path, line, f"the label (column {label!r}) is empty")
        rows.append(Row(fields[0], fields[1].strip() if label else "", fields[-1] if group else "", line))
    if not rows:
        raise DataError(f"{path}: there are no rows below the header")
    return rows


def read_examples(
    path: str | Path, text: str = "text", label: str = "label", *, labels: Sequence[str]
) -> list[Example]:
    """Read all rows of a table as examples ``(text, label id)``, to judge a model on that knows these labels.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if the table is wrong, or a label is not among ``labels``.
    """
    return _examples(path, read_table(path, text, label), labels)


def _examples(path: str | Path, rows: Sequence[Row], labels: Sequence[str]) -> list[Example]:
    number = {name: i for i, name in enumerate(labels)}
    for row in rows:
        if row.label not in number:
            nearest = _nearest(row.label, labels)
            _refuse(path, row.line, f"unknown label {shown(row.label)}{nearest}; known labels: {_listed(labels)}")
    return [(row.text, number[row.label]) for row in rows]


def from_table(
    path: str | Path,
    text: str = "text",
    label: str = "label",
    *,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    labels: Sequence[str] | None = None,
    group: str | None = None,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> LabelledCorpus:
    """Load the user's own labelled texts.

    With one file, its rows are split so that each label has its share everywhere (and groups stay whole). With files of
    their own for validation or test, these are taken as they are, and the first file gives the parts that are missing.

    Args:
        path: the table to train on: .csv, .tsv or .jsonl, see `read_table`.
        text: the column of the text.
        label: the column of the label.
        validation: a table to validate on.
        test: a table to test on.
        labels: all labels there may be, in the order of their ids (those of a checkpoint, say); when None, those of
            the first file, sorted.
        group: a column whose equal values stay in one part.
        fractions: the shares of training, validation and test.
        seed: of the split.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: if a table is wrong, a label is not known, or there are too few rows to split.
    """
    rows = read_table(path, text, label, group=group)
    known = tuple(sorted({row.label for row in rows})) if labels is None else tuple(labels)
    if len(known) < 2:
        raise DataError(f"{path}: at least two different labels are needed, found {_listed(known) or 'none'}")
    if len(set(known)) < len(known):
        raise ValueError(f"from_table: expected different labels, got {_listed(known)}")
    own = _examples(path, rows, known)
    given = {1: validation, 2: test}
    share = [0.0 if given.get(i) is not None else float(f) for i, f in enumerate(fractions)]
    if len(share) != 3 or share[0] <= 0:
        raise ValueError(f"from_table: fractions must be three shares, the first above 0; got {list(fractions)}")
    groups = [row.group for row in rows] if group is not None else None
    try:
        picked = split_examples([y for _, y in own], [f / sum(share) for f in share], groups=groups, seed=seed)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    parts = [[own[i] for i in part] for part in picked]
    for i, file in given.items():
        if file is not None:
            parts[i] = read_examples(file, text, label, labels=known)
    files = [str(Path(file).resolve()) for file in (path, validation, test) if file is not None]
    return labelled_corpus(
        str(path),
        parts,
        known,
        origin=f"the user's own table: {', '.join(files)}",
        licence="the user's own",
        rule=f"grouped by {group}" if group else "stratified",
        seed=seed,
    )


def _refuse(path: str | Path, line: int, what: str) -> NoReturn:
    raise DataError(f"{path}:{line}: {what}")


def _listed(names: Sequence[str]) -> str:
    """The first twenty names, readable."""
    return ", ".join(shown(name, 40) for name in names[:20]) + (
        f" and {len(names) - 20} more" if len(names) > 20 else ""
    )


def _nearest(name: str, names: Sequence[str]) -> str:
    """A question that offers the name that was probably meant, or nothing."""
    if len(name) > _LONG:
        return ""
    # Trap: the comparison takes length times length; a file may hold a name of a megabyte, and a million names.
    lower = {other.strip().lower(): other for other in names[:1000] if len(other) <= _LONG}
    close = difflib.get_close_matches(name.strip().lower(), lower, n=1)
    return f" (did you mean {lower[close[0]]!r}?)" if close else ""


def _missing(path: Path, line: int, name: str, names: Sequence[str], hint: str = "") -> NoReturn:
    """Refuse a table or record that lacks a column."""
    _refuse(path, line, f"there is no column {name!r}{_nearest(name, names)}; the columns are {_listed(names)}{hint}")


def _csv(path: Path, content: str, columns: Sequence[str], kind: str) -> Iterator[tuple[int, list[str]]]:
    """The wanted fields of each record of a CSV or TSV file, with the line that the record begins on."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter="\t" if kind == "tsv" else ",", strict=True)
    header: list[str] = []
    places: list[int] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = str(error)
            if "unexpected end of data" in what:
                what = "a quote that opens in this record is never closed"
            _refuse(path, line, f"{what}; a field that holds quotes or separators must be quoted, inner quotes doubled")
        if not fields:  # an empty line
            continue
        if not header:
            header = [name.strip() for name in fields]
            name, times = Counter(header).most_common(1)[0]
            if times > 1:
                _refuse(path, line, f"the column {shown(name)} occurs {times} times in the header")
            for name in columns:
                if name not in header:
                    _missing(path, line, name, header, "; the first row must be the header")
            places = [header.index(name) for name in columns]
        elif len(fields) != len(header):
            _refuse(path, line, f"the row has {len(fields)} field(s), the header has {len(header)}: {_listed(header)}")
        else:
            yield line, [fields[place] for place in places]


def _jsonl(path: Path, content: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The wanted fields of each line of a JSONL file."""
    lines = content.split("\n")
    for line, source in enumerate(lines, start=1):
        if not source.strip():
            continue
        if source.lstrip().startswith("["):
            _refuse(path, line, f'this is a JSON array; JSONL has one object per line, like {{"{columns[0]}": "..."}}')
        try:
            record = json.loads(source, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        except RecursionError:
            _refuse(path, line, "the JSON is nested too deeply")
        except json.JSONDecodeError as error:
            last = line == len(lines)
            cut = "; the last line has no line end: was the file cut off?" if last else ""
            _refuse(path, line, f"not valid JSON: {error.msg} at column {error.colno}{cut}")
        except ValueError as error:  # NaN, a doubled name, or an integer over Python's limit of digits
            _refuse(path, line, f"not acceptable JSON: {str(error).split(';')[0]}")
        if not isinstance(record, dict):
            _refuse(path, line, f"expected an object, got {_type(record)}")
        fields = []
        for i, name in enumerate(columns):
            if name not in record:
                _missing(path, line, name, list(record))
            fields.append(_field(path, line, name, record[name], numbers=i > 0))
        yield line, fields


def _field(path: Path, line: int, name: str, value: Any, *, numbers: bool) -> str:
    """The string that a JSON value stands for; labels and groups may be integers."""
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        wanted = "a string or an integer" if numbers else "a string"
        _refuse(path, line, f"column {name!r} must be {wanted}, got {_type(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        _refuse(path, line, f"column {name!r}: half a surrogate pair at character {error.start} is no text")
    return value


def _type(value: object) -> str:
    """The name that JSON gives to the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, name in ((str, "a string"), (list, "an array"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return f"the number {shown(value)}"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a name that occurs twice."""
    record = dict(pairs)
    if len(record) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {shown(name)} occurs twice in one object")
    return record
