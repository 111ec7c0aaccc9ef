"""Notebook pairs: the .ipynb says what its .py says, and is fit to be published."""

import base64
import importlib.util
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupytext.config import load_jupytext_config
from PIL import Image

from book.tools import notebooks, staleness
from ctxlstm import figures

ROOT = Path(__file__).parents[1]
RUNS = sorted((ROOT / "papermill_runs").glob("*.py"))
CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.py"))
SHEETS = sorted((ROOT / "book" / "exercises" / "source").glob("*/*.py"))
SOURCES = RUNS + CHAPTERS


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_pair_agrees(source):
    assert notebooks.differences(source) == []


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
def test_outputs_are_of_todays_code(source):
    assert staleness.stale(source.with_suffix(".ipynb")) == []


def pictures(pair: Path) -> list[tuple[str, nbformat.NotebookNode]]:
    """The alt text that the HTML book shows, and the output, of every picture of a notebook."""
    cells = nbformat.read(pair, as_version=4).cells
    return [
        (cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""), output)
        for cell in cells
        for output in cell.get("outputs", [])
        if notebooks.picture(output)
    ]


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
def test_every_picture_says_what_is_seen(source):
    found = pictures(source.with_suffix(".ipynb"))
    assert found or source.stem.startswith("01")
    for alt, output in found:
        assert len(alt) > 40
        assert not set("`$*\\") & set(alt), alt
        assert output.metadata[notebooks.picture(output)].alt == alt


def seen(pair: Path) -> set[str]:
    """All colours of a notebook's PNGs, as #RRGGBB."""
    found: set[str] = set()
    for _, output in pictures(pair):
        if "image/png" in output.data:
            with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as image:
                flat = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
            found |= {"#" + bytes(row.tolist()).hex().upper() for row in flat}
    return found


def test_pictures_keep_the_exact_colours():
    """A palette of 128 had turned the baseline's orange into a grey brown."""
    for palette in (figures.GATE_COLOURS, figures.HEAD_COLOURS, figures.PROTOCOL_COLOURS):
        assert set(palette.values()) <= seen(ROOT / "book" / "00_start_here.ipynb")
    assert set(figures.GATE_COLOURS.values()) <= seen(ROOT / "book" / "06_lstm_gates.ipynb")
    heads = ("context_lstm", "context_lstm_no_pool", "context_lstm_bn_relu")
    assert {figures.HEAD_COLOURS[head] for head in heads} <= seen(ROOT / "book" / "11_ablation.ipynb")


def test_a_small_png_keeps_what_is_drawn():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)  # a photograph of 4,800 colours
    pixels[:30] = np.array([[0, 0x72, 0xB2]])  # and a face of one colour
    pixels[30:32, :40] = np.array([[0xD5, 0x5E, 0]])  # and a line
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    small = notebooks.small_png(base64.b64encode(buffer.getvalue()).decode())
    with Image.open(io.BytesIO(base64.b64decode(small))) as image:
        assert image.mode == "P"
        after = np.asarray(image.convert("RGB")).astype(int)
    assert (after[:30] == pixels[:30]).all()
    assert (after[30:32, :40] == pixels[30:32, :40]).all()
    assert np.abs(after - pixels).mean() < 25
    assert len(small) < len(buffer.getvalue())


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
    assert "holds outputs of code other" in staleness.stale(pair, small)[0]


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


@pytest.mark.parametrize("source", CHAPTERS + SHEETS, ids=lambda path: path.stem)
def test_code_fits_a_page(source):
    lines = [
        line
        for cell in notebooks.read(source).cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
    ]
    assert [line for line in lines if len(line) > 88] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_notebook_has_the_name_of_a_library(source):
    """In JupyterLab a notebook's folder comes first on the path: its .py would be imported instead."""
    assert importlib.util.find_spec(source.stem) is None


@pytest.mark.parametrize("source", RUNS, ids=lambda path: path.stem)
def test_a_run_has_one_parameters_cell(source):
    assert [cell.metadata.get("tags") for cell in notebooks.read(source).cells].count(["parameters"]) == 1


@pytest.mark.parametrize("source", RUNS, ids=lambda path: path.stem)
def test_of_the_runs_only_the_report_keeps_outputs(source):
    """The others are run by papermill, with parameters, into files of their own."""
    cells = nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells
    assert any(cell.get("outputs") for cell in cells) == (source.stem == "report")


def test_the_command_pairs_checks_and_names_old_outputs(tmp_path, monkeypatch, capsys):
    source = tmp_path / "a.py"
    source.write_text("# %%\nprint(1)\n", encoding="utf-8")

    def status(command: str) -> int:
        monkeypatch.setattr("sys.argv", ["notebooks", command, str(source)])
        return notebooks.main()

    assert status("check") == 1
    assert "missing" in capsys.readouterr().out
    assert status("pair") == status("check") == 0
    pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    pair.cells[0].outputs = [nbformat.v4.new_output("stream", text="1")]
    notebooks.write(pair, source.with_suffix(".ipynb"))
    assert status("check") == 1
    assert "does not say which code" in capsys.readouterr().out


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


def test_a_table_is_kept_once(tmp_path):
    """pandas gives a table as HTML and as text, a Series as text alone."""
    source = tmp_path / "a.py"
    source.write_text(
        "# %%\nimport pandas as pd\npd.DataFrame({'top1': [0.9]})\n\n# %%\npd.Series([0.9])\n", "utf-8"
    )
    table, series = (
        cell.outputs[0].data for cell in nbformat.read(notebooks.render(source), as_version=4).cells
    )
    assert set(table) == {"text/html"}
    assert "<td>0.9</td>" in table["text/html"]
    assert series == {"text/plain": "0    0.9\ndtype: float64"}


def test_what_did_not_change_is_rendered_the_same(tmp_path):
    """pandas names a styled table at random, an object's address is another in every process, output comes in parts."""
    source = tmp_path / "a.py"
    cell = "pd.DataFrame({'top1': [0.9]}).style"
    printing = "for k in range(3):\n    print(k, flush=True)\n    time.sleep(0.2)"
    source.write_text(
        f"# %%\nimport pandas as pd\nimport time\n{cell}\n\n# %%\n{cell}\n\n# %%\n{printing}\n", "utf-8"
    )
    first = notebooks.render(source).read_text(encoding="utf-8")
    assert notebooks.render(source).read_text(encoding="utf-8") == first
    tables = [cell["outputs"][0]["data"] for cell in nbformat.reads(first, as_version=4).cells[:2]]
    for number, table in enumerate(tables):
        assert table["text/plain"] == "<pandas.io.formats.style.Styler>"
        assert f'<table id="T_{number:05d}"' in table["text/html"]
        assert f'id="T_{number:05d}_row0_col0"' in table["text/html"]
        (row,) = [line for line in table["text/html"].splitlines() if "_row0_col0" in line]
        assert row.strip().startswith("<tr>")
        assert row.endswith("</tr>")
    assert [output["text"] for output in nbformat.reads(first, as_version=4).cells[2]["outputs"]] == [
        "0\n1\n2\n"
    ]


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
