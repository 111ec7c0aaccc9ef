"""The classroom: exercises released without their solutions, and graded, by nbgrader.

    python -m book.tools.exercises release                 make book/exercises/release from book/exercises/source
    python -m book.tools.exercises grade FOLDER NAME...    grade FOLDER/STUDENT/NAME/NAME.ipynb; prints a table as CSV
    python -m book.tools.exercises demo [NAME...]          grade three made-up submissions, as a table

`source/NAME/NAME.py` is written by hand, with solutions and hidden tests; its .ipynb and everything in `release/`
are made from it. book/teachers.md says how to hand out, collect and grade.
"""

import argparse
import math
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import nbformat
import pandas as pd
import psutil
from nbformat import NotebookNode

from book.tools import notebooks

FOLDER = Path(__file__).parents[1] / "exercises"
COLUMNS = ["student", "exercises", "points", "of", "reason"]
LIMIT = 300.0  # seconds for one student's sheet, including the start of its process and kernel
STUDENT = "student"  # nbgrader's name for each of them: names of people need not be valid names of folders


def names(folder: Path = FOLDER) -> list[str]:
    """The exercise notebooks' names, in the order of the chapters."""
    return sorted(path.parent.name for path in (folder / "source").glob("*/*.py"))


def source(name: str, folder: Path = FOLDER) -> NotebookNode:
    """The notebook with solutions, made from its .py; ValueError if nbgrader could not grade it."""
    path = folder / "source" / name / f"{name}.py"
    notebook = notebooks.read(path)
    if not any(mark["grade"] for mark in _marks(notebook)):
        raise ValueError(f"{path} has no graded cell: give its test cells nbgrader metadata with points")
    if twice := _twice(notebook):
        raise ValueError(f"{path}: the grade_id {twice[0]!r} stands twice; each cell needs one of its own")
    return notebook


def _marks(notebook: NotebookNode) -> list[dict]:
    """nbgrader's metadata of the cells that have it."""
    marks = [cell.metadata.get("nbgrader") for cell in notebook.cells]
    return [mark for mark in marks if isinstance(mark, dict) and "grade_id" in mark]


def _twice(notebook: NotebookNode) -> list[str]:
    ids = [mark["grade_id"] for mark in _marks(notebook)]
    return sorted({grade_id for grade_id in ids if ids.count(grade_id) > 1})


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


def grade(
    submissions: Mapping[str, Mapping[str, NotebookNode | Path]], folder: Path = FOLDER, limit: float = LIMIT
) -> pd.DataFrame:
    """Grade a class: {student: {name: notebook or its path}} -> one row per student and exercise notebook.

    Columns student, exercises (the notebook's name), points, of (the maximum), reason. The source's tests
    decide, hidden ones included: whatever a student changed or deleted in the tests is restored. Each
    notebook is graded in a process and a course folder of its own, so that none can stop the others or touch
    them. One that cannot be graded has no points (NaN) and a reason: "no submission", "cell id 'x' stands
    twice", "the kernel died" ...; otherwise the reason is empty. A notebook that one student handed in is
    expected from all.

    Args:
        submissions: each student's notebooks, or the files that should hold them.
        folder: the folder with `source/`.
        limit: seconds for one notebook; a slower one is stopped, and the reason says so.

    Raises:
        ValueError: a name that is not an exercise notebook.
    """
    wanted = sorted({name for handed_in in submissions.values() for name in handed_in})
    if unknown := set(wanted) - set(names(folder)):
        raise ValueError(_unknown(unknown, folder))
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        course, own = Path(scratch) / "course", Path(scratch) / "own"
        with _grader(course) as grader:
            for name in wanted:
                _released(grader, course, name, source(name, folder))
        for student, handed_in in submissions.items():
            for name in wanted:
                sheet, points = source(name, folder), math.nan
                notebook, reason = _checked(handed_in.get(name), sheet)
                if notebook is not None:
                    shutil.copytree(course, own)
                    notebooks.write(notebook, own / "submitted" / STUDENT / name / f"{name}.ipynb")
                    points, reason = _autograded(own, name, limit)
                    shutil.rmtree(own, ignore_errors=True)
                of = sum(mark["points"] for mark in _marks(sheet) if mark["grade"])
                rows.append((student, name, points, float(of), reason))
    return pd.DataFrame(rows, columns=COLUMNS)


def _unknown(unknown: Iterable[str], folder: Path = FOLDER) -> str:
    return f"there are no exercises {', '.join(sorted(unknown))}: choose from {', '.join(names(folder))}"


def _checked(handed_in: NotebookNode | Path | None, sheet: NotebookNode) -> tuple[NotebookNode | None, str]:
    """The notebook if nbgrader can grade it as `sheet`, else None and the reason."""
    if handed_in is None or (isinstance(handed_in, Path) and not handed_in.is_file()):
        return None, "no submission"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # reading repairs fields that are missing or duplicate for Jupyter alone
            notebook = nbformat.read(handed_in, as_version=4) if isinstance(handed_in, Path) else handed_in
            nbformat.validate(notebook)
    except Exception:  # nbformat passes on whatever Python raises if the JSON is something else
        return None, "not a notebook"
    if twice := _twice(notebook):
        return None, f"cell id {twice[0]!r} stands twice"
    expected = {mark["grade_id"] for mark in _marks(sheet)}
    if not expected & {mark["grade_id"] for mark in _marks(notebook)}:
        return None, "not this sheet: it has none of its cells"
    return notebook, ""


