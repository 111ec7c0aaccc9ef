"""Notebook pairs: the .ipynb says what its .py says, and is fit to be published."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from jupytext.config import load_jupytext_config

from book.tools import notebooks

ROOT = Path(__file__).parents[1]
RUNS = sorted((ROOT / "papermill_runs").glob("*.py"))
CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.py"))
SOURCES = RUNS + CHAPTERS


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_pair_agrees(source):
    assert notebooks.differences(source) == []


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
