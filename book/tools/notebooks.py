"""Notebook pairs: NAME.py (py:percent, the source) and NAME.ipynb (made from it, the only place of outputs).

    python -m book.tools.notebooks render papermill_runs/reproduce.py    make and run the .ipynb, keep its outputs
    python -m book.tools.notebooks check papermill_runs/reproduce.py     compare the pair, and its outputs' code with today's

Pairs are compared by what their cells say, never by time stamps, which git does not keep.
"""

import argparse
import base64
import io
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from book.tools import staleness
from ctxlstm.support.files import written

WIDGET = "application/vnd.jupyter.widget-view+json"
KEPT = ("tags", "nbgrader")  # metadata of a cell that belongs to its source


def read(source: Path) -> NotebookNode:
    """The notebook of a .py source, without outputs; cell ids follow from positions, so that they never differ."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        cell["metadata"] = {key: value for key, value in cell.metadata.items() if key in KEPT}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def differences(source: Path) -> list[str]:
    """How the .ipynb beside `source` differs from it, one sentence a difference; empty if they say the same."""
    pair = source.with_suffix(".ipynb")
    if not pair.is_file():
        return [f"{pair} is missing: make render"]
    ours, theirs = read(source).cells, nbformat.read(pair, as_version=4).cells
    if len(ours) != len(theirs):
        return [f"{pair} has {len(theirs)} cells, {source.name} has {len(ours)}: make render"]
    return [
        f"{pair}: cell {number} differs from {source.name}: make render"
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if _content(a) != _content(b)
    ]


def _content(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.source, {key: cell.metadata[key] for key in KEPT if key in cell.metadata}


def execute(source: Path) -> NotebookNode:
    """The notebook of `source`, run in its folder from a fresh kernel; CellExecutionError where a cell fails.

    Kept are pictures, tables and what cells print; dropped are progress bars (stderr), times, and widgets, which say
    nothing without a kernel.
    """
    notebook = read(source)
    staleness.stamp(notebook)  # before it runs: code that changes meanwhile makes it stale
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(source.parent)}}).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _transient(output)]
            for data in (output["data"] for output in cell.outputs if "data" in output):
                if "image/png" in data:
                    data["image/png"] = _small_png(data["image/png"])
    return notebook


def _transient(output: NotebookNode) -> bool:
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def render(source: Path) -> Path:
    """Make the .ipynb of `source`, with the outputs of `execute`; nothing is written if a cell fails."""
    return write(execute(source), source.with_suffix(".ipynb"))


def write(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook, whole or not at all, and return the path."""
    with written(path) as part:
        nbformat.write(notebook, part)
    return path


def _small_png(text: str) -> str:
    """A base64 PNG with a palette of 128 colours, a third of the bytes: drawings have no more."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return min(text, base64.b64encode(small.getvalue()).decode() + "\n", key=len)


def main() -> int:
    """Command line, as the module's first lines say; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.notebooks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["render", "check"])
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "render":
        for source in arguments.sources:
            print(render(source))
        return 0
    found = [
        line
        for source in arguments.sources
        for line in differences(source) or staleness.stale(source.with_suffix(".ipynb"))
    ]
    print("\n".join(found) or "all pairs agree, and all outputs are of today's code")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
