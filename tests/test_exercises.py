"""Exercises: released from their solutions by nbgrader; solutions reach all points, untouched stubs none."""

import copy
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from book.tools import exercises, notebooks

BOOK = Path(__file__).parents[1] / "book"
NAMES = exercises.names()
WIDGETS = re.compile(r"\b(widgets\.\w+|panel\.Panel)\(")


def marks(name: str) -> list[dict]:
    return [c.metadata["nbgrader"] for c in exercises.source(name).cells if "nbgrader" in c.metadata]


def test_every_chapter_from_1_to_13_has_exercises():
    chapters = sorted(path.stem for path in BOOK.glob("[01][0-9]_*.py"))
    assert chapters[1:14] == NAMES


@pytest.fixture(scope="module")
def released_again(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exercises")
    shutil.copytree(
        BOOK / "exercises" / "source", folder / "source", ignore=shutil.ignore_patterns("*.ipynb")
    )
    shutil.copy(BOOK / "exercises" / "jupytext.toml", folder)
    exercises.release(folder)
    return folder / "release"


@pytest.mark.parametrize("name", NAMES)
def test_release_is_what_its_source_gives(name, released_again):
    committed = BOOK / "exercises" / "release" / name / f"{name}.ipynb"
    again = released_again / name / f"{name}.ipynb"
    assert committed.read_text(encoding="utf-8") == again.read_text(encoding="utf-8"), "make exercises"
    source = BOOK / "exercises" / "source" / name / f"{name}.py"
    assert notebooks.differences(source) == []


@pytest.mark.parametrize("name", NAMES)
def test_release_holds_no_solution_no_hidden_test_and_no_output(name):
    path = BOOK / "exercises" / "release" / name / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    cells = nbformat.reads(text, as_version=4).cells
    stubs = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")]
    assert len(stubs) >= 3
    assert all("raise NotImplementedError()" in cell.source for cell in stubs)
    assert not any(cell.get("outputs") for cell in cells)
    assert sorted(p.name for p in path.parent.iterdir() if p.name != ".ipynb_checkpoints") == [path.name]


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_says_what_it_is_worth(name):
    points = sum(mark["points"] for mark in marks(name) if mark["grade"])
    intro = " ".join(exercises.source(name).cells[0].source.split())
    assert f" exercises, {points} points. Replace `# YOUR CODE HERE`" in intro
    assert "Hidden tests" in intro


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_chooses_where_figures_go(name):
    """Without a backend, the picture that a widget leaves is the text <Figure size ...>."""
    assert exercises.source(name).cells[1].source.startswith("%matplotlib inline\n")


@pytest.mark.slow
def test_a_widget_of_a_sheet_leaves_a_picture():
    notebook = exercises.source("08_cnn_lstm")
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (twin,) = (cell for cell in notebook.cells if "_figure(" in cell.source)
    assert [notebooks.picture(output) for output in twin.outputs] == ["image/png"]


@pytest.mark.parametrize("name", NAMES)
def test_exercises_use_a_widget_and_have_visible_and_hidden_checks(name):
    cells = exercises.source(name).cells
    tests = [cell.source for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert sum(mark["points"] for mark in marks(name) if mark["grade"]) >= 6
    assert len(tests) >= 3
    for test in tests:
        visible, _, hidden = test.partition("### BEGIN HIDDEN TESTS")
        assert "assert" in visible
        assert '"' in visible, "a visible check says what is wrong"
        assert "assert" in hidden
    assert any(WIDGETS.search(cell.source) for cell in cells if cell.cell_type == "code")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "06_lstm_gates" else pytest.mark.slow) for name in NAMES],
)
def test_solutions_reach_all_points_and_stubs_none(name, classroom_features):
    submissions = {
        "solved": {name: exercises.partly_solved(name, lambda grade_id: True)},
        "untouched": {name: exercises.partly_solved(name, lambda grade_id: False)},
    }
    table = exercises.grade(submissions).set_index("student")
    assert table.loc["solved", "points"] == table.loc["solved", "of"] > 0
    assert table.loc["untouched", "points"] == 0
    assert table.loc["untouched", "of"] == table.loc["solved", "of"]


EXERCISE = '''# %% [markdown]
# # Exercises

# %% nbgrader={"grade": false, "grade_id": "SOLVE", "locked": false, "schema_version": 3, "solution": true, "task": false}
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "CHECK", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert double(2) == 4, "twice 2 is 4"
### BEGIN HIDDEN TESTS
assert double(5) == 10
### END HIDDEN TESTS
'''  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module")
def small_course(tmp_path_factory) -> Path:
    """A course of one small sheet, released."""
    folder = tmp_path_factory.mktemp("course")
    source = folder / "source" / "double" / "double.py"
    source.parent.mkdir(parents=True)
    source.write_text(EXERCISE, encoding="utf-8")
    shutil.copy(BOOK / "exercises" / "jupytext.toml", folder)
    exercises.release(folder)
    return folder


