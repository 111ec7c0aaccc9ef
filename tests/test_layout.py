"""The house: how much lies where, what may be seen from outside, and that importing the package costs nothing."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ctxlstm

PACKAGE = Path(ctxlstm.__file__).parent
ROOT = Path(__file__).parents[1]
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


CLASHES = {  # the name is taken where it is imported, by a function, a parameter or another import
    "ctxlstm/__init__.py": {"extract as extract_features", "load as load_features"},
    "ctxlstm/classroom/__init__.py": {"load as load_backbone", "load as load_features"},
    "ctxlstm/features/__init__.py": {"load as load_backbone"},
    "ctxlstm/training/trainer.py": {"checkpoint as checkpoints"},
}
HOUSE = [
    *MODULES,
    *(
        path
        for room in ("book", "benchmarks", "papermill_runs")
        for path in (ROOT / room).rglob("*.py")
        if "_build" not in path.parts
    ),
]


def renamed(path: Path) -> Iterator[str]:
    """Modules and names of the package that a file imports under another name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                whole = f"{getattr(node, 'module', '')}.{alias.name}".lstrip(".")
                if whole.startswith("ctxlstm") and alias.asname not in (None, alias.name):
                    yield f"{alias.name} as {alias.asname}"


def test_every_name_of_the_package_is_the_same_everywhere():
    found = {path.relative_to(ROOT).as_posix(): set(renamed(path)) for path in HOUSE}
    assert {name: names for name, names in found.items() if names} == CLASHES


def test_another_name_would_be_seen(tmp_path):
    lines = "import ctxlstm.gates as g\nfrom ctxlstm import video as video, ucf101 as u\nimport numpy as np\n"
    (tmp_path / "module.py").write_text(lines, encoding="utf-8")
    assert list(renamed(tmp_path / "module.py")) == ["ctxlstm.gates as g", "ucf101 as u"]


def imported_tests(path: Path) -> list[str]:
    """Test modules that a file imports, or a program that is written in it as a string."""
    return re.findall(r"\b(?:from|import)\s+(?:tests\.)?(test_\w+)", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_module_is_imported(path):
    """What several need is in helpers.py, small.py and synthetic.py."""
    assert imported_tests(path) == []


def test_an_imported_test_module_would_be_seen(tmp_path):
    lines = [f"{word} {name}" for word, name in (("from", "test_a import b"), ("import", "test_c as t"))]
    (tmp_path / "module.py").write_text(f"{lines[0]}\nPROGRAM = '{lines[1]}'\n", encoding="utf-8")
    assert imported_tests(tmp_path / "module.py") == ["test_a", "test_c"]


@pytest.mark.parametrize("name", ctxlstm.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ctxlstm, name) is not None


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, ctxlstm, ctxlstm.training; print(*sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ctxlstm.nothing


def test_a_training_of_one_process_imports_no_accelerate():
    code = "import sys, ctxlstm.training.trainer; print('accelerate' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
