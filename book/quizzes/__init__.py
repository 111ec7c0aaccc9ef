"""Five questions per chapter that grade themselves: `import quizzes; quizzes.quiz("06")` in a chapter's last cell.

The questions are NN.json in the format of jupyterquiz (PyPI), which reads these files too; its own display is
not used, because it fetches MathJax from the network and does nothing in a notebook that is not trusted. Here
each answer is a plain HTML fold-out: a click opens its feedback in JupyterLab, on the web pages and on
GitHub, without a script.
"""

import html
import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent
MARKS = {True: ("#1a7f37", "✓ Right."), False: ("#b3261e", "✗ Not this one.")}  # colour, and words beside it


class Quiz:
    """The questions of one chapter; the last value of a cell shows them."""

    def __init__(self, chapter: str):
        self.chapter = chapter
        self.questions = json.loads((FOLDER / f"{chapter}.json").read_text(encoding="utf-8"))

    def __repr__(self) -> str:
        return f"Quiz of chapter {self.chapter}: {len(self.questions)} questions, shown in JupyterLab and on the web page"

    def _repr_html_(self) -> str:
        parts = ["<p><strong>Quiz.</strong> Choose an answer; it says whether it is right.</p>"]
        for number, question in enumerate(self.questions, 1):
            parts.append(f"<p><strong>{number}.</strong> {_text(question['question'])}</p>")
            for letter, answer in zip("ABCD", question["answers"], strict=True):
                colour, mark = MARKS[answer["correct"]]
                parts.append(
                    f'<details name="quiz-{self.chapter}-{number}" style="margin: 0.2em 0 0.2em 1.5em">'
                    f'<summary style="cursor: pointer">{letter}. {_text(answer["answer"])}</summary>'
                    f'<p style="border-left: 4px solid {colour}; margin: 0.2em 0 0.6em 1.2em; padding-left: 0.6em">'
                    f"<strong>{mark}</strong> {_text(answer['feedback'])}</p></details>"
                )
        return '<div class="quiz">' + "\n".join(parts) + "</div>"


def quiz(chapter: str) -> Quiz:
    """The quiz of a chapter, for example `quiz("06")`; choose an answer and it says whether it is right."""
    return Quiz(chapter)


def _text(text: str) -> str:
    """HTML of a sentence in which `backticks` mark code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
