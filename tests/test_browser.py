"""The book in a real browser: JupyterLab with a chapter that is run and moved, and the web pages.

Skipped where no Chromium is installed (Debian and Ubuntu: apt install chromium).
"""

import functools
import http.server
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from book.tools import notebooks

ROOT = Path(__file__).parents[1]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(
        BROWSER is None, reason="no Chromium on this machine: the book was not opened in a browser"
    ),
]
MINUTES = 60_000  # in milliseconds, as Playwright counts
ALL_RUN = re.compile(r"torch [\d.]+.*on the CPU")  # the last line that every chapter prints


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page that keeps what is said on the console's error channel."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000})
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.errors = errors
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the book, token on; returns a function from a notebook's name to its address."""
    root = tmp_path_factory.mktemp("lab")
    ignore = shutil.ignore_patterns("_build", ".ipynb_checkpoints")
    shutil.copytree(ROOT / "book", root / "book", ignore=ignore)
    shutil.copytree(ROOT / "papermill_runs" / "results", root / "papermill_runs" / "results")
    shutil.copy(ROOT / "pyproject.toml", root)
    for source in (root / "book").glob("[0-9]*.py"):  # without outputs: what is seen has been run
        notebooks.write(notebooks.read(source), source.with_suffix(".ipynb"))
    settings = root / "settings" / "@jupyterlab"
    for name, value in (("notebook-extension/tracker", {"windowingMode": "none"}),):
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {  # no settings and no open tabs of whoever runs the tests
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_PATH": str(root / "book" / "jupyter"),  # as `make lab`
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--port-retries=0",
        f"--notebook-dir={root}",
    ]
    with (root / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | own)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, root / "log")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents")
        yield lambda name: f"http://127.0.0.1:{port}/lab/tree/book/{name}.ipynb?reset&token={token}"
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()}")


def run_all(page, address: str) -> None:
    """Open a notebook, choose Kernel > Restart Kernel and Run All Cells, and wait for its last cell."""
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=2 * MINUTES)
    page.get_by_text("(ipykernel) | Idle").first.wait_for(
        timeout=2 * MINUTES
    )  # in the status bar: it is connected
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel and Run All Cells").click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.locator(".jp-OutputArea-output").get_by_text(ALL_RUN).first.wait_for(
        state="attached", timeout=6 * MINUTES
    )


def widget_errors(page) -> list[str]:
    """Console errors about widgets; JupyterLab has others of its own, about files that need not be there."""
    return [text for text in page.errors if re.search("widget|view for model", text, re.I)]


def upload(page, panel, path: Path) -> None:
    """Give a file to the own-video widget in the cell `panel`, as a reader does: its button, then the file dialog."""
    with page.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Upload a video").click()
    chooser.value.set_files(path)


def test_chapter_6_runs_and_the_gate_explorer_moves(page, lab):
    run_all(page, lab("06_lstm_gates"))
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    panel = page.locator(".jp-Cell", has=page.locator(".widget-slider")).first
    panel.scroll_into_view_if_needed()
    picture = panel.locator("img").first
    numbers = panel.locator("[role=status]").first
    before = picture.get_attribute("src"), picture.screenshot(), numbers.inner_text()
    handle = panel.get_by_role("slider").first
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([node, old]) => node.innerText !== old", arg=[numbers.element_handle(), before[2]], timeout=MINUTES
    )
    page.wait_for_timeout(1000)
    after = picture.get_attribute("src"), picture.screenshot(), numbers.inner_text()
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert before[2] != after[2]
    assert widget_errors(page) == []


