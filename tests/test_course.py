"""What makes the book a course: quizzes, references, glossary, summary, week plan and slides."""

import html
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from book import quizzes
from book.tools import slides

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
CHAPTERS = [f"{number:02d}" for number in range(16)]
BUDGETS = {"course.md": 900, "glossary.md": 1300, "summary.md": 600}  # words


def page(name: str) -> str:
    return (BOOK / name).read_text(encoding="utf-8")


def questions(chapter: str) -> list[dict]:
    return json.loads(page(f"quizzes/{chapter}.json"))


# --- quizzes


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_quiz_has_five_questions_with_four_answers_and_one_is_right(chapter):
    found = questions(chapter)
    assert len(found) == 5
    for question in found:
        answers = question["answers"]
        assert len({answer["answer"] for answer in answers}) == 4
        assert [answer["correct"] for answer in answers].count(True) == 1
        for answer in answers:
            assert re.search(r"[.?]$", answer["feedback"]), answer
            assert len(answer["feedback"]) < 160, answer


def test_the_right_answer_is_not_given_away_by_its_place_or_length():
    places, longest, shortest = Counter(), 0, 0
    every = [question["answers"] for chapter in CHAPTERS for question in questions(chapter)]
    for answers in every:
        right = next(i for i, answer in enumerate(answers) if answer["correct"])
        lengths = [len(answer["answer"]) for answer in answers]
        places[right] += 1
        longest += lengths[right] > max(lengths[:right] + lengths[right + 1 :])
        shortest += lengths[right] < min(lengths[:right] + lengths[right + 1 :])
    for count in (*places.values(), longest, shortest):  # a quarter each, were it chance alone
        assert 0.1 * len(every) < count < 0.4 * len(every)
    assert len(places) == 4


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_quiz_is_plain_html_that_says_which_answer_is_right(chapter):
    text = quizzes.quiz(chapter)._repr_html_()
    assert text.count("<details") == 20
    assert text.count("Right.</strong>") == 5
    assert not re.search(r"<script|https?:", text)
    for question in questions(chapter):
        for answer in question["answers"]:
            words = re.escape(html.escape(answer["feedback"], quote=False))
            words = re.sub(r"`([^`]+)`", r"<code>\1</code>", words)
            mark = "Right." if answer["correct"] else "Not this one."
            assert re.search(rf"{mark}</strong> {words}</p>", text)


# --- references


def entries() -> dict[str, str]:
    found = re.findall(r"^## ([^\n]+)\n\n(.+?)(?=\n\n## |\n*\Z)", page("references.md"), re.M | re.S)
    assert len(dict(found)) == page("references.md").count("\n## "), (
        "a key stands twice, or an entry is empty"
    )
    return dict(found)


def test_references_are_sorted_and_every_key_is_name_and_year_of_its_entry():
    found = entries()
    assert list(found) == sorted(found)
    for key, text in found.items():
        name, year = re.fullmatch(r"([a-z]+)-(\d{4})", key).groups()
        assert name in text.casefold(), key
        assert year in text, key
        assert not re.search(r"arXiv:(?!\d{4}\.\d{4,5}\])", text), key


def test_every_reference_of_the_paper_is_there():
    numbers = [int(n) for text in entries().values() for n in re.findall(r"\[(\d+)\]$", text)]
    assert sorted(numbers) == list(range(1, 23))


def test_every_key_that_the_book_cites_exists():
    known = set(entries())
    for path in [*BOOK.glob("*.py"), *BOOK.glob("*.md"), *BOOK.glob("exercises/source/*/*.py")]:
        cited = re.findall(r"references\.(?:md|html)#([\w-]+)", path.read_text(encoding="utf-8"))
        assert set(cited) <= known, f"{path.name} cites {sorted(set(cited) - known)}"


# --- glossary, summary, course


def test_the_glossary_is_sorted_has_one_sentence_per_term_and_every_symbol():
    symbols, _, terms = page("glossary.md").partition("## Terms")
    found = re.findall(r"^- \*\*(.+?)\*\*: (.+?)(?=\n- |\Z)", terms, re.M | re.S)
    names = [name.strip("`").casefold() for name, _ in found]
    assert len(found) >= 45
    assert names == sorted(set(names))
    for name, text in found:
        assert re.search(r"\(\[\w+\]\(\d\d_\w+\.ipynb\)\)\.$", text.strip()), name
    assert re.findall(r"^\| \$(\w)\$ \|", symbols, re.M) == list("BTDHKxfigoch")


