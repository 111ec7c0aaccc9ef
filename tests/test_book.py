"""The chapters: each runs from a fresh kernel, keeps the book's form, and holds the outputs of a whole run.

Pairs of .py and .ipynb are compared in test_notebooks.py; exercises are run in test_exercises.py.
"""

import re
from pathlib import Path

import nbformat
import pytest

from book.tools import notebooks
from ctxlstm import widgets

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.py"))
TITLES = (
    "00_start_here 01_claims 02_related_work 03_ucf101 04_deep_temporal_features 05_information_loss 06_lstm_gates "
    "07_context_lstm 08_cnn_lstm 09_training 10_results 11_ablation 12_cost 13_verdict 14_related_systems 15_statistics"
).split()
chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_chapters():
    assert [path.stem for path in CHAPTERS] == TITLES


@pytest.mark.parametrize(
    "chapter",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem == "07_context_lstm" else pytest.mark.slow)
        for path in CHAPTERS
    ],
)
def test_chapter_runs_from_a_fresh_kernel(chapter, classroom_features):
    notebook = notebooks.execute(chapter)
    assert [bool(cell.execution_count) for cell in notebook.cells if cell.cell_type == "code"].count(
        False
    ) == 0


@chapters
def test_chapter_has_the_books_form(chapter):
    notebook = notebooks.read(chapter)
    text = prose(notebook)
    number = int(chapter.stem[:2])
    assert 20 <= len(notebook.cells) <= 45
    assert re.findall(r"^# .*", text, flags=re.M)[0].startswith(f"# {number} ")
    assert len(re.findall(r"^# ", text, flags=re.M)) == 1
    for block in (
        "After this chapter you can",
        "Guess first",
        "What the paper says",
        "ot stated",
        "Common mistakes",
        "Summary",
    ):
        assert block in text, f"{chapter.stem} has no block {block!r}"
    if 1 <= number <= 13:
        for folder in ("release", "source"):
            assert f"(exercises/{folder}/{chapter.stem}/{chapter.stem}.ipynb)" in text
    if number < 14:
        assert f"({TITLES[number + 1]}.ipynb)" in text, "the last words lead to the next chapter"
    assert code(notebook)[-1].splitlines()[-1] == "print(classroom.versions())"


def words(chapter: Path) -> int:
    """Words of prose: text cells without tables, formulas, code and link addresses."""
    text = prose(notebooks.read(chapter))
    for gone in (r"```.*?```", r"\$\$.*?\$\$", r"^[ >]*\|[^\n]*$", r"\]\([^)]*\)", r"<[^>]*>"):
        text = re.sub(gone, " ", text, flags=re.M | re.S)
    return sum(bool(re.search(r"\w", word)) for word in re.sub(r"\$[^$\n]*\$", "x", text).split())


def test_the_book_is_read_in_an_evening():
    """The first edition had 27,700 words in these chapters."""
    counted = {chapter.stem: words(chapter) for chapter in CHAPTERS if int(chapter.stem[:2]) < 14}
    assert sum(counted.values()) <= 20_000, counted
    assert max(counted.values()) <= 2_000, counted


@chapters
def test_every_question_has_its_answer_folded_below_it(chapter):
    for cell in notebooks.read(chapter).cells:
        if cell.cell_type == "markdown" and "**Question.**" in cell.source:
            question = cell.source.split("**Question.**")[-1]
            assert "<details><summary>" in question, f"{chapter.stem}: {question[:80]}"


@chapters
def test_every_widget_has_its_static_twin_right_below(chapter):
    cells = code(notebooks.read(chapter))
    shown = [
        (position, name)
        for position, cell in enumerate(cells)
        for name in re.findall(r"widgets\.([a-z]\w+)\(", cell)
        if not name.endswith("_figure") and hasattr(widgets, f"{name}_figure")
    ]
    for position, name in shown:
        below = cells[position : position + 2]
        assert any(f"widgets.{name}_figure(" in cell for cell in below), f"{name} has no twin below it"


@chapters
def test_committed_outputs_are_those_of_one_whole_run(chapter):
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "make render"
    for cell in cells:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        assert notebooks.WIDGET not in kinds
        assert not any(output.output_type == "error" for output in cell.outputs)
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert len(printed.splitlines()) <= 30


def test_every_widget_is_in_a_chapter():
    everything = "\n".join(path.read_text(encoding="utf-8") for path in CHAPTERS)
    names = [name for name in dir(widgets) if hasattr(widgets, f"{name}_figure")]
    assert len(names) == 9
    assert [name for name in names if f"widgets.{name}(" not in everything] == []