def _autograded(course: Path, name: str, limit: float) -> tuple[float, str]:
    """Points, or the reason why there are none, from a process of its own, which has `limit` seconds."""
    spawn = multiprocessing.get_context("spawn")
    answer, question = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_autograde, args=(course, name, question))
    process.start()
    question.close()  # else the end of the process would not be noticed
    try:
        return answer.recv() if answer.poll(limit) else (math.nan, f"timed out after {limit:g} s")
    except EOFError:
        return math.nan, "the grading process died"
    finally:
        _end(process.pid)
        process.join()


def _end(pid: int | None) -> None:
    """Kill a process and its children: a kernel would go on with an endless loop."""
    try:
        process = psutil.Process(pid)
        running = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for each in running:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            pass


def _autograde(course: Path, name: str, question: Connection) -> None:
    """Send points and reason for the notebook `name` in `course`."""
    with _grader(course) as grader:
        result = grader.autograde(name, STUDENT)
        if not result["success"]:
            question.send((math.nan, _reason(f"{result.get('log', '')}\n{result.get('error', '')}")))
            return
        with grader.gradebook as book:
            question.send((float(book.find_submission(name, STUDENT).score), ""))


def _reason(log: str) -> str:
    if "DeadKernelError" in log:
        return "the kernel died"
    raised = re.findall(
        r"^ *((?!nbgrader\S*NbGraderException)[\w.]*(?:Error|Exception)\b.*)", log, flags=re.M
    )
    return f"nbgrader cannot grade it: {raised[0] if raised else 'it gives no reason'}"


def collected(folder: Path, which: Iterable[str]) -> dict[str, dict[str, Path]]:
    """Each student's notebooks in nbgrader's layout, `folder/STUDENT/NAME/NAME.ipynb`, existing or not.

    Raises:
        NotADirectoryError: `folder` holds no student's folder.
    """
    students = sorted(path for path in folder.glob("*/") if not path.name.startswith("."))
    if not students:
        raise NotADirectoryError(
            f"{folder} holds no student's folder: put each notebook into STUDENT/NAME/NAME.ipynb there"
        )
    return {path.name: {name: path / name / f"{name}.ipynb" for name in which} for path in students}


def partly_solved(name: str, keep: Callable[[str], bool], folder: Path = FOLDER) -> NotebookNode:
    """The released notebook, with solutions filled in for the cells whose grade_id `keep` accepts."""
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
    """nbgrader on a course folder of its own, with its helper program, alembic, found beside this Python."""
    from nbgrader.apps import NbGraderAPI
    from sqlalchemy.exc import SAWarning
    from traitlets.config import Config

    config = Config()
    config.Execute.extra_arguments = ["--log-level=ERROR"]  # of the kernels
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.course_id = "context-lstm"
    config.OverwriteCells.add_missing_cells = True  # restores a deleted test
    config.NbGrader.logfile = config.Exchange.root = ""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # nbgrader's own use of its database
            yield NbGraderAPI(config=config)
    finally:
        os.environ["PATH"] = before


def _released(grader, course: Path, name: str, notebook: NotebookNode) -> NotebookNode:
    """Hand `notebook` to nbgrader as assignment `name` and return what it releases."""
    notebooks.write(notebook, course / "source" / name / f"{name}.ipynb")
    _done(grader.generate_assignment(name), f"releasing {name}")
    return nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)


def _done(result: dict, what: str) -> None:
    if not result["success"]:
        lines = (result.get("error") or result.get("log") or "").strip().splitlines()
        raise RuntimeError(f"{what} failed: {lines[-1] if lines else 'nbgrader gives no reason'}")


def main() -> int:
    """The command line shown in the module's docstring; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.exercises", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("release", help="make the notebooks to hand out")
    grading = commands.add_parser("grade", help="grade a class; prints a table as CSV")
    grading.add_argument("folder", type=Path, help="holds STUDENT/NAME/NAME.ipynb")
    grading.add_argument("names", nargs="+", help="exercise notebooks")
    grading.add_argument("--limit", type=float, default=LIMIT, help="seconds for one notebook")
    demonstration = commands.add_parser("demo", help="grade a made-up class of three")
    demonstration.add_argument("names", nargs="*", help="exercise notebooks (default: all)")
    arguments = parser.parse_args()
    if arguments.command == "release":
        for path in release():
            print(path.relative_to(FOLDER.parents[1]))
        return 0
    if unknown := set(arguments.names) - set(names()):
        parser.error(_unknown(unknown))
    if arguments.command == "grade":
        try:
            submissions = collected(arguments.folder, arguments.names)
        except NotADirectoryError as error:
            parser.error(str(error))
        grade(submissions, limit=arguments.limit).to_csv(sys.stdout, index=False)
        return 0
    graded = demo(arguments.names or names())
    table = graded.pivot(index="exercises", columns="student", values="points")
    table["of"] = graded.groupby("exercises")["of"].first()
    table.loc["sum"] = table.sum()
    print(table.to_string(float_format="%.0f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
