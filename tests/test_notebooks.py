"""Notebook pairs: the .ipynb says what its .py says, and is fit to be published."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest
from jupytext.config import load_jupytext_config

from book.tools import notebooks, staleness

ROOT = Path(__file__).parents[1]
RUNS = sorted((ROOT / "papermill_runs").glob("*.py"))
CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.py"))
SOURCES = RUNS + CHAPTERS


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_pair_agrees(source):
    assert notebooks.differences(source) == []


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
def test_outputs_are_of_todays_code(source):
    assert staleness.stale(source.with_suffix(".ipynb")) == []


@pytest.fixture
def small(tmp_path) -> Path:
    """A package `ctxlstm` of three modules, of which `notebook` reaches two and the package itself."""
    files = {
        "__init__": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from ctxlstm.room import f as f\n",
        "room/__init__": '"""A room."""\nfrom .desk import size\n\ndef f(x):\n    """Twice."""\n    return size * x\n',
        "room/desk": "size = 2\n",
        "other": "size = 3\n",
    }
    for name, text in files.items():
        path = tmp_path / "ctxlstm" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("module", "before", "after", "changes"),
    [
        ("room/__init__", "Twice.", "Two times.", False),
        ("room/__init__", "return size * x", "# two times\n    return (size\n        * x)", False),
        ("room/__init__", "size * x", "size * x + 1", True),
        ("room/desk", "2", "2.0", True),
        ("room/desk", "2", "None", True),
        ("other", "3", "4", False),
    ],
)
@pytest.mark.parametrize(
    "cell", ["from ctxlstm import f", "from ctxlstm import room", "def g():\n    import ctxlstm.room"]
)
def test_outputs_are_stale_after_a_change_of_code_they_come_from(small, cell, module, before, after, changes):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    old = staleness.digest(notebook, small)
    path = small / "ctxlstm" / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")
    assert (staleness.digest(notebook, small) != old) == changes


def test_stale_outputs_are_named(small):
    pair = small / "a.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1  # one")])
    nbformat.write(notebook, pair)
    assert "does not say which code" in staleness.stale(pair, small)[0]
    staleness.stamp(notebook, small)
    nbformat.write(notebook, pair)
    assert staleness.stale(pair, small) == []
    notebook.cells[0].source = "x = 2  # one"
    nbformat.write(notebook, pair)
    assert "holds outputs of other code" in staleness.stale(pair, small)[0]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_is_small_and_has_no_machine_in_it(source):
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text) < 1_000_000
    assert "widgets" not in notebook["metadata"]
    assert not re.search(r"(?<![\w.])/(root|home|work|tmp|Users)/", text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            assert len("".join(cell["source"]).splitlines()) <= 25


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_notebook_has_the_name_of_a_library(source):
    """In JupyterLab a notebook's folder comes first on the path: its .py would be imported instead."""
    assert importlib.util.find_spec(source.stem) is None


@pytest.mark.parametrize("source", RUNS, ids=lambda path: path.stem)
def test_a_run_has_one_parameters_cell(source):
    assert [cell.metadata.get("tags") for cell in notebooks.read(source).cells].count(["parameters"]) == 1


def test_a_changed_cell_and_a_missing_notebook_are_named(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("# %%\nx = 1\n", encoding="utf-8")
    assert "missing" in notebooks.differences(source)[0]
    notebooks.render(source)
    assert notebooks.differences(source) == []
    source.write_text("# %%\nx = 2\n", encoding="utf-8")
    assert "cell 0 differs" in notebooks.differences(source)[0]
    source.write_text("# %%\nx = 2\n\n# %%\nx\n", encoding="utf-8")
    assert "has 1 cells" in notebooks.differences(source)[0]


def test_render_keeps_what_is_printed_and_drops_progress(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("# %%\nimport sys\nprint('seen')\nprint('50%', file=sys.stderr)\n", encoding="utf-8")
    first = notebooks.render(source).read_text(encoding="utf-8")
    assert "seen" in first
    assert staleness.stale(source.with_suffix(".ipynb")) == []
    assert "50%\\n" not in first
    assert notebooks.render(source).read_text(encoding="utf-8") == first


def test_a_failing_cell_leaves_the_notebook_as_it_was(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("# %%\nprint('fine')\n", encoding="utf-8")
    before = notebooks.render(source).read_text(encoding="utf-8")
    source.write_text("# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.render(source)
    assert source.with_suffix(".ipynb").read_text(encoding="utf-8") == before


def test_jupyterlab_takes_a_clones_pairs_whichever_file_is_newer():
    config = load_jupytext_config(str(ROOT / "papermill_runs" / "reproduce.ipynb"))
    assert config.outdated_text_notebook_margin > 1e6
