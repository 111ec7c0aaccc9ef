"""Notebook pairs: NAME.py (py:percent, the source) and NAME.ipynb (made from it, the only one with outputs).

    python -m book.tools.notebooks render book/06_lstm_gates.py          make and run the .ipynb, keep its outputs
    python -m book.tools.notebooks pair papermill_runs/reproduce.py      make the .ipynb, without outputs
    python -m book.tools.notebooks check papermill_runs/reproduce.py     compare the pair, and its outputs' code with today's

Pairs are compared by the contents of their cells, never by time stamps, which git does not keep.
"""

import argparse
import base64
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
import numpy as np
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
    """How the .ipynb beside `source` differs from it, one sentence per difference; empty if they agree."""
    pair = source.with_suffix(".ipynb")
    if not pair.is_file():
        return [f"{pair} is missing: run make render"]
    ours, theirs = read(source).cells, nbformat.read(pair, as_version=4).cells
    if len(ours) != len(theirs):
        return [f"{pair} has {len(theirs)} cells, {source.name} has {len(ours)}: run make render"]
    return [
        f"{pair}: cell {number} differs from {source.name}: run make render"
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if _content(a) != _content(b)
    ]


def _content(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.source, {key: cell.metadata[key] for key in KEPT if key in cell.metadata}


def execute(source: Path) -> NotebookNode:
    """The notebook of `source`, run in its folder in a fresh kernel; CellExecutionError if a cell fails.

    Pictures, tables and printed text are kept; progress bars (stderr), times and widgets, which show nothing
    without a kernel, are dropped.
    """
    notebook = read(source)
    staleness.stamp(notebook)  # before it runs: code that changes meanwhile makes it stale
    where = {"metadata": {"path": str(source.parent)}}
    NotebookClient(notebook, timeout=900, coalesce_streams=True, resources=where).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _transient(output)]
            for data in (output["data"] for output in cell.outputs if "data" in output):
                if "image/png" in data:
                    data["image/png"] = small_png(data["image/png"])
    describe(notebook)
    settle(notebook)
    return notebook


def settle(notebook: NotebookNode) -> None:
    """Replace what differs in every run and says nothing: addresses of objects, and pandas' random ids of tables.

    A row of a table becomes one line: pandas gives each cell its own, and a notebook pays for every line. The table
    once more as plain text, which no page shows, is dropped.
    """
    names: dict[str, str] = {}
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        if "text/plain" in data:
            data["text/plain"] = re.sub(r" at 0x[0-9a-f]{6,}", "", data["text/plain"])
        for name in re.findall(r'<table id="(T_[0-9a-f]{5})"', data.get("text/html", "")):
            names[name] = f"T_{len(names):05d}"
            data["text/html"] = data["text/html"].replace(name, names[name])
        if "text/html" in data:
            data["text/html"] = re.sub(r"\n\s*(?=<(t[hd][ >]|/tr>))", "", data["text/html"])
            if "\n" in data.get("text/plain", ""):
                del data["text/plain"]


def describe(notebook: NotebookNode) -> None:
    """Give every picture an alt text: the sentences that explain it, else those that announce it.

    It goes into the output's metadata, for other programs, and into the cell's, where the HTML book looks for
    it.
    """
    for number, cell in enumerate(notebook.cells):
        pictures = [output for output in cell.get("outputs", []) if picture(output)]
        if not pictures:
            continue
        words = reading(notebook.cells[number + 1 :]) or _announced(notebook.cells[:number])
        alt = re.sub(r"\s+", " ", re.sub(r"\]\([^)]*\)|[\[*`$\\{}]", "", words)).strip()
        cell.metadata["mystnb"] = {"image": {"alt": alt}}
        for output in pictures:
            output.setdefault("metadata", {})[picture(output)] = {"alt": alt}


def picture(output: NotebookNode) -> str:
    """The kind of picture that an output holds, "image/png" or "image/svg+xml"; empty if it holds none."""
    return next((kind for kind in ("image/png", "image/svg+xml") if kind in output.get("data", {})), "")


def reading(following: Sequence[NotebookNode]) -> str:
    """The first two sentences after "What you see:" in the text that follows a figure, up to the next figure."""
    for cell in following:
        if any(picture(output) for output in cell.get("outputs", [])):
            return ""
        found = re.search(r"What you see[^:.]*:\*?\s*(.+?)(?=\n\s*>?\s*\n|\Z)", cell.source, re.S)
        if cell.cell_type == "markdown" and found:
            words = re.sub(r"\n> ?", "\n", found[1]).strip()
            words = " ".join(re.split(r"(?<=[a-z0-9)][.!?])\s+(?=[A-Z*])", words)[:2])
            return words[:1].upper() + words[1:]
    return ""


def _announced(before: Sequence[NotebookNode]) -> str:
    """The last paragraph of the last text above a figure, skipping headings, lists and prompts."""
    texts = [cell.source for cell in before if cell.cell_type == "markdown"]
    paragraphs = [
        part.strip() for part in re.split(r"\n\s*\n", re.sub(r"<[^>]+>", "", texts[-1] if texts else ""))
    ]
    return next((part for part in reversed(paragraphs) if part and part[0] not in "#|-!"), "").lstrip("> ")


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


def problems(source: Path) -> list[str]:
    """What `check` reports: a pair that differs, or outputs that come from other code."""
    if found := differences(source):
        return found
    pair = source.with_suffix(".ipynb")
    run = any(cell.get("outputs") for cell in nbformat.read(pair, as_version=4).cells)
    return staleness.stale(pair) if run else []


def small_png(text: str, colours: int = 256) -> str:
    """A base64 PNG with a palette, a third of the bytes.

    The most common colours, those of lines and areas, stay exact; colours mixed by anti-aliasing, and those
    of photographs, become the nearest one of the palette.
    """
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        pixels = np.asarray(image.convert("RGB"))  # (H, W, 3)
    flat = pixels.reshape(-1, 3).astype(np.int32) @ [1 << 16, 1 << 8, 1]  # (H W,), one number per colour
    found, place, count = np.unique(flat, return_inverse=True, return_counts=True)
    found = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)  # (n, 3)
    kept = found[np.argsort(-count, kind="stable")[: colours * 3 // 4]] if len(found) > colours else found
    if len(found) > colours:
        rest = Image.fromarray(pixels).quantize(colours - len(kept), dither=Image.Dither.NONE).getpalette()
        kept = np.concatenate([kept, np.reshape(rest, (-1, 3))[: colours - len(kept)]])
    nearest = np.concatenate(
        [
            ((part[:, None] - kept) ** 2).sum(axis=2).argmin(axis=1)
            for part in np.array_split(found, 1 + len(found) // 4096)
        ]
    )  # (n,)
    small, out = io.BytesIO(), Image.fromarray(nearest[place].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    out.putpalette(kept.astype(np.uint8).tobytes())
    out.save(small, "PNG", optimize=True)
    return min(text, base64.b64encode(small.getvalue()).decode() + "\n", key=len)


def main() -> int:
    """The command line shown in the module's docstring; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.notebooks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["render", "pair", "check"])
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "check":
        found = [line for source in arguments.sources for line in problems(source)]
        print("\n".join(found) or "all pairs agree, and all outputs come from today's code")
        return bool(found)
    for source in arguments.sources:
        pair = source.with_suffix(".ipynb")
        print(render(source) if arguments.command == "render" else write(read(source), pair))
    return 0


if __name__ == "__main__":
    sys.exit(main())
