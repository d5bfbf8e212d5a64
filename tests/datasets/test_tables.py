"""Good tables come back as they were written; each kind of bad one is refused with file, line and reason."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minillm.datasets import DataError, from_table, read_examples, read_table

# Carriage returns are left out: line ends inside a field become "\n". Surrogates are no text.
text = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=20)
texts = text.filter(lambda s: s.strip() != "")
labels = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), min_size=1, max_size=6)
labels = labels.map(str.strip).filter(bool)
tables = st.lists(st.tuples(texts, labels, text), min_size=1, max_size=6)
reused_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@reused_folder
@given(tables, st.sampled_from([",", "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_csv_comes_back(tmp_path: Path, rows, delimiter: str, end: str, mark: bool, quote_all: bool) -> None:
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["other", "label", "text"])
    writer.writerows([[other, label, body] for body, label, other in rows])
    file = tmp_path / ("t.tsv" if delimiter == "\t" else "t.csv")
    file.write_bytes((b"\xef\xbb\xbf" if mark else b"") + out.getvalue().encode("utf-8"))
    found = read_table(file, group="other")
    assert [(row.text, row.label, row.group) for row in found] == [tuple(row) for row in rows]


@reused_folder
@given(tables, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_jsonl_comes_back(tmp_path: Path, rows, ascii_only: bool, end: str) -> None:
    lines = [json.dumps({"x": [1], "label": lab, "text": t}, ensure_ascii=ascii_only) for t, lab, _ in rows]
    file = tmp_path / "t.jsonl"
    file.write_bytes(end.join([*lines, ""]).encode("utf-8"))
    assert [(row.text, row.label) for row in read_table(file)] == [(t, lab) for t, lab, _ in rows]


def test_lines_are_counted_through_quoted_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b'text,label\r\n"one\r\ntwo",a\r\n\r\nthree,b\r\n')
    assert [(row.text, row.label, row.line) for row in read_table(file)] == [("one\ntwo", "a", 2), ("three", "b", 5)]


def test_integers_are_labels_and_labels_can_be_absent(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a", "label": 3}\n{"text": "b", "label": "3"}', encoding="utf-8")
    assert [row.label for row in read_table(file)] == ["3", "3"]
    assert [row.label for row in read_table(file, label=None)] == ["", ""]


DEEP = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"
HEAD = b"text,label\n"
BAD = {
    "empty file": ("t.csv", b"", r"t\.csv: the file is empty"),
    "only white space": ("t.jsonl", b"\n \n", "the file is empty"),
    "header only": ("t.csv", HEAD, "there are no rows below the header"),
    "wrong ending": ("t.xlsx", b"text", r"must end in \.csv, .*\.tsv; this one ends in '\.xlsx'"),
    "not UTF-8": ("t.csv", HEAD + b"\xe9t\xe9,a\n", r"t\.csv:2: byte 11 \(0xe9\)"),
    "ragged: short": ("t.csv", HEAD + b"one,a\ntwo\n", r"t\.csv:3: the row has 1 field\(s\), the header has 2"),
    "ragged: long": ("t.csv", HEAD + b"one, two,a\n", r"t\.csv:2: the row has 3 field\(s\), the header has 2"),
    "ragged: tab": ("t.tsv", b"text\tlabel\nhello world a\n", r"t\.tsv:2: the row has 1 field"),
    "open quote": (
        "t.csv",
        HEAD + b'one,a\n"two,b\nthree,c\n',
        r"t\.csv:3: a quote that opens in this record is never",
    ),
    "text after quote": ("t.csv", HEAD + b'"one" two,a\n', r"t\.csv:2: ',' expected after '\"'"),
    "open quote, long": ("t.csv", HEAD + b'"' + b"x" * 200_000, r"t\.csv:2: field larger than field limit"),
    "missing header": (
        "t.csv",
        b"good,pos\nbad,neg\n",
        r"t\.csv:1: there is no column 'text'.*'good', 'pos'.*must be the",
    ),
    "doubled header": ("t.csv", b"text,label,text\na,b,c\n", r"t\.csv:1: the column 'text' occurs 2 times"),
    "near column": (
        "t.csv",
        b"Text,label\na,b\n",
        r"no column 'text' \(did you mean 'Text'\?\); the columns are 'Text'",
    ),
    "wrong separator": ("t.csv", b"text;label\na;b\n", r"the columns are 'text;label'"),
    "empty label": ("t.csv", HEAD + b"one,a\ntwo, \n", r"t\.csv:3: the label \(column 'label'\) is empty"),
    "empty text": ("t.csv", HEAD + b'"\n",a\n', r"t\.csv:2: the text \(column 'text'\) is empty"),
    "json: bad line": ("t.jsonl", b'{"text": "a", "label": "b"}\n{text}\n', r"t\.jsonl:2: not valid JSON: .* column 2"),
    "json: cut off": (
        "t.jsonl",
        b'{"text": "a", "label": "b"}\n{"text": "c", "la',
        r"t\.jsonl:2: .*was the file cut off",
    ),
    "json: missing": (
        "t.jsonl",
        b'{"txt": "a", "label": "b"}\n',
        r"t\.jsonl:1: there is no column 'text' \(did you mean",
    ),
    "json: null": ("t.jsonl", b'{"text": "a", "label": null}\n', r"'label' must be a string or an integer, got null"),
    "json: true": ("t.jsonl", b'{"text": "a", "label": true}\n', r"'label' must be a string or an integer, got true"),
    "json: float": ("t.jsonl", b'{"text": "a", "label": 0.5}\n', r"got the number 0\.5"),
    "json: list": ("t.jsonl", b'{"text": ["a"], "label": "b"}\n', r"'text' must be a string, got an array"),
    "json: number": ("t.jsonl", b'{"text": 3, "label": "b"}\n', r"'text' must be a string, got the number 3"),
    "json: array": (
        "t.jsonl",
        b'[\n {"text": "a", "label": "b"}\n]\n',
        r"t\.jsonl:1: this is a JSON array; JSONL has one",
    ),
    "json: string": ("t.jsonl", b'"text"\n', r"t\.jsonl:1: expected an object, got a string"),
    "json: NaN": ("t.jsonl", b'{"text": "a", "label": NaN}\n', r"t\.jsonl:1: not acceptable JSON: NaN is not JSON"),
    "json: infinity": ("t.jsonl", b'{"text": "a", "label": "b", "x": -Infinity}\n', r"-Infinity is not JSON"),
    "json: deep": ("t.jsonl", DEEP.encode(), r"t\.jsonl:1: the JSON is nested too deeply"),
    "json: digits": (
        "t.jsonl",
        b'{"text": "a", "label": ' + b"1" * 5000 + b"}\n",
        r"t\.jsonl:1: not acceptable JSON: .*digits",
    ),
    "json: doubled": ("t.jsonl", b'{"text": "a", "text": "b", "label": "c"}\n', r"the name 'text' occurs twice"),
    "json: surrogate": (
        "t.jsonl",
        rb'{"text": "a\ud800", "label": "b"}' + b"\n",
        "half a surrogate pair at character 1",
    ),
    "json: empty label": ("t.jsonl", b'{"text": "a", "label": ""}\n', r"the label \(column 'label'\) is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused(tmp_path: Path, case: str) -> None:
    name, data, fragment = BAD[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=fragment) as caught:
        read_table(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and "\n" not in message and len(message) < 400 + len(str(tmp_path))


HUGE = "x" * 100_000
MANY = [f"name{i}" for i in range(200_000)]
LARGE = {
    "long name": ("t.csv", f"text,{HUGE}\na,b\n", r"t\.csv:1: there is no column 'label'"),
    "long name, twice": ("t.csv", f"text,{HUGE},{HUGE}\na,b,c\n", r"the column 'xxx.*\.\.\. occurs 2 times"),
    "many names": ("t.csv", f"{','.join(MANY)}\na\n", r"t\.csv:1: there is no column 'text'"),
    "many names, one twice": ("t.csv", f"{','.join(MANY)},name9\na\n", "the column 'name9' occurs 2 times"),
    "json: many names, one twice": (
        "t.jsonl",
        json.dumps(dict.fromkeys(MANY))[:-1] + ', "name9": 1}\n',
        "the name 'name9' occurs twice",
    ),
    "json: many names": ("t.jsonl", json.dumps(dict.fromkeys(MANY)) + "\n", "there is no column 'text'"),
    "json: long name": ("t.jsonl", json.dumps({HUGE: 1}) + "\n", "there is no column 'text'"),
    "json: long number": ("t.jsonl", '{"text": 1.' + "1" * 100_000 + ', "label": "a"}\n', r"got the number 1\.1"),
}


@pytest.mark.parametrize("case", LARGE)
def test_large_bad_tables_are_refused_soon_and_in_one_line(tmp_path: Path, case: str) -> None:
    name, text, fragment = LARGE[case]
    (tmp_path / name).write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(DataError, match=fragment) as caught:
        read_table(tmp_path / name)
    assert time.process_time() - began < 5
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200 + len(str(tmp_path))


def test_labels_of_a_megabyte_are_not_compared_letter_by_letter(tmp_path: Path) -> None:
    known = ["ab" * 500_000 + "c", "ba" * 500_000]
    file = write(tmp_path / "t.csv", [("a text", "ab" * 500_000, "")]).rename(tmp_path / "t.jsonl")
    file.write_text(json.dumps({"text": "a", "label": "ab" * 500_000}), encoding="utf-8")
    began = time.process_time()
    with pytest.raises(DataError, match=r"t\.jsonl:1: unknown label 'abab.*\.\.\.; known labels: 'ab") as caught:
        from_table(file, labels=known)
    assert time.process_time() - began < 5 and len(str(caught.value)) < 400 + len(str(tmp_path))


def write(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label", "author"), *rows])
    return path


ROWS = [(f"text {i}", "nopq"[i % 4], f"author {i % 25}") for i in range(200)]


def test_one_table_gives_three_parts(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ROWS)
    corpus = from_table(file)
    parts = (corpus.train, corpus.validation, corpus.test)
    assert corpus.labels == ("n", "o", "p", "q")
    assert sorted((text, corpus.labels[y]) for part in parts for text, y in part) == sorted(r[:2] for r in ROWS)
    assert [Counter(y for _, y in part) for part in parts] == [dict.fromkeys(range(4), n) for n in (40, 5, 5)]
    assert from_table(file) == corpus and from_table(file, seed=1).test != corpus.test
    assert corpus.card.sizes == {"train": 160, "validation": 20, "test": 20} and corpus.card.split == "stratified"


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    corpus = from_table(write(tmp_path / "t.csv", ROWS), group="author")
    author = {text: who for text, _, who in ROWS}
    sides = [{author[text] for text, _ in part} for part in (corpus.train, corpus.validation, corpus.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert all(sides)


def test_own_files_are_taken_as_they_are(tmp_path: Path) -> None:
    file, test = write(tmp_path / "t.csv", ROWS), write(tmp_path / "test.csv", [("unseen", "q", "")])
    held = write(tmp_path / "held.csv", [("held", "n", "")])
    corpus = from_table(file, test=test)
    assert corpus.test == (("unseen", 3),) and len(corpus.train) + len(corpus.validation) == 200
    assert corpus.validation
    corpus = from_table(file, validation=held, test=test)
    assert corpus.validation == (("held", 0),) and len(corpus.train) == 200


def test_labels_of_a_checkpoint_keep_their_ids(tmp_path: Path) -> None:
    corpus = from_table(write(tmp_path / "t.csv", ROWS), labels=("z", "q", "p", "o", "n"))
    assert corpus.labels == ("z", "q", "p", "o", "n")
    assert {corpus.labels[y] for _, y in corpus.train} == {"n", "o", "p", "q"}


def test_unknown_labels_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", [(t, "positive" if y in "no" else "negative", a) for t, y, a in ROWS])
    other = write(tmp_path / "v.csv", [("fine", "positive", ""), ("bad", "Postive", "")])
    known = r"\(did you mean 'positive'\?\); known labels: 'negative', 'positive'"
    for part in ("validation", "test"):
        with pytest.raises(DataError, match=r"v\.csv:3: unknown label 'Postive' " + known):
            from_table(file, **{part: other})
    with pytest.raises(DataError, match=r"t\.csv:2: unknown label 'positive'; known labels: 'a', 'b'"):
        from_table(file, labels=("a", "b"))


@pytest.mark.parametrize(
    ("rows", "options", "fragment"),
    [
        ([("one", "a", "")] * 5, {}, r"t\.csv: at least two different labels are needed, found 'a'"),
        ([("one", "a", ""), ("two", "b", "")], {}, r"t\.csv: 2 examples in 2 groups with 2 labels are too few"),
        (ROWS, {"group": "autor"}, r"no column 'autor' \(did you mean 'author'\?\)"),
        (ROWS, {"fractions": (0.5, 0.5)}, "three shares, the first above 0"),
        (ROWS, {"fractions": (0.0, 0.5, 0.5)}, "three shares, the first above 0"),
    ],
)
def test_tables_that_cannot_be_split_are_refused(tmp_path: Path, rows, options, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        from_table(write(tmp_path / "t.csv", rows), **options)


def test_many_labels_are_listed_in_part(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", [(f"t{i}", f"label{i % 50}", "") for i in range(500)])
    other = write(tmp_path / "v.csv", [("x", "zebra", "")])
    with pytest.raises(DataError, match=r"'label0'.* and 30 more$"):
        from_table(file, validation=other)


def test_a_missing_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv: there is no such file"):
        read_table(tmp_path / "none.csv")


def test_labels_are_different_and_all_rows_are_examples(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("text,label\nfine,b\n", encoding="utf-8")
    assert read_examples(path, labels=["a", "b"]) == [("fine", 1)]
    with pytest.raises(DataError, match=r"one\.csv:2: unknown label 'b'; known labels: 'a', 'c'"):
        read_examples(path, labels=["a", "c"])
    with pytest.raises(ValueError, match="expected different labels, got 'a', 'b', 'a'"):
        from_table(path, labels=["a", "b", "a"])
