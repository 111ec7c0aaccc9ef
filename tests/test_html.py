"""`make html`: the book as web pages, built from the committed outputs with warnings as errors."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone]  # beside test_browser.py, so that the pages are built once

ROOT = Path(__file__).parents[1]


def test_every_chapter_and_exercise_has_its_page(html):
    sources = [path.with_suffix("") for path in (ROOT / "book").glob("[0-9]*.ipynb")]
    sources += [p.with_suffix("") for p in (ROOT / "book" / "exercises").glob("*/*/*.ipynb")]
    assert len(sources) == 14 + 2 * 11
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
