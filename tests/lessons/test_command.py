"""The command `minillm` as a user meets it: what it makes, and what it says to bad input."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from lessons.__main__ import main

TINY = "--quiet --size tiny --block-size 16 --vocab-size 300 --batch-size 4 --steps 6 --eval-every 3".split()


def words(n: int, seed: int) -> str:
    """Return n random words in paragraphs: a text of the test's own."""
    rng = random.Random(seed)
    known = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(1, 8))) for _ in range(300)]
    return "\n\n".join(" ".join(rng.choices(known, k=40)) + "." for _ in range(n // 40))


def table(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([header, *rows])
    return path


def labelled(n: int) -> list[tuple[str, str]]:
    rng = random.Random(0)
    return [(f"{rng.choice('abc')}{i} {'warm sun' if i % 2 else 'cold ice'} {i}", ("cold", "warm")[i % 2])
            for i in range(n)]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a table, a pretrained run, a classifier and a writer, all made by the command."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(words(6000, 0), encoding="utf-8")
    table(folder / "topics.csv", labelled(120))
    few = "--quiet --steps 4 --eval-every 2 --batch-size 8".split()
    text, data = str(folder / "text.txt"), str(folder / "topics.csv")
    assert main(["pretrain", "--text", text, "--out", str(folder / "run"), *TINY]) == 0
    run = str(folder / "run")
    assert main(["finetune", run, "--data", data, "--out", str(folder / "classifier"), *few]) == 0
    assert main(["finetune", run, "--data", data, "--task", "generate", "--out", str(folder / "writer"), *few]) == 0
    return folder


# --- what it makes
def test_a_run_folder_is_complete(home: Path) -> None:
    for run in ("run", "classifier", "writer"):
        made = {p.name for p in (home / run).iterdir()}
        wanted = {"config.json", "manifest.json", "metrics.jsonl", "checkpoints", "curves.png", "curves.svg"}
        assert wanted | {"tokenizer.json", "result.json"} <= made
        assert all(json.loads(line) for line in (home / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert (home / "run" / "samples.txt").read_text(encoding="utf-8").strip()
    result = json.loads((home / "run" / "result.json").read_text(encoding="utf-8"))
    assert {"loss", "bits_per_byte", "baselines", "steps"} <= set(result)
    assert [g["order"] for g in result["baselines"]["ngram"]] == [1, 2, 3, 4, 5, 6, 7]


def test_generate_is_a_function_of_the_seed_and_not_of_the_cache(home: Path, capsys: pytest.CaptureFixture) -> None:
    texts = []
    for more in ([], [], ["--no-cache"], ["--seed", "1"]):
        assert main(["generate", str(home / "run"), "--prompt", "abc", "--max-new-tokens", "12", *more]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2] != texts[3]
    assert texts[0].startswith("abc")


@pytest.mark.parametrize(
    "options",
    [
        ["--temperature", "0"],
        ["--top-k", "5", "--top-p", "0.9", "--repetition-penalty", "1.2"],
        ["--beams", "3"],
        ["--prompt", "a", "--prompt", "longer than b"],
        ["--stop", "a"],
        ["--max-new-tokens", "0"],
    ],
)
def test_ways_to_generate(home: Path, options: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["generate", str(home / "run"), "--max-new-tokens", "8", *options]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("more", [[], ["--prompt", "another"], ["--beams", "2"]])
def test_a_text_ends_before_what_stops_it(home: Path, more: list[str], capsys: pytest.CaptureFixture) -> None:
    options = ["generate", str(home / "run"), "--prompt", "abc", *more, "--max-new-tokens", "20"]
    options += [] if "--beams" in more else ["--temperature", "0"]
    assert main(options) == 0
    whole = capsys.readouterr().out.split("another")[0].rstrip("\n")
    stop = whole[8:10]  # of several letters, so that it may be cut by a token
    assert main([*options, "--stop", stop]) == 0
    found = capsys.readouterr().out.split("another")[0].rstrip("\n")
    assert found == ("abc" + whole[3:].split(stop)[0]).rstrip("\n")


def test_a_label_writes(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["generate", str(home / "writer"), "--label", "cold", "--max-new-tokens", "5"]) == 0
    assert "Topic:" not in capsys.readouterr().out


def test_a_batch_larger_than_the_data_takes_all_of_it(home: Path, tmp_path: Path) -> None:
    argv = ["finetune", str(home / "run"), "--data", str(home / "topics.csv"), "--out", str(tmp_path / "out")]
    assert main([*argv, "--quiet", "--steps", "2", "--eval-every", "1", "--batch-size", "1000"]) == 0


def test_evaluate_stands_beside_its_baselines(home: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(home / "run")]) == 0
    out = capsys.readouterr().out
    result = json.loads((home / "run" / "result.json").read_text(encoding="utf-8"))
    assert f"{result['bits_per_byte']:.4f} bits per byte" in out and "gzip" in out and "7:" in out
    assert main(["evaluate", str(home / "classifier")]) == 0
    result = json.loads((home / "classifier" / "result.json").read_text(encoding="utf-8"))
    assert f"{result['test_accuracy']:.3f}" in (out := capsys.readouterr().out) and "naive Bayes" in out
    assert main(["evaluate", str(home / "classifier"), "--data", str(home / "topics.csv")]) == 0


def test_a_table_is_judged_by_every_row_beside_what_the_run_learned_from(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    few = table(tmp_path / "few.csv", [("cold sun", "warm"), ("cold ice", "cold"), ("warm sun", "cold")])
    one = table(tmp_path / "one.csv", [("warm sun", "warm")])
    for run, words in (("classifier", "test accuracy"), ("writer", "accuracy by Bayes' rule on 3 texts")):
        assert main(["evaluate", str(home / run), "--data", str(few)]) == 0
        out = capsys.readouterr().out
        assert out.startswith(words) and "naive Bayes 0.333" in out, out  # it has seen no other rows than the run has
        assert main(["evaluate", str(home / run), "--data", str(one)]) == 0
        assert "naive Bayes 1.000" in capsys.readouterr().out


def test_a_writer_is_judged_by_its_labels(home: Path, capsys: pytest.CaptureFixture) -> None:
    result = json.loads((home / "writer" / "result.json").read_text(encoding="utf-8"))
    assert main(["evaluate", str(home / "writer")]) == 0
    said = f"accuracy by Bayes' rule on {result['test_texts']} texts {result['test_accuracy']:.3f}   naive Bayes "
    assert capsys.readouterr().out.startswith(said)
    assert (
        main(["evaluate", str(home / "writer"), "--text", str(home / "text.txt")]) == 0
    )  # it is a language model, too
    assert "bits per byte" in capsys.readouterr().out


@pytest.mark.parametrize("run", ["run", "classifier", "writer"])
def test_nothing_is_held_out_of_texts_that_have_changed(
    home: Path, tmp_path: Path, run: str, capsys: pytest.CaptureFixture
) -> None:
    text, topics = (shutil.copy(home / name, tmp_path) for name in ("text.txt", "topics.csv"))
    copy = Path(shutil.copytree(home / run, tmp_path / run))
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config.update({"text": text} if run == "run" else {"table": {**config["table"], "data": topics}})
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["evaluate", str(copy)]) == 0
    more = {"run": (text, "\n\nA new paragraph."), "writer": (topics, "new sun,warm\n")}
    name, added = more.get(run, more["writer"])
    with open(name, "a", encoding="utf-8") as f:
        f.write(added)
    capsys.readouterr()
    assert main(["evaluate", str(copy)]) == 2
    instead = "--text" if run == "run" else "--data"
    assert f"may have learned what would be held out now; give others with {instead}" in capsys.readouterr().err
    if run == "run":
        return
    with pytest.warns(UserWarning, match="no baselines, for what they would learn from is gone: .* changed"):
        assert main(["evaluate", str(copy), "--data", str(home / "topics.csv")]) == 0
    assert "naive" not in capsys.readouterr().out
    Path(topics).unlink()
    with pytest.warns(UserWarning, match="no baselines, for what they would learn from is gone: .* no such file"):
        assert main(["evaluate", str(copy), "--data", str(home / "topics.csv")]) == 0


def test_a_run_without_the_figure_is_named(home: Path, tmp_path: Path) -> None:
    both = ["plot", str(home / "classifier"), str(home / "run"), "--out", str(tmp_path / "both")]
    with pytest.warns(UserWarning, match=r"--metric accuracy: not in .*run, of which no curve is drawn"):
        assert main(both) == 0


def test_too_little_memory_says_what_to_do(
    home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, words in (
        (MemoryError(), "not enough memory; take"),
        (MemoryError("9 TiB"), "not enough memory (9 TiB); take"),
    ):
        monkeypatch.setattr("lessons.using.generate_tokens", lambda *_, error=error, **__: throw(error))
        assert main(["generate", str(home / "run")]) == 1
        assert f"{words} a smaller model, batch, context or text" in capsys.readouterr().err


def throw(error: Exception) -> None:
    raise error


def test_plot_lays_runs_over_each_other(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["plot", str(home / "run"), str(home / "run"), "--out", str(tmp_path / "both")]) == 0
    assert {p.name for p in tmp_path.iterdir()} >= {"both.png", "both.svg"}
    assert str(tmp_path / "both.png") in capsys.readouterr().out
    assert main(["plot", str(home / "run"), "--out", str(tmp_path / "one.png")]) == 0
    assert {p.name for p in tmp_path.glob("one*")} == {"one.png", "one.svg", "one.json"}


@pytest.mark.parametrize(
    "line, says",
    [
        ("generate RUN --promt x", "usage: minillm generate .*none of: --promt x .did you mean --prompt.."),
        ("pretrain --stpes=3", "none of: --stpes=3 .did you mean --steps.."),
        ("quiz 01 extra", "usage: minillm quiz .*none of: extra$"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest(line: str, says: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2 and re.search(says, capsys.readouterr().err.strip(), re.DOTALL)


def test_lessons_are_listed_and_run(capsys: pytest.CaptureFixture) -> None:
    assert main(["lessons"]) == 0
    listed = capsys.readouterr().out.splitlines()
    numbers = [line[:2] for line in listed]
    assert numbers == sorted(numbers) and {"08", "11", "12", "15", "16"} <= set(numbers)


# --- bad input: exit status 2, one line that names the thing, nothing left behind
def bad(command: str, say: str) -> tuple[str, str]:
    return command, say


BAD = [
    bad("pretrain --text {tmp}/missing.txt", "missing.txt"),
    bad("pretrain --text {tmp}/empty.txt", "empty.txt"),
    bad("pretrain --text {tmp}/latin1.txt", "UTF-8"),
    bad("pretrain --text {tmp}/medium.txt --block-size 512", "512"),
    bad("pretrain --text {tmp}/short.txt", "short.txt"),
    bad("pretrain --text {tmp}/nothing", "nothing"),
    bad("pretrain --text {home}/text.txt --n-embd 30 --n-head 4", "n_embd"),
    bad("pretrain --text {home}/text.txt --lr -1", "lr"),
    bad("pretrain --text {home}/text.txt --lr nan", "lr"),
    bad("pretrain --text {home}/text.txt --steps -5", "steps"),
    bad("pretrain --text {home}/text.txt --batch-size 0", "batch_size"),
    bad("pretrain --text {home}/text.txt --dropout 1.5", "dropout"),
    bad("pretrain --text {home}/text.txt --vocab-size 10", "vocab"),
    bad("pretrain --text {home}/text.txt --minutes -1", "minutes"),
    bad("pretrain --text {home}/text.txt --device cuda", "cpu"),
    bad("pretrain --text {home}/text.txt --out {tmp}/empty.txt/below", "empty.txt"),
    bad("pretrain --text {home}/text.txt --out {home}/run", "--force"),
    bad("finetune {tmp}/no-run", "no-run"),
    bad("finetune {tmp}/nothing", "nothing"),
    bad("finetune {home}/run --data {tmp}/missing.csv", "missing.csv"),
    bad("finetune {home}/run --data {tmp}/empty.csv", "empty.csv"),
    bad("finetune {home}/run --data {tmp}/latin1.csv", "UTF-8"),
    bad("finetune {home}/run --data {tmp}/ragged.csv", "ragged.csv:3"),
    bad("finetune {home}/run --data {tmp}/header.csv", "header.csv"),
    bad("finetune {home}/run --data {home}/topics.csv --text-column body", "body"),
    bad("finetune {home}/run --data {tmp}/long-label.csv --task generate", "shorten"),
    bad("finetune {home}/run --data {home}/topics.csv --label-column topic", "topic"),
    bad("finetune {home}/run --data {home}/topics.csv --validation {tmp}/unknown-label.csv", "hot"),
    bad("finetune {home}/run --data {tmp}/bad.jsonl", "bad.jsonl:2"),
    bad("finetune {home}/run --data {home}/topics.csv --lr 0", "lr"),
    bad("finetune {home}/run --data {home}/topics.csv --device cuda", "cpu"),
    bad("finetune {home}/classifier --data {home}/topics.csv", "classifier"),
    bad("generate {tmp}/no-run", "no-run"),
    bad("generate {home}/run --temperature -1", "temperature"),
    bad("generate {home}/run --temperature nan", "temperature"),
    bad("generate {home}/run --top-k 0", "top_k"),
    bad("generate {home}/run --top-p 0", "top_p"),
    bad("generate {home}/run --beams 0", "beams"),
    bad("generate {home}/run --beams 2 --temperature 1 --top-k 3", "leave --temperature, --top-k out"),
    bad("generate {home}/run --max-new-tokens -1", "max_new_tokens"),
    bad("generate {home}/run --label cold", "--label"),
    bad("generate {home}/writer --label hot", "cold, warm"),
    bad("generate {home}/writer --label cold --prompt x", "--prompt and --label"),
    bad("generate {home}/text.txt", "text.txt"),
    bad("finetune {home}/run --data {tmp}/nothing", "nothing"),
    bad("finetune {home}/run --data {tmp}/folder.csv", "is a folder"),
    bad("evaluate {home}/classifier --data {tmp}/folder.csv", "is a folder"),
    bad("pretrain --text {tmp}/utf16.txt", "UTF-16"),
    bad("pretrain --text {tmp}/cut.txt", "byte 2400 (0xe7)"),
    bad("generate {home}/run --prompt=", "--prompt"),
    bad("generate {home}/classifier", "classifier"),
    bad("generate {home}/run --device cuda", "cpu"),
    bad("evaluate {home}/run --text {tmp}/missing.txt", "missing.txt"),
    bad("evaluate {home}/run --text {tmp}/short.txt", "short.txt"),
    bad("evaluate {home}/classifier --data {tmp}/unknown-label.csv", "hot"),
    bad("evaluate {home}/classifier --text {home}/text.txt", "--data"),
    bad("evaluate {home}/run --data {home}/topics.csv", "--text"),
    bad("evaluate {home}/classifier --label-column topic", "--data"),
    bad("finetune {home}/run --validation {home}/topics.csv", "--data"),
    bad("finetune {home}/run --text-column body", "--data"),
    bad("finetune {home}/run --data {home}/topics.csv --task generate --method frozen", "--method frozen"),
    bad("finetune {home}/run --data {home}/topics.csv --out {home}/run --force", "which would be removed"),
    bad("plot {tmp}/no-run", "no-run"),
    bad("plot {home}/run --out .", "is a folder"),
    bad("plot {home}/run --metric beauty", "beauty"),
    bad("plot {home}/run --out {tmp}/empty.txt/curves", "empty.txt"),
    bad("resume {tmp}/no-run", "no-run"),
    bad("demo --minutes 0", "minutes"),
    bad("demo --minutes nan", "minutes"),
    bad("demo --out {tmp}/empty.txt/below", "empty.txt"),
    bad("demo --device cuda", "cpu"),
    bad("run 99", "99"),
]


@pytest.fixture
def corpus_of_bad_files(tmp_path: Path) -> Path:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "utf16.txt").write_bytes("a text".encode("utf-16"))
    (tmp_path / "cut.txt").write_bytes(b"a few words " * 200 + "\u732b".encode()[:2])
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "latin1.txt").write_bytes("caf\u00e9 ".encode("latin-1") * 500)
    (tmp_path / "latin1.csv").write_bytes("text,label\ncaf\u00e9,a\n".encode("latin-1"))
    (tmp_path / "short.txt").write_text("Only a few words.", encoding="utf-8")
    table(tmp_path / "long-label.csv", [(text, label * 20) for text, label in labelled(120)])
    (tmp_path / "medium.txt").write_text(words(800, 1), encoding="utf-8")
    (tmp_path / "ragged.csv").write_text("text,label\nfine,a\nnot,so,fine\n", encoding="utf-8")
    (tmp_path / "header.csv").write_text("text,label\n", encoding="utf-8")
    table(tmp_path / "unknown-label.csv", [("a day", "hot"), ("a night", "cold")])
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": \n', encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("command", "say"), BAD, ids=[c for c, _ in BAD])
def test_bad_input(
    command: str, say: str, home: Path, corpus_of_bad_files: Path, capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tmp = corpus_of_bad_files
    monkeypatch.chdir(tmp)
    argv = [a.format(home=home, tmp=tmp) for a in command.split()]
    makes = argv[0] in ("pretrain", "finetune", "demo")
    if makes:
        argv += ["--quiet"] if "--out" in argv else ["--quiet", "--out", str(tmp / "out")]
    if argv[0] == "pretrain":
        usual = dict(zip(TINY[1::2], TINY[2::2], strict=True))
        argv += [a for k, v in usual.items() if k not in argv for a in (k, v)]
    before = {p: p.stat().st_mtime_ns for p in [*tmp.rglob("*"), *home.rglob("*")]}
    began = time.process_time()
    assert main(argv) == 2
    assert time.process_time() - began < 5
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and say in said.err and "Traceback" not in said.err, said.err
    assert said.out == ""
    assert {p: p.stat().st_mtime_ns for p in [*tmp.rglob("*"), *home.rglob("*")]} == before


@pytest.mark.parametrize(
    "argv",
    [
        ["pretrain", "--widht", "3"],
        ["fly"],
        [],
        ["pretrain", "--steps", "many"],
        ["generate", "x", "--device", "cuda:7"],
    ],
)
def test_unknown_words_are_refused(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: minillm" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["pretrain", "--text", "", "--out", "run"],
        ["pretrain", "--force", "--out", ""],
        ["finetune", ""],
        ["finetune", "run", "--data="],
        ["finetune", "run", "--data", "a.csv", "--validation", ""],
        ["generate", ""],
        ["evaluate", "run", "--data", ""],
        ["plot", "run", ""],
        ["resume", ""],
        ["notebook", "01", "--out", ""],
        ["check", "01", "--file", ""],
        ["course", "export", ""],
    ],
)
def test_an_empty_name_is_not_the_folder_one_is_in(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text(words(800, 0), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "expected the name of a file or folder, got an empty text" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_a_text_that_changed_since_the_run_began(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / "run", run)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    other = tmp_path / "text.txt"
    other.write_text((home / "text.txt").read_text(encoding="utf-8") + "\n\nA new paragraph.", encoding="utf-8")
    (run / "config.json").write_text(json.dumps({**config, "text": str(other)}), encoding="utf-8")
    assert main(["resume", str(run), "--quiet"]) == 2
    said = capsys.readouterr()
    assert "the text has changed since the run began (sha256 " in said.err and "start a new run" in said.err
    assert config["corpus_sha256"][:12] in said.err and said.err.count("\n") == 1


def test_a_relative_path_belongs_to_the_folder_where_the_run_began(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.chdir(home)
    assert main(["pretrain", "--text", "text.txt", "--out", str(run), *TINY]) == 0
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert main(["resume", str(run), "--quiet"]) == 2
    err = capsys.readouterr().err
    assert f"text.txt, which does not exist in {tmp_path}; say with --text where it lies" in err
    assert err.count("\n") == 1
    monkeypatch.chdir(home)
    assert main(["resume", str(run), "--quiet"]) == 0


def test_a_file_that_may_not_be_read(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:  # chmod would not do: the superuser may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert main(["pretrain", "--text", str(home / "text.txt"), "--out", str(tmp_path / "out"), *TINY]) == 2
    assert "text.txt: cannot be read (Permission denied); check its permissions" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_debug_shows_where(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = str(tmp_path / "no\x1b[2Jtext")
    assert main(["pretrain", "--debug", "--text", text, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and "no\\x1b[2Jtext" in said and "\x1b" not in said
