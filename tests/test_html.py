"""`make html`: the book as web pages, built from the committed outputs with warnings as errors."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from book.tools import webpages

pytestmark = [pytest.mark.slow, pytest.mark.alone]  # beside test_browser.py, so that the pages are built once

ROOT = Path(__file__).parents[1]


def test_every_chapter_and_exercise_has_its_page(html):
    sources = sorted(path.with_suffix("") for path in (ROOT / "book").glob("[0-9]*.ipynb"))
    assert [int(source.name[:2]) for source in sources] == list(range(len(sources)))
    assert len(sources) >= 14
    exercises = [p.with_suffix("") for p in (ROOT / "book" / "exercises").glob("*/*/*.ipynb")]
    assert len(exercises) >= 2 * 13
    sources += exercises
    for source in sources:
        page = html / source.relative_to(ROOT / "book").with_suffix(".html")
        assert page.is_file(), page


def test_every_link_and_picture_inside_the_book_leads_somewhere(html):
    checked = 0
    for page in html.rglob("*.html"):
        if "_static" in page.parts:
            continue
        text = page.read_text(encoding="utf-8")
        for address in re.findall(r'(?:href|src)="([^"]+)"', text):
            parts = urlsplit(address)
            if parts.scheme or address.startswith("#"):
                continue
            target = page.parent / unquote(parts.path)
            assert target.exists(), f"{page.name} links to {address}"
            checked += 1
            if parts.fragment and target.suffix == ".html":
                assert f'id="{parts.fragment}"' in target.read_text(encoding="utf-8"), address
    assert checked > 1000


def test_no_script_style_or_picture_comes_from_the_network(html):
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:src|srcset)="(?:https?:)?//', text), page
        assert not re.findall(r'<link[^>]+href="(?:https?:)?//', text), page


def test_licences_are_on_the_first_page(html):
    text = (html / "index.html").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "BSD-3-Clause" in text


def test_the_first_page_has_a_card_with_the_question_of_every_chapter(html):
    cards = re.findall(r"<li>.*?</li>", (html / "index.html").read_text(encoding="utf-8"), flags=re.DOTALL)
    cards = [" ".join(unescape(re.sub(r"<[^>]+>", " ", card)).split()) for card in cards]
    for source in sorted((ROOT / "book").glob("[0-9]*.py")):
        text = " ".join(re.sub(r"^# ?", "", source.read_text(encoding="utf-8"), flags=re.MULTILINE).split())
        question = re.search(r"\*\*The question\.\*\* (.+?\?)", text)
        assert question, f"{source.name} has no sentence after **The question.**"
        number = str(int(source.name[:2]))
        assert [c for c in cards if c.startswith(f"{number} ") and c.endswith(question[1])], question[1]


def test_the_first_page_shows_a_figure_and_says_what_is_seen(html):
    text = (html / "index.html").read_text(encoding="utf-8")
    (alt,) = re.findall(r'<img alt="([^"]+)"[^>]*leak\.png', text)
    assert len(alt) > 200
    assert "92.2 %" in alt


def test_columns_of_numbers_in_tables_are_marked():
    head = "<tr><th></th><th>name</th><th>top-1</th><th>interval</th></tr>"
    rows = "".join(
        f"<tr><th>{k}</th><td>v{k}</td><td>{k}.5 %</td><td>{text}</td></tr>"
        for k, text in enumerate(("-1.3 (-2.0 to 0.4)", "", "3.2e-07"))
    )
    marked = webpages.align_numbers(f"<table>{head}{rows}</table>")
    assert marked.count('class="num"') == 2 * 4
    assert '<th class="num">top-1</th>' in marked
    assert "<td>v1</td>" in marked
    assert "<th>1</th>" in marked


def test_long_lines_of_code_and_wide_tables_stay_on_the_page(html):
    style = (html / "_static" / "book.css").read_text(encoding="utf-8")
    assert "white-space: pre-wrap" in style
    assert "overflow-x: auto" in style