def test_an_answer_made_for_the_visible_check_gets_no_points(small_course):
    cheat = exercises.partly_solved("double", lambda grade_id: False, small_course)
    cheat.cells[1].source = "def double(x):\n    return 4"
    changed = exercises.partly_solved("double", lambda grade_id: False, small_course)
    changed.cells[1].source = cheat.cells[1].source
    changed.cells[2].source = "assert True"
    table = exercises.grade({"cheat": {"double": cheat}, "changed": {"double": changed}}, small_course)
    assert table["points"].tolist() == [0, 0]


@pytest.mark.slow
def test_a_class_is_graded_whatever_one_student_hands_in(small_course, tmp_path):
    solved = exercises.partly_solved("double", lambda grade_id: True, small_course)

    def changed(change) -> dict:
        notebook = copy.deepcopy(solved)
        change(notebook.cells)
        return {"double": notebook}

    def answering(line: str):
        return lambda cells: cells[1].update(source=f"{line}\n{cells[1].source}")

    broken = tmp_path / "broken.ipynb"
    broken.write_text("PK\x03\x04", encoding="utf-8")
    submissions = {
        "exits": changed(answering("import os; os._exit(0)")),
        "kills its grader": changed(answering("import os, psutil; psutil.Process(os.getppid()).kill()")),
        "copied a test": changed(lambda cells: cells.append(copy.deepcopy(cells[2]))),
        "copied an answer": changed(lambda cells: cells.append(copy.deepcopy(cells[1]))),
        "handed in nothing": {},
        "no file": {"double": tmp_path / "nowhere.ipynb"},
        "no notebook": {"double": broken},
        "another sheet": changed(lambda cells: [cell.metadata.pop("nbgrader", None) for cell in cells]),
        "old": changed(lambda cells: cells[2].metadata["nbgrader"].update(schema_version=1)),
        "deleted/the test": changed(lambda cells: cells.pop(2)),
        "solved": {"double": solved},
    }
    table = exercises.grade(submissions, small_course).set_index("student")
    assert table.pop("of").tolist() == [3] * len(submissions)
    old = table.loc["old", "reason"]
    assert old.startswith("nbgrader cannot grade it: ")
    assert "Outdated schema version" in old
    assert table["reason"].to_dict() == {
        "exits": "the kernel died",
        "kills its grader": "the grading process died",
        "copied a test": "cell id 'CHECK' stands twice",
        "copied an answer": "cell id 'SOLVE' stands twice",
        "handed in nothing": "no submission",
        "no file": "no submission",
        "no notebook": "not a notebook",
        "another sheet": "not this sheet: it has none of its cells",
        "old": old,
        "deleted/the test": "",
        "solved": "",
    }
    graded = table[table["reason"] == ""]["points"]
    assert graded.to_dict() == {"deleted/the test": 3, "solved": 3}, "a deleted test is put back"
    assert table[table["reason"] != ""]["points"].isna().all(), "no points is not 0 points"


def test_what_takes_too_long_is_ended_and_told(small_course):
    solved = exercises.partly_solved("double", lambda grade_id: True, small_course)
    table = exercises.grade({"slow": {"double": solved}}, small_course, limit=0.1)
    assert table["reason"].tolist() == ["timed out after 0.1 s"]
    with pytest.raises(ValueError, match="no exercises treble: choose from double"):
        exercises.grade({"slow": {"treble": solved}}, small_course)


def test_the_command_grades_the_folders_of_a_class(tmp_path, monkeypatch, capsys):
    command = ["exercises", "grade", str(tmp_path), "06_lstm_gates"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        exercises.main()
    assert (
        "holds no student's folder: put each notebook into STUDENT/NAME/NAME.ipynb" in capsys.readouterr().err
    )
    (tmp_path / "ada").mkdir()
    (tmp_path / ".DS_Store").mkdir()
    seen = []
    monkeypatch.setattr(
        exercises, "grade", lambda *given, limit: seen.append(given) or pd.DataFrame({"points": [7]})
    )
    assert exercises.main() == 0
    assert seen == [({"ada": {"06_lstm_gates": tmp_path / "ada/06_lstm_gates/06_lstm_gates.ipynb"}},)]
    assert capsys.readouterr().out == "points\n7\n"


@pytest.mark.slow
def test_the_class_of_three_is_graded_to_a_table(small_course):
    table = exercises.demo(["double"], small_course)
    assert table["student"].tolist() == ["ada", "ben", "eve"]
    assert table["points"].tolist() == [3, 3, 0]


def test_an_exercise_that_cannot_be_graded_is_refused(tmp_path):
    source = tmp_path / "source" / "double" / "double.py"
    source.parent.mkdir(parents=True)
    shutil.copy(BOOK / "exercises" / "jupytext.toml", tmp_path)
    source.write_text(EXERCISE.replace("CHECK", "SOLVE"), encoding="utf-8")
    with pytest.raises(ValueError, match="'SOLVE' stands twice"):
        exercises.release(tmp_path)
    source.write_text("# %%\nx = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no graded cell"):
        exercises.release(tmp_path)