@pytest.mark.parametrize("name", BUDGETS)
def test_pages_keep_to_their_length(name):
    text = re.sub(r"\]\([^)]*\)", "]", page(name))
    assert len([word for word in text.split() if re.search(r"\w", word)]) <= BUDGETS[name]


def test_the_summary_has_the_numbers_of_the_records_and_the_verdicts_of_the_readme():
    records = (ROOT / "papermill_runs" / "README.md").read_text(encoding="utf-8")
    lines = [re.sub(r" \([^)]*\)", "", line) for line in records.splitlines()]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| [^|]+ seeds \|$", page("summary.md"), re.M)
    assert len(rows) >= 9
    for head, cells in rows:
        numbers = [cell.strip() for cell in cells.split("|") if cell.strip()]
        assert f"| `{head}` | {' | '.join(numbers)} |" in lines, head
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    counts = {status: int(n) for status, n in re.findall(r"^\| ([a-z ]+) \| (\d+) \| `", readme, re.M)}
    verdicts = page("summary.md").partition("## Verdicts")[2]
    said = [int(n) for n in re.findall(r"\d+", verdicts.split("\n\n")[1].replace("13", ""))]
    kinds = ("holds", "fails", "cannot be told yet")
    assert said == [sum(counts.values()), *(counts.get(kind, 0) for kind in kinds)]
    failing = re.search(r"^\| fails \| \d+ \| (.+) \|$", readme, re.M)[1]
    listed = verdicts.partition("| fails | decided by |")[2].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(re.findall(r"`(\w+)`", failing))


def test_the_week_plan_has_every_chapter_once_and_every_sheet():
    plan = page("course.md").partition("## The plan")[2].partition("## What")[0]
    chapters = re.findall(r"\((\d\d)_\w+\.ipynb\)", plan)
    assert sorted(set(chapters) & set(CHAPTERS)) == CHAPTERS
    assert len(chapters) == len(set(chapters))
    sheets = [n for pair in re.findall(r"sheets? (\d+)(?: and (\d+))?", plan) for n in pair if n]
    names = [path.parent.name[:2] for path in BOOK.glob("exercises/source/*/*.py")]
    assert sorted(sheets, key=int) == [str(int(name)) for name in sorted(names)]


def test_the_rubric_sums_to_100():
    rubric = page("course.md").partition("### Rubric")[2].partition("##")[0]
    assert sum(int(n) for n in re.findall(r"^\| (\d+) \|", rubric, re.M)) == 100


# --- slides


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> list[Path]:
    return slides.decks(tmp_path_factory.mktemp("slides") / "new")


def test_there_is_a_deck_per_part_with_every_chapter(decks):
    names = [path for chapters in slides.parts().values() for path in chapters]
    assert len(decks) == len(slides.parts()) >= 3
    assert {path.name[:2] for path in names} >= set(CHAPTERS)
    text = "".join(path.read_text(encoding="utf-8") for path in decks)
    assert text.count("<h2>Guess first</h2>") >= len(CHAPTERS)
    assert text.count("<h2>Summary</h2>") >= len(CHAPTERS)


def test_decks_need_no_network_and_every_picture_has_a_text(decks):
    for path in decks:
        text = re.sub(r"base64,[\w+/=]+", "", path.read_text(encoding="utf-8"))
        pictures = re.findall(r"<img [^>]*>", text)
        assert pictures, path.name
        assert all(len(re.search(r'alt="([^"]*)"', picture)[1]) > 10 for picture in pictures)
        assert all('src="data:image/' in picture for picture in pictures)
        assert not re.search(r"https?:|@import|url\(", text)
        assert "<details" not in text


def test_a_slide_turns_markdown_links_and_formulas_into_words():
    text = slides.render(r"See [chapter 3](03_ucf101.ipynb): $f^{60} \times \sigma(b)$ is **small**.")
    assert "chapter 3: <code>f^60" in text
    assert "×" in text
    assert "<strong>small</strong>" in text
    assert not re.search(r"[\\$]|ipynb", text)
