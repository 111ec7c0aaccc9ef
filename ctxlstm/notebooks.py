"""Notebook pairs: NAME.py (py:percent, the source) and NAME.ipynb (made from it, the only place of outputs).

    python -m ctxlstm.notebooks render papermill_runs/reproduce.py    make and run the .ipynb, keep its outputs
    python -m ctxlstm.notebooks check papermill_runs/reproduce.py     compare the pair by content

Pairs are compared by what their cells say, never by time stamps, which git does not keep.
"""

import argparse
import base64
import io
import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook of a .py source, without outputs; cell ids follow from positions, so that they never differ."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        cell["metadata"] = {key: value for key, value in cell.metadata.items() if key == "tags"}
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
        if (a.cell_type, a.source, a.metadata.get("tags")) != (b.cell_type, b.source, b.metadata.get("tags"))
    ]


def render(source: Path) -> Path:
    """Make the .ipynb of `source` and run it in its folder; nothing is written if a cell fails.

    Kept are pictures, tables and what cells print; dropped are progress bars (stderr), widget state and times.
    """
    notebook = read(source)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(source.parent)}}).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for data in (output["data"] for output in cell.outputs if "data" in output):
                if "image/png" in data:
                    data["image/png"] = _small_png(data["image/png"])
    pair = source.with_suffix(".ipynb")
    part = pair.with_suffix(".part")
    nbformat.write(notebook, part)
    os.replace(part, pair)
    return pair


def _small_png(text: str) -> str:
    """A base64 PNG with a palette of 128 colours, a third of the bytes: drawings have no more."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return min(text, base64.b64encode(small.getvalue()).decode() + "\n", key=len)


def main() -> int:
    """Command line, as the module's first lines say; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ctxlstm.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["render", "check"])
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "render":
        for source in arguments.sources:
            print(render(source))
        return 0
    found = [line for source in arguments.sources for line in differences(source)]
    print("\n".join(found) or "all pairs agree")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
