"""The course as a site, in a browser: on a desk, on a phone, and in the dark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lessons.browser import Browser, chromium

pytestmark = [
    pytest.mark.timeout(1200),  # the first of them waits for the site to be built
    pytest.mark.skipif(os.name == "nt", reason="Chromium is driven through inherited pipes, which Windows has not"),
    pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium"),
]

# The narrow column of a page, and what in it is wider than the window.
WIDE = """
(() => {
    const width = document.documentElement.clientWidth;
    const scrolls = e => e && e !== document.body
        && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const wide = [...document.querySelectorAll('article *')].filter(
        e => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement) && !scrolls(e));
    return {page: document.documentElement.scrollWidth - width,
            wide: wide.slice(0, 3).map(e => e.outerHTML.slice(0, 120))};
})()
"""

# Texts whose colour is nearer to what lies behind them than the Web Content Accessibility Guidelines (AA) allow.
FAINT = """
(() => {
    const parse = s => {
        const n = (s.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
        return [n[0], n[1], n[2], n[3] ?? 1];
    };
    const over = (top, below) => below.map((b, i) => top[i] * top[3] + b * (1 - top[3]));
    const behind = e => {
        if (!e) return parse(getComputedStyle(document.body).backgroundColor).slice(0, 3);
        const colour = parse(getComputedStyle(e).backgroundColor);
        return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(e.parentElement));
    };
    const light = c => {
        const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = new Map();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement, style = getComputedStyle(e);
        const box = e.getBoundingClientRect();
        if (!walk.currentNode.data.trim() || box.width < 2 || style.visibility === 'hidden') continue;
        if (['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(e.tagName)) continue;
        const back = behind(e), [a, b] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 600);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5))
            found.set(style.color + ' on ' + back.map(Math.round), ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 100));
    }
    return [...found].slice(0, 5).map(String);
})()
"""

OPEN_ALL = """
[...document.querySelectorAll('details')].map(d => {
    const hidden = [...d.children].slice(1).every(e => !e.checkVisibility());
    d.querySelector('summary').click();
    return hidden && d.open && [...d.children].slice(1).every(e => e.checkVisibility());
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = chromium()
    assert path
    made = Browser(path, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 40
    return found


def test_every_page_loads_alone_and_without_errors(site: Path, browser: Browser) -> None:
    browser.shape(1280)
    for page in pages(site):
        browser.complaints.clear()
        browser.open(page)
        broken = browser.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
        assert (browser.complaints, broken) == ([], []), page.name


def test_the_browser_would_notice(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<script>f()</script><img src="https://example.org/a.png"><img src="none.png">', encoding="utf-8")
    browser.complaints.clear()
    browser.open(page)
    said = " ".join(browser.complaints)
    assert "script failed" in said and "asks for https://example.org/a.png" in said and "could not load" in said

    text = '<p style="background: #ddd; color: #999">faint</p><p style="width: 900px">wide</p>'
    head = '<meta name="viewport" content="width=device-width">'
    page.write_text(f"<!doctype html>{head}<body style='background: #fff'><article>{text}</article>", encoding="utf-8")
    browser.shape(390)
    browser.open(page)
    assert [said.split(",<")[0][:20] for said in browser.evaluate(FAINT)] == ["rgb(153, 153, 153) o"]
    assert browser.evaluate(WIDE)["page"] > 0 and "wide" in browser.evaluate(WIDE)["wide"][0]


def test_folded_parts_open(site: Path, browser: Browser) -> None:
    browser.shape(1280)
    for page in sorted((site / "lessons").glob("l*.html")):
        browser.open(page)
        opened = browser.evaluate(OPEN_ALL)
        assert len(opened) >= 3 and all(opened), page.name


def test_formulas_are_drawn_with_the_font_that_is_there(site: Path, browser: Browser) -> None:
    browser.open(site / "lessons" / "l01_counting.html")
    assert browser.evaluate("[...document.fonts].some(f => f.family.includes('STIX') && f.status == 'loaded')")
    sizes = browser.evaluate("[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().width)")
    assert len(sizes) > 10 and min(sizes) > 3
    # A fraction is higher than a letter: it is set as a fraction, not written in a line.
    heights = browser.evaluate("[...document.querySelectorAll('mfrac')].map(m => m.getBoundingClientRect().height)")
    assert heights and min(heights) > 20


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_reads_well_on_a_phone(dark: bool, site: Path, browser: Browser) -> None:
    browser.shape(390, 844, dark)
    for page in pages(site):
        browser.open(page)
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.evaluate(WIDE) == {"page": 0, "wide": []}, page.name
        assert browser.evaluate(FAINT) == [], page.name
        night = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, night[4:-1].split(","))) < 200) is dark
