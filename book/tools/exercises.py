"""The classroom: exercises released from their solutions, and graded, by nbgrader.

    python -m book.tools.exercises release    make book/exercises/release from book/exercises/source
    python -m book.tools.exercises demo       grade three made-up submissions, to a table

`source/NAME/NAME.py` is written by hand, with solutions and hidden tests; its .ipynb and everything in `release/`
are made from it. book/teachers.md says how to hand out, collect and grade.
"""

import argparse
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode

from book.tools import notebooks

FOLDER = Path(__file__).parents[1] / "exercises"
COLUMNS = ["student", "exercises", "points", "of"]


def names(folder: Path = FOLDER) -> list[str]:
    """The exercise notebooks' names, in the order of the chapters."""
    return sorted(path.parent.name for path in (folder / "source").glob("*/*.py"))


def source(name: str, folder: Path = FOLDER) -> NotebookNode:
    """The notebook with solutions, made from its .py; ValueError where nbgrader could not grade it."""
    path = folder / "source" / name / f"{name}.py"
    notebook = notebooks.read(path)
    marks = [cell.metadata["nbgrader"] for cell in notebook.cells if "nbgrader" in cell.metadata]
    ids = [mark["grade_id"] for mark in marks]
    if not any(mark["grade"] for mark in marks):
        raise ValueError(f"{path} has no graded cell: give its test cells nbgrader metadata with points")
    if twice := sorted({grade_id for grade_id in ids if ids.count(grade_id) > 1}):
        raise ValueError(f"{path}: the grade_id {twice[0]!r} stands twice; each cell needs one of its own")
    return notebook


def release(folder: Path = FOLDER) -> list[Path]:
    """Make `source/NAME/NAME.ipynb` and `release/NAME/NAME.ipynb` for every `source/NAME/NAME.py`.

    A release is the source without its solutions and hidden tests. Returns the released notebooks' paths.
    """
    out = folder / "release"
    with tempfile.TemporaryDirectory() as course, _grader(Path(course)) as grader:
        released = {
            name: _released(grader, Path(course), name, source(name, folder)) for name in names(folder)
        }
    for name, notebook in released.items():
        notebooks.write(source(name, folder), folder / "source" / name / f"{name}.ipynb")
        notebooks.write(notebook, out / name / f"{name}.ipynb")
    return [out / name / f"{name}.ipynb" for name in released]


def grade(submissions: Mapping[str, Mapping[str, NotebookNode]], folder: Path = FOLDER) -> pd.DataFrame:
    """Grade notebooks as a teacher would: {student: {name: notebook}} -> a row a student and notebook.

    Columns student, exercises (the notebook's name), points, of (what can be reached). Graded is what the tests of
    the source say, hidden ones included: changes of a student to the tests are undone.
    """
    wanted = sorted({name for handed_in in submissions.values() for name in handed_in})
    rows = []
    with tempfile.TemporaryDirectory() as course, _grader(Path(course)) as grader:
        for name in wanted:
            _released(grader, Path(course), name, source(name, folder))
        for student, handed_in in submissions.items():
            for name, notebook in handed_in.items():
                notebooks.write(notebook, Path(course) / "submitted" / student / name / f"{name}.ipynb")
                _done(grader.autograde(name, student), f"grading {name} of {student}")
                with grader.gradebook as book:
                    result = book.find_submission(name, student)
                    rows.append((student, name, result.score, result.max_score))
    return pd.DataFrame(rows, columns=COLUMNS)


def partly_solved(name: str, keep: Callable[[str], bool], folder: Path = FOLDER) -> NotebookNode:
    """The released notebook with the solutions of those cells filled in whose grade_id `keep` says yes to."""
    notebook = nbformat.read(folder / "release" / name / f"{name}.ipynb", as_version=4)
    solved = {
        cell.metadata["nbgrader"]["grade_id"]: cell.source
        for cell in source(name, folder).cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in solved and keep(grade_id):
            cell.source = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", solved[grade_id], flags=re.M)
    return notebook


def demo(which: Iterable[str], folder: Path = FOLDER) -> pd.DataFrame:
    """A class of three: one solved everything, one every second exercise, one handed in the notebooks untouched."""
    which = list(which)
    order = {
        name: [c.metadata["nbgrader"]["grade_id"] for c in source(name, folder).cells if _is_solution(c)]
        for name in which
    }
    made_up = {
        "ada": lambda name: lambda grade_id: True,
        "ben": lambda name: lambda grade_id: order[name].index(grade_id) % 2 == 0,
        "eve": lambda name: lambda grade_id: False,
    }
    submissions = {
        student: {name: partly_solved(name, keep(name), folder) for name in which}
        for student, keep in made_up.items()
    }
    return grade(submissions, folder)


def _is_solution(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("solution", False)


@contextmanager
def _grader(course: Path):
    """nbgrader on a course folder of its own; it finds its helper program, alembic, beside this Python."""
    from nbgrader.apps import NbGraderAPI
    from sqlalchemy.exc import SAWarning
    from traitlets.config import Config

    config = Config()
    config.Execute.extra_arguments = ["--log-level=ERROR"]  # of the kernels
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.course_id = "context-lstm"
    config.NbGrader.logfile = config.Exchange.root = ""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # nbgrader's own use of its data base
            yield NbGraderAPI(config=config)
    finally:
        os.environ["PATH"] = before


def _released(grader, course: Path, name: str, notebook: NotebookNode) -> NotebookNode:
    """Hand `notebook` to nbgrader as assignment `name`; what it releases."""
    notebooks.write(notebook, course / "source" / name / f"{name}.ipynb")
    _done(grader.generate_assignment(name), f"releasing {name}")
    return nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)


def _done(result: dict, what: str) -> None:
    if not result["success"]:
        lines = (result.get("error") or result.get("log") or "").strip().splitlines()
        raise RuntimeError(f"{what} failed: {lines[-1] if lines else 'nbgrader gives no reason'}")


def main() -> int:
    """Command line, as the module's first lines say; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.exercises", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["release", "demo"])
    parser.add_argument("names", nargs="*", help="exercise notebooks (demo; default: all)")
    arguments = parser.parse_args()
    if arguments.command == "release":
        for path in release():
            print(path.relative_to(FOLDER.parents[1]))
        return 0
    if unknown := set(arguments.names) - set(names()):
        parser.error(f"there are no exercises {', '.join(sorted(unknown))}: choose from {', '.join(names())}")
    graded = demo(arguments.names or names())
    table = graded.pivot(index="exercises", columns="student", values="points")
    table["of"] = graded.groupby("exercises")["of"].first()
    table.loc["sum"] = table.sum()
    print(table.to_string(float_format="%.0f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
