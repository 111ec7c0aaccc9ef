"""Tell whether the outputs of a committed notebook come from today's code, without running it.

`make render` writes a digest of what it ran into the notebook's metadata: the notebook's code cells, and the
source of every ctxlstm module that they import, directly or indirectly. Comments, docstrings and layout do
not count, so rewording them makes nothing stale. Data and run records do not count either.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
KEY = "source_sha256"
# Fields of a syntax tree that say how something was written, or that only some versions of Python have.
IGNORED = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}


def digest(notebook: NotebookNode, root: Path = ROOT) -> str:
    """SHA-256 of a notebook's code and of the ctxlstm modules under `root` that it reaches.

    Raises SyntaxError if Python cannot parse one of them.
    """
    cells = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    files = _reached(cells, root)
    parts = [f"cell {_plain(cell)}" for cell in cells]
    parts += [f"{path.relative_to(root).as_posix()} {_said(text)}" for path, text in sorted(files.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def stamp(notebook: NotebookNode, root: Path = ROOT) -> None:
    """Write the digest into the metadata of a notebook that is about to be run."""
    notebook.metadata["ctxlstm"] = {KEY: digest(notebook, root)}


def stale(pair: Path, root: Path = ROOT) -> list[str]:
    """One sentence if the outputs of the .ipynb `pair` are not known to come from today's code, else none."""
    notebook = nbformat.read(pair, as_version=4)
    stamped = notebook.metadata.get("ctxlstm", {}).get(KEY)
    if stamped is None:
        return [f"{pair} does not say which code its outputs come from: run make render"]
    if stamped != digest(notebook, root):
        return [f"{pair} holds outputs of code other than today's: run make render"]
    return []


@cache  # all chapters reach the same modules
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _said(text: str) -> str:
    return _plain(_parsed(text))


def _reached(trees: list[ast.Module], root: Path) -> dict[Path, str]:
    """The files of ctxlstm that `trees` import, directly or indirectly, with their texts."""
    found: dict[Path, str] = {}
    waiting = [path for tree in trees for path in _imports(tree, (), root)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = path.read_text(encoding="utf-8")
        # ctxlstm/__init__.py imports names on first use: `_files` follows them.
        if path != root / "ctxlstm" / "__init__.py":
            package = path.relative_to(root).with_suffix("").parts[:-1]
            waiting += _imports(_parsed(found[path]), package, root)
    return found


def _imports(tree: ast.Module, package: tuple[str, ...], root: Path) -> Iterator[Path]:
    """The files that the imports in `tree`, a module of `package`, lead to; imports inside functions count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(tuple(alias.name.split(".")), root)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = start + tuple((node.module or "").split(".") if node.module else ())
            for alias in node.names:
                yield from _files((*module, alias.name), root)


def _files(name: tuple[str, ...], root: Path) -> Iterator[Path]:
    """The files that importing the dotted name runs: its packages', and its own if it is a module."""
    if name[0] != "ctxlstm":
        return
    for length in range(1, len(name) + 1):
        place = root.joinpath(*name[:length])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path
    if len(name) == 2 and name[1] in (face := _face(root)):
        yield from _files(face[name[1]], root)


def _face(root: Path) -> dict[str, tuple[str, ...]]:
    """Where each name that `from ctxlstm import ...` gives comes from."""
    tree = ast.parse((root / "ctxlstm" / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: (*node.module.split("."), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ctxlstm")
        for alias in node.names
    }


def _plain(node: object) -> str:
    """A syntax tree as text, the same in all versions of Python, unlike `ast.dump` and `ast.unparse`."""
    if isinstance(node, list):
        return "[" + ",".join(map(_plain, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    said = [f"{k}={_plain(v)}" for k, v in fields.items() if k not in IGNORED and v is not None and v != []]
    if isinstance(node, ast.Constant) and node.value is None:
        said = ["value=None"]
    return f"{type(node).__name__}({','.join(said)})"
