"""The course as a site, read without a browser: nothing from outside, and everything where its links lead."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lessons.__main__ import main
from lessons.course import HERE, lessons
from lessons.notebook import cells, to_notebook
from lessons.site import prose

pytestmark = pytest.mark.timeout(1200)  # the first of them waits for the site to be built

LESSONS = [lesson for lesson in lessons().values() if lesson.exercise.exists()]
FORMULA = r"``.*?``|\$\$.+?\$\$|\$[^$]+\$"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# What loads something when a page is opened; a link that somebody may follow is not among it.
LOADS = {("script", "src"), ("img", "src"), ("img", "srcset"), ("iframe", "src"), ("link", "href"), ("source", "src")}


class Page(HTMLParser):
    """What the tests want to know of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.formulas = 0
        self.shown = ""  # the text outside of folded parts, of code and of formulas
        self.folded = ""
        self.code = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        self.loaded += [found[name] or "" for kind, name in LOADS if kind == tag and found.get(name)]
        self.images += [found] if tag == "img" else []
        self.formulas += tag == "math"
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = set(self._open)
        if "details" in inside:
            self.folded += data
        elif "pre" in inside:
            self.code += data
        elif not inside & {"script", "style", "pre", "code", "math", "title"}:
            self.shown += data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Every page, by its path in the site."""
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def lesson_pages(pages: dict[str, Page]) -> list[tuple]:
    return [(lesson, pages[f"lessons/{lesson.name}.html"]) for lesson in LESSONS]


def words(text: str) -> str:
    return " ".join(text.split())


# --- everything that a page needs is there
def test_nothing_is_loaded_from_outside(site: Path, pages: dict[str, Page]) -> None:
    asked = [(name, url) for name, page in pages.items() for url in page.loaded]
    for sheet in site.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
        asked += [(sheet.name, url) for url in re.findall(r"""(?:url\(|@import\s+)["']?([^"')]+)""", text)]
    assert len(asked) > len(pages)
    assert [one for one in asked if urlsplit(one[1]).netloc or urlsplit(one[1]).scheme not in {"", "data"}] == []


def test_links_and_anchors_lead_somewhere(site: Path, pages: dict[str, Page]) -> None:
    lost = []
    for name, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            anchors = pages[target.relative_to(site.resolve()).as_posix()].ids if target.suffix == ".html" else {""}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                lost.append(f"{name}: {link}")
    assert lost == []


def test_every_picture_is_described(pages: dict[str, Page]) -> None:
    assert [(name, image) for name, page in pages.items() for image in page.images if not image.get("alt")] == []
    for _, page in lesson_pages(pages):
        assert any(len(image["alt"] or "") > 60 for image in page.images), f"{page.path.name} has no figure"


# --- what a lesson's page says
def test_every_formula_is_set(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert not re.search(r"\$[^$\n]*[\\^_=][^$\n]*\$|\\(frac|sum|log|left|mathrm|sqrt)\b", page.shown), name
    for lesson, page in lesson_pages(pages):
        source = (HERE / f"{lesson.name}.py").read_text(encoding="utf-8")
        text = "\n".join(cell for kind, cell in cells(source) if kind == "markdown")
        wanted = [found for found in re.findall(FORMULA, text, re.DOTALL) if found[0] == "$"]
        assert page.formulas == len(wanted), lesson.name


def test_the_lessons_were_executed(pages: dict[str, Page]) -> None:
    for lesson, page in lesson_pages(pages):
        text = page.path.read_text(encoding="utf-8")
        assert text.count('class="sphx-glr-script-out') >= 2, f"{lesson.name} printed nothing"
        assert f"runs/lessons/{lesson.name}.png" in text and "Fast form" in text


def test_answers_hints_and_solutions_are_folded(pages: dict[str, Page]) -> None:
    for lesson, page in lesson_pages(pages):
        for question in importlib.import_module(f"lessons.{lesson.name}").QUIZ:
            assert words(question.ask) in words(page.shown) and words(question.why) in words(page.folded)
            assert words(question.why) not in words(page.shown) and question.why not in page.code
        stub = lesson.exercise.read_text(encoding="utf-8")
        assert page.folded.count("Hint ") == stub.count("# Hint ") and "Hint 1" not in page.shown + page.code
        names = [n.name for n in ast.parse(stub).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert names and all(f'raise NotImplementedError("{name}' in page.code for name in names)
        solution = (HERE / "solutions" / f"{lesson.name}.py").read_text(encoding="utf-8")
        assert solution.rstrip() in page.folded and solution.rstrip() not in page.code


def test_a_lesson_can_be_taken_home(site: Path, pages: dict[str, Page]) -> None:
    for lesson, page in lesson_pages(pages):
        given_ = {Path(link).name: page.path.parent / link for link in page.links if "_downloads/" in link}
        source = (HERE / f"{lesson.name}.py").read_text(encoding="utf-8")
        assert given_[f"{lesson.name}.py"].read_text(encoding="utf-8") == source
        book = json.loads(given_[f"{lesson.name}.ipynb"].read_text(encoding="utf-8"))
        assert book == to_notebook(source, importlib.import_module(f"lessons.{lesson.name}").QUIZ)
        assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
        assert sum(name.startswith("sphx_glr_") for name in given_) == 2, "the figure as SVG, and its numbers"


def test_the_first_page_leads_to_every_lesson(pages: dict[str, Page]) -> None:
    front = pages["index.html"]
    assert all(f"lessons/{lesson.name}.html" in front.links for lesson in LESSONS)
    assert all(words(lesson.question) in words(front.shown) for lesson in LESSONS)


def test_the_map_has_every_statement_once(pages: dict[str, Page]) -> None:
    wanted = "B1 B2 B3 C1 C2 C3 C4 P1 P2 P2b P4 F1 F2 F4 K1 K2 K3 H1 H2 H3 H4 D1 D2 D3 D4 Q1 Q2 Q3 R1 R2 R3".split()
    wanted += [f"{group}.{i}" for group, n in (("P3", 7), ("F3", 8), ("Q4", 3), ("Q5", 3)) for i in range(1, n + 1)]
    text = (HERE / "site" / "map.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - (\S+)\n     - (.+)\n     - (.+)$", text, re.MULTILINE)
    named = [name for name, _, _ in rows if name != "id"]
    assert sorted(named) == sorted(wanted)
    assert all(":lesson:" in where for name, _, where in rows if name != "id")
    used = {int(n) for n in re.findall(r":lesson:`(\d\d)`", text)}
    assert {lesson.number for lesson in LESSONS} <= used <= set(range(1, 25))
    assert {f"lessons/{lesson.name}.html" for lesson in LESSONS} <= set(pages["map.html"].links)


def test_the_reference_describes_what_is_public(pages: dict[str, Page]) -> None:
    import minillm

    described = {name for page in pages.values() for name in page.ids}
    for name, thing in vars(minillm).items():
        if name in minillm.__all__ and (inspect.isroutine(thing) or isinstance(thing, type)):
            assert f"minillm.{name}" in described
    for name in ("minillm.nn.Linear", "minillm.optim.AdamW", "minillm.Tensor.backward", "minillm.generation.Sampling"):
        assert name in described


# --- the command
def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['sphinx'] = None; from lessons.__main__ import main"
    code += f"; sys.exit(main(['course', 'site', '--out', {str(tmp_path / 'site')!r}]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and not (tmp_path / "site").exists()
    assert done.stderr.count("\n") == 1 and 'pip install -e ".[site]"' in done.stderr


def test_a_folder_that_holds_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lessons.site.build.NEEDED", ())
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "mine.html").touch()
    assert main(["course", "site", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no site" in said and (tmp_path / "html" / "mine.html").exists()


# --- the parts
@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("so $x_1$, and $y$.", "so :math:`x_1`, and :math:`y`."),
        ("``a $b$ c`` costs $5", "``a $b$ c`` costs $5"),
        ("is\n\n$$ a\nb $$\n\nthen", "is\n\n\n\n.. math::\n\n   a b\n\n\n\nthen"),
        (">>> f('$x$')\n", ">>> f('$x$')\n"),
        ("$x\ny$", ":math:`x y`"),
    ],
)
def test_formulas_between_dollars(text: str, made: str) -> None:
    assert prose.dollars(text) == made


@given(st.text(st.sampled_from("ab *_`|\\<>[]$:.-1"), min_size=1))
def test_plain_text_stays_what_it_is(text: str) -> None:
    core = pytest.importorskip("docutils.core", reason='needs docutils: pip install -e ".[site]"')
    text = f"x{' '.join(text.split())}x"
    settings = {"report_level": 5, "file_insertion_enabled": False}
    parsed = core.publish_doctree(f"**1.** {prose.plain(text)}", settings_overrides=settings)
    assert parsed.astext() == f"1. {text}"


def test_solutions_that_are_kept_back_are_not_on_the_page(tmp_path: Path) -> None:
    made = prose.exercises_rst(LESSONS[0].exercise, tmp_path / "none.py")
    assert "Hint 1" in made and "Solutions" not in made


def test_a_lesson_that_is_not_there_is_a_number() -> None:
    assert prose.lesson_links("in :lesson:`01`, :lesson:`98`", LESSONS) == "in :doc:`01 </lessons/l01_counting>`, 98"
