"""The web pages' explorers in a real browser: their numbers are those of the Python functions, on 50 settings each.

Skipped where no Chromium is installed (Debian and Ubuntu: apt install chromium).
"""

import itertools
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from book.tools import webpages
from ctxlstm.widgets import cascade, gates, splits

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(
        BROWSER is None, reason="no Chromium on this machine: the explorers were not opened in a browser"
    ),
]
STATIC = Path(webpages.__file__).parents[1] / "_static"
SETTINGS = 50
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# Give the explorer on the page each of the settings, as its controls do, and collect its numbers.
DRIVE = """settings => settings.map(setting => {
  const place = document.querySelector(".explorer");
  for (const [name, value] of Object.entries(setting)) place.querySelector(`[name=${name}]`).value = value;
  place.querySelector("form").dispatchEvent(new Event("input"));
  return {...place.explorer, text: place.querySelector("[role=status]").innerText};
})"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The scripts, and for each explorer a page with nothing else."""
    folder = tmp_path_factory.mktemp("explorers")
    webpages.write_explorer_data(folder)
    for name in ("explorers.js", "book.css"):
        shutil.copy(STATIC / name, folder)
    for name in webpages.EXPLORERS.values():
        scripts = "".join(f'<script src="{file}.js"></script>' for file in (f"explorers-{name}", "explorers"))
        page = '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="book.css">'
        page += f'<div class="explorer" data-explorer="{name}"></div>{scripts}'
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def explorer(browser, folder):
    """A function that opens the page of one explorer; no error may have come up at the end."""
    page = browser.new_page(viewport={"width": 900, "height": 900})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_page(name: str):
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield open_page
    page.close()
    assert errors == []


def test_gate_explorer(explorer):
    rng = random.Random(0)
    ranges = gates.RANGES
    settings = [
        {name: round(rng.uniform(-limit, limit), 1) for name, limit in ranges.items()}
        for _ in range(SETTINGS - 2)
    ]
    settings += [{name: sign * limit for name, limit in ranges.items()} for sign in (-1, 1)]
    shown = explorer("gates").evaluate(DRIVE, settings)
    for setting, got in zip(settings, shown, strict=True):
        assert got["state"] == setting
        expected = gates.step_of_unit(**setting)
        assert got["numbers"] == pytest.approx(expected, rel=1e-12, abs=1e-12)
        for name in "figoch":
            assert f"= {expected[name]:.3f}".replace("-", "−") in got["text"]


def test_state_flow(explorer):
    clips = webpages.small_clips()
    handovers = cascade.HANDOVER_NAMES.values()
    settings = list(itertools.product(handovers, (1, 2, 3), range(len(clips))))
    assert len(settings) >= SETTINGS
    given = [{"handover": way or "off", "layers": layers, "clip": clip} for way, layers, clip in settings]
    shown = explorer("flow").evaluate(DRIVE, given)
    models = {layers: webpages.small_cascade(layers) for layers in (1, 2, 3)}
    for (way, layers, clip), got in zip(settings, shown, strict=True):
        now, other = (
            cascade.flow(models[layers], clips[clip], handover).blocks
            for handover in (way, "hc" if way is None else None)
        )
        for number, block in enumerate(got["numbers"]["blocks"]):
            np.testing.assert_allclose(block["output"], now[number].output, rtol=0, atol=1e-12)
            for side in ("first", "last"):
                states = [[state["h"], state["c"]] for state in block[side]]  # (2, 2, H)
                np.testing.assert_allclose(states, getattr(now[number], side), rtol=0, atol=1e-12)
            far = (now[number].output - other[number].output).abs().mean(dim=2)  # (2, T)
            np.testing.assert_allclose(got["numbers"]["difference"][number], far, rtol=0, atol=1e-12)
        assert got["text"].count("the same") == {"hc": 8, "h": 4, "c": 4}.get(way, 0)


