"""The house: how much lies where, what may be seen from outside, and that importing the package costs nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ctxlstm

PACKAGE = Path(ctxlstm.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = (
    "gates.py",
    "models/context_lstm.py",
    "models/stage.py",
    "models/layers.py",
    "models/cnn_lstm.py",
    "training/loop.py",
)


def test_the_package_is_a_few_files_and_rooms():
    assert sum(1 for _ in PACKAGE.glob("*.py")) <= 10
    assert sum(1 for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))) <= 11


def test_the_core_that_a_student_reads_is_short():
    assert sum(len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in CORE) <= 850


def private_imports(path: Path) -> Iterator[str]:
    """Names with a leading underscore that a module takes from another one of the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ctxlstm"):
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_says_what_it_is_and_takes_no_private_name(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert list(private_imports(path)) == []


def test_a_private_import_would_be_seen(tmp_path):
    (tmp_path / "module.py").write_text("from ctxlstm.gates import LSTM, _walk\n", encoding="utf-8")
    assert list(private_imports(tmp_path / "module.py")) == ["_walk"]


@pytest.mark.parametrize("name", ctxlstm.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ctxlstm, name) is not None


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, ctxlstm; print(*sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ctxlstm.nothing