def test_your_own_video_is_classified_and_a_text_file_is_answered_with_a_sentence(
    page, lab, tiny_clips, tmp_path
):
    run_all(page, lab("10_results"))
    panel = page.locator(".jp-Cell", has=page.get_by_role("button", name="Upload a video")).first
    panel.scroll_into_view_if_needed()
    clip = sorted(tiny_clips.rglob("*.avi"))[0]
    upload(page, panel, clip)
    answer = panel.get_by_role("status").filter(has_text=re.compile(rf"{re.escape(clip.name)}.*\d%", re.S))
    answer.wait_for(timeout=2 * MINUTES)
    assert panel.locator("img").first.is_visible()
    text = tmp_path / "notes.txt"
    text.write_text("this is not a video\n" * 50, encoding="utf-8")
    upload(page, panel, text)
    answer = panel.get_by_role("alert").filter(has_text="notes.txt")
    answer.wait_for(timeout=MINUTES)
    assert len(answer.inner_text().splitlines()) == 1
    assert not panel.locator("img").first.is_visible()
    assert widget_errors(page) == []


def test_a_student_meets_the_book_and_nothing_else(page, lab):
    """What `make lab` opens: what to press above the fold, chapters without their .py twins, no panels, no news."""
    page.goto(lab("00_start_here"))
    page.get_by_text("(ipykernel) | Idle").first.wait_for(timeout=2 * MINUTES)
    page.get_by_role("menuitem", name="Kernel", exact=True).wait_for()
    assert page.locator(".jp-RenderedMarkdown", has_text="What to press").first.is_visible()
    page.wait_for_timeout(3000)  # the question about news came after the page
    said = page.locator("body").inner_text()
    assert "Would you like to" not in said
    assert page.get_by_role("menuitem", name="Nbgrader").count() == 0
    listed = page.locator(".jp-DirListing-itemText").all_inner_texts()
    assert "13_verdict.ipynb" in listed
    assert [name for name in listed if name.endswith(".py") or name in ("tools", "quizzes", "_static")] == []


@pytest.fixture
def site(html):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_the_web_pages_search_link_and_show_equations(page, site):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site)
    page.get_by_role("link", name="the map of the book").click()
    page.get_by_role("heading", name="Start here").first.wait_for()
    page.goto(f"{site}search.html?q=forget+gate")
    found = page.locator("#search-results li a").first
    found.wait_for(timeout=MINUTES)
    found.click()
    page.wait_for_load_state()
    assert "search.html" not in page.url
    equations = 0
    for chapter in sorted((ROOT / "book").glob("[0-9]*.ipynb"), reverse=True):
        page.goto(f"{site}{chapter.stem}.html")
        if page.locator("script[src*=MathJax]").count():  # on pages with equations only
            page.wait_for_function("window.MathJax && MathJax.isReady", timeout=MINUTES)
            page.evaluate("new Promise(done => MathJax.Hub.Queue(done))")
        assert page.locator(".MathJax_Error, .merror").count() == 0, chapter.stem
        equations += page.locator(".MathJax").count()
        for picture in page.locator("article img").all():
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0"), chapter.stem
    assert equations > 100
    page.goto(f"{site}06_lstm_gates.html")
    page.get_by_role("link", name=re.compile("next", re.I)).first.click()
    page.get_by_role("heading", level=1, name=re.compile("^7 ")).wait_for()
    assert [url for url in asked if not url.startswith((site, "data:", "blob:"))] == []
    assert page.errors == []


WIDEST = """() => Math.max(0, ...[...document.querySelectorAll('.text_html')]
    .filter(part => part.querySelector('table')).map(part => part.scrollWidth / part.clientWidth))"""


def test_tables_fit_their_page_or_nearly(page, site, html):
    """One of long sentences that did not wrap was four times as wide as its page."""
    page.set_viewport_size({"width": 1400, "height": 1000})
    chapters = sorted(path.name for path in html.glob("[01][0-9]_*.html"))
    widest = {}
    for name in chapters:
        page.goto(site + name)
        widest[name] = page.evaluate(WIDEST)
    assert len(widest) == 16
    assert max(widest.values()) >= 1
    assert {name: width for name, width in widest.items() if width > 1.2} == {}