def test_split_explorer(explorer):
    tables = webpages.split_tables()
    settings = [
        {"table": table, "protocol": protocol, "seed": seed, "fold": 1}
        for table in tables
        for protocol in ("paper", "grouped")
        for seed in (0, 1, 2, *range(4, 17), 19, 20)[:: 1 if table == "ucf101" else 2]
    ]
    settings += [{"table": "ucf101", "protocol": "official", "seed": 0, "fold": fold} for fold in (1, 2, 3)]
    settings += [{"table": "classroom", "protocol": "official", "seed": 0, "fold": fold} for fold in (1, 2)]
    assert len(settings) >= SETTINGS
    shown = explorer("splits").evaluate(DRIVE, settings)
    for setting, got in zip(settings, shown, strict=True):
        clips = tables[setting["table"]]
        cut = splits._cut(clips, *(setting[name] for name in ("protocol", "seed", "fold")))
        numbers = got["numbers"]
        np.testing.assert_array_equal(numbers["clips"], cut.clips)
        np.testing.assert_array_equal(numbers["tested"], cut.tested)
        np.testing.assert_array_equal(numbers["leaked"], cut.leaked)
        assert numbers["classes"] == cut.classes
        assert (numbers["train"], numbers["test"]) == (len(cut.split.train), len(cut.split.test))
        assert numbers["both"] == cut.both.sum()
        assert numbers["share"] == pytest.approx(cut.leak.share, rel=1e-12)
        assert numbers["siblings"] == pytest.approx(cut.leak.siblings_mean, rel=1e-12)
        assert f"{100 * cut.leak.share:.1f} % of the test clips have a sibling" in got["text"]


def test_a_fold_without_test_clips_is_said_in_a_sentence(explorer):
    setting = {"table": "classroom", "protocol": "official", "seed": 0, "fold": 3}
    (got,) = explorer("splits").evaluate(DRIVE, [setting])
    assert got["text"].startswith("Fold 3 leaves the test set empty")


def test_keys_move_every_control_and_reset_brings_the_start_back(explorer):
    for name in webpages.EXPLORERS.values():
        page = explorer(name)
        numbers = page.get_by_role("status")
        start = numbers.inner_text()
        page.keyboard.press("Tab")
        reached = []
        for _ in range(page.locator("label :is(input, select):enabled").count()):
            reached.append(page.evaluate("document.activeElement.name"))
            picture = page.locator("svg").inner_html()
            page.keyboard.press(
                "ArrowUp" if reached[-1] == "layers" else "ArrowDown"
            )  # layers stands at its last
            if reached[-1] == "seed":
                page.keyboard.press("ArrowUp")  # and the seed at its lowest
            page.wait_for_function(
                "old => document.querySelector('svg').innerHTML !== old", arg=picture, timeout=20_000
            )
            page.keyboard.press("Tab")
        assert len(reached) == len(set(reached)) >= 3
        assert all(page.get_by_label(text).count() for text in page.locator("label span").all_inner_texts())
        page.get_by_role("button", name="Reset").focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "old => document.querySelector('[role=status]').innerText === old", arg=start, timeout=20_000
        )


def test_the_pages_have_them_and_without_scripts_the_picture_alone(browser, html):
    places = {"03_ucf101": ["splits", "splits"], "06_lstm_gates": ["gates"], "07_context_lstm": ["flow"]}
    text = (html / "03_ucf101.html").read_text(encoding="utf-8")
    assert text.count('data-explorer="splits"></div>') == 1  # all names
    assert text.count('data-explorer="splits" data-table="classroom"></div>') == 1
    for scripts in (True, False):
        page = browser.new_page(java_script_enabled=scripts)
        for chapter, names in places.items():
            page.goto((html / f"{chapter}.html").as_uri())
            places_found = page.locator(".explorer")
            assert [place.get_attribute("data-explorer") for place in places_found.all()] == names
            for place in places_found.all():
                assert place.is_visible() == scripts
                assert place.locator("svg").count() == scripts
                below = place.locator("xpath=following::img[1]")
                assert below.is_visible()
        page.close()
